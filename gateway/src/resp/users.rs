//! Who may come in, and with which password.

/// All users.
#[derive(Clone, Debug, Default)]
pub struct Users {
    /// Of the password that clients must send; none: they need not send any.
    password: Option<blake3::Hash>,
}

impl Users {
    /// The default user alone, who may do everything.
    pub fn with_password(password: Option<&str>) -> Self {
        Self {
            password: password.map(|password| blake3::hash(password.as_bytes())),
        }
    }

    /// Whether clients may do something before they have sent a password.
    pub(super) fn are_open(&self) -> bool {
        self.password.is_none()
    }

    /// Whether `password` is that of `user`. That takes the same time however wrong it is.
    pub(super) fn let_in(&self, user: &[u8], password: &[u8]) -> bool {
        let given = blake3::hash(password);
        // The comparison of two hashes takes the same time for all of them.
        let right = self.password.is_none_or(|wanted| wanted == given);
        right & (user == b"default")
    }
}
