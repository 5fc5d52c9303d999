//! By what clients are let in. It may be exchanged while they are served.

use std::sync::Arc;

use parking_lot::RwLock;

use super::tls::TlsConfig;
use super::users::Users;

/// Who is let in, and how their connections are encrypted.
#[derive(Clone, Debug, Default)]
pub struct Admission {
    pub users: Users,
    /// For listeners behind TLS.
    pub tls: Option<TlsConfig>,
}

/// The admission as it is now.
#[derive(Debug, Default)]
pub struct Access {
    users: RwLock<Arc<Users>>,
    tls: RwLock<Option<TlsConfig>>,
}

impl Access {
    pub(super) fn new(admission: Admission) -> Self {
        Self {
            users: RwLock::new(Arc::new(admission.users)),
            tls: RwLock::new(admission.tls),
        }
    }

    pub(super) fn users(&self) -> Arc<Users> {
        self.users.read().clone()
    }

    pub(super) fn tls(&self) -> Option<TlsConfig> {
        self.tls.read().clone()
    }

    /// From now on clients are let in by this. Those that are in stay.
    pub fn change(&self, admission: Admission) {
        *self.tls.write() = admission.tls;
        *self.users.write() = Arc::new(admission.users);
    }
}
