//! By what clients are let in. It may be exchanged while they are served.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;

use super::client::Clients;
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
#[derive(Debug)]
pub struct Access {
    users: RwLock<Arc<Users>>,
    /// Grows with each change of users.
    users_version: AtomicU64,
    tls: RwLock<Option<TlsConfig>>,
    clients: Arc<Clients>,
}

impl Access {
    pub(super) fn new(admission: Admission, clients: Arc<Clients>) -> Self {
        Self {
            users: RwLock::new(Arc::new(admission.users)),
            users_version: AtomicU64::new(0),
            tls: RwLock::new(admission.tls),
            clients,
        }
    }

    pub(super) fn users(&self) -> Arc<Users> {
        self.users.read().clone()
    }

    /// To be read before the users themselves: who then misses a change sees it the next time.
    pub(super) fn users_version(&self) -> u64 {
        self.users_version.load(Ordering::Acquire)
    }

    pub(super) fn tls(&self) -> Option<TlsConfig> {
        self.tls.read().clone()
    }

    /// From now on clients are let in by this. Those that are in stay, with the rights that their user
    /// has now; those whose user is gone are cut off.
    pub fn change(&self, admission: Admission) {
        let users = Arc::new(admission.users);
        *self.tls.write() = admission.tls;
        *self.users.write() = users.clone();
        self.users_version.fetch_add(1, Ordering::Release);
        self.clients.kill(|client| {
            let is_gone = users.find(client.user.name().as_bytes()).is_none();
            is_gone && !client.address.is_own()
        });
    }
}
