//! Where clients come from.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use strait_transport::Network;

/// Where a client comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ClientAddress {
    Net(SocketAddr),
    /// Through the unix socket at `path`, a process of this user.
    Unix {
        path: Arc<Path>,
        uid: u32,
    },
    /// A command of this gateway's own data directory: its owner, or root.
    Own,
}

/// Whose wrong passwords are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Origin {
    Network(Network),
    /// A user of this machine.
    User(u32),
    Own,
}

impl ClientAddress {
    pub(super) fn is_own(&self) -> bool {
        *self == Self::Own
    }

    pub(super) fn origin(&self) -> Origin {
        match self {
            Self::Net(address) => Origin::Network(Network::of(address.ip())),
            Self::Unix { uid, .. } => Origin::User(*uid),
            Self::Own => Origin::Own,
        }
    }
}

/// As `CLIENT LIST` has it.
impl fmt::Display for ClientAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Net(address) => address.fmt(f),
            Self::Unix { path, .. } => write!(f, "{}:0", path.display()),
            Self::Own => f.write_str("strait.sock:0"),
        }
    }
}
