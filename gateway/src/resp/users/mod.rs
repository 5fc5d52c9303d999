//! Who may come in, with which password, and what each of them may do: users and rules as Redis's ACL
//! has them. They stand in the configuration; no client changes them.

mod rules;
mod selector;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};

pub use rules::RuleError;
pub(super) use selector::{KeyAccess, Selector};

/// Whoever has sent no name.
pub const DEFAULT_USER: &str = "default";

/// SHA-256 of a password.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PasswordHash([u8; 32]);

impl PasswordHash {
    /// Of a password itself.
    pub fn of(password: &[u8]) -> Self {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, password).as_ref());
        Self(hash)
    }

    /// From 64 hexadecimal digits in lower case, as Redis takes them.
    pub fn from_hex(text: &str) -> Option<Self> {
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() != 64 || !text.bytes().all(is_digit) {
            return None;
        }
        let mut hash = [0; 32];
        for (place, byte) in hash.iter_mut().enumerate() {
            *byte = u8::from_str_radix(text.get(2 * place..2 * place + 2)?, 16).ok()?;
        }
        Some(Self(hash))
    }

    pub(super) fn hex(self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(…)")
    }
}

/// One user: passwords and rights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    pub(super) name: Arc<str>,
    /// Clients may come in as this user.
    pub(super) is_on: bool,
    /// Any password is right.
    pub(super) needs_none: bool,
    pub(super) passwords: Vec<PasswordHash>,
    /// What rules say of `RESTORE`, which is not here: it is only shown.
    pub(super) sanitizes: Option<bool>,
    /// A command is allowed if one of these allows it; the first is the user's own.
    pub(super) selectors: Vec<Selector>,
}

impl User {
    /// Who may do everything, and needs this password; none: no password.
    fn with_all_rights(name: &str, password: Option<&str>) -> Self {
        Self {
            name: name.into(),
            is_on: true,
            needs_none: password.is_none(),
            passwords: (password.into_iter())
                .map(|password| PasswordHash::of(password.as_bytes()))
                .collect(),
            sanitizes: None,
            selectors: vec![Selector::of_all_rights()],
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The same with one more password.
    #[must_use]
    pub fn with_password(mut self, hash: PasswordHash) -> Self {
        self.add_password(hash);
        self
    }

    fn add_password(&mut self, hash: PasswordHash) {
        self.needs_none = false;
        if !self.passwords.contains(&hash) {
            self.passwords.push(hash);
        }
    }

    /// Whether anybody who knows the name may come in.
    pub fn is_open(&self) -> bool {
        self.is_on && self.needs_none
    }

    /// Whether no password is right, though one is needed.
    pub fn lacks_password(&self) -> bool {
        self.is_on && !self.needs_none && self.passwords.is_empty()
    }

    /// Whether it has a password of its own.
    pub fn has_password(&self) -> bool {
        !self.passwords.is_empty()
    }

    /// Whether every command is allowed on every key.
    pub(super) fn has_all_rights(&self) -> bool {
        self.selectors.iter().any(Selector::has_all_rights)
    }

    /// Whether a password with that hash is right. Every hash takes the same time.
    fn takes(&self, given: PasswordHash) -> bool {
        let is_right = |wanted: &PasswordHash| verify_slices_are_equal(&wanted.0, &given.0).is_ok();
        let right = self
            .passwords
            .iter()
            .filter(|wanted| is_right(wanted))
            .count();
        self.is_on && (self.needs_none || right > 0)
    }

    /// One line of `ACL LIST`, without the name.
    pub(super) fn describe(&self) -> String {
        let mut words: Vec<String> = self.flags().map(str::to_owned).collect();
        words.extend(self.passwords.iter().map(|hash| format!("#{}", hash.hex())));
        for (place, selector) in self.selectors.iter().enumerate() {
            let described = selector.describe();
            words.push(match place {
                0 => described,
                _ => format!("({described})"),
            });
        }
        words.join(" ")
    }

    pub(super) fn flags(&self) -> impl Iterator<Item = &'static str> {
        let flags = [
            (self.is_on, "on"),
            (!self.is_on, "off"),
            (self.needs_none, "nopass"),
            (self.sanitizes == Some(false), "skip-sanitize-payload"),
            (self.sanitizes == Some(true), "sanitize-payload"),
        ];
        let has = |(has, flag): (bool, _)| has.then_some(flag);
        flags.into_iter().filter_map(has)
    }
}

/// All users, by name; the default user is always among them.
#[derive(Clone, Debug)]
pub struct Users(BTreeMap<Arc<str>, Arc<User>>);

impl Default for Users {
    fn default() -> Self {
        Self::with_password(None)
    }
}

impl Users {
    /// The default user alone, who may do everything.
    pub fn with_password(password: Option<&str>) -> Self {
        Self::new(password, Vec::new())
    }

    /// These, and the default user with that password, unless it is among them.
    pub fn new(password: Option<&str>, users: Vec<User>) -> Self {
        let default = User::with_all_rights(DEFAULT_USER, password);
        let all = std::iter::once(default).chain(users);
        Self(
            all.map(|user| (user.name.clone(), Arc::new(user)))
                .collect(),
        )
    }

    /// All of them, by name.
    pub(super) fn all(&self) -> impl ExactSizeIterator<Item = &Arc<User>> {
        self.0.values()
    }

    pub(super) fn find(&self, name: &[u8]) -> Option<&Arc<User>> {
        self.0.get(std::str::from_utf8(name).ok()?)
    }

    /// Whoever has sent no name.
    pub(super) fn default_user(&self) -> Arc<User> {
        let default = self.find(DEFAULT_USER.as_bytes());
        // It is always there.
        default.cloned().unwrap_or_else(all_rights)
    }

    /// The user of that name, if `password` is right. That takes the same time however wrong it is.
    pub(super) fn let_in(&self, name: &[u8], password: &[u8]) -> Option<Arc<User>> {
        let given = PasswordHash::of(password);
        let user = self.find(name)?;
        user.takes(given).then(|| user.clone())
    }
}

/// A user who may do everything: whoever comes in through the data directory.
pub(super) fn all_rights() -> Arc<User> {
    Arc::new(User::with_all_rights(DEFAULT_USER, None))
}
