use std::io;
use std::net::SocketAddr;

use crate::ids::SiteName;

/// Why a node could not start.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// A socket could not be had.
    #[error("cannot listen on UDP and TCP {address}: {source}")]
    Listen {
        /// Where we tried to listen.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The TLS library refused our key or settings.
    #[error("cannot set up TLS: {0}")]
    Tls(String),
    /// Two peers share a key, or a peer has our own.
    #[error("peer {0}: its key is already in use by another site")]
    DuplicateKey(SiteName),
    /// A link's thread could not be started.
    #[error("cannot start a thread for the link to {site}: {source}")]
    Thread {
        /// Whose link.
        site: SiteName,
        /// What the system said.
        source: io::Error,
    },
}

/// Why a batch was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// Either end restarted: streams of the old session are gone. Open new ones when
    /// [`LinkEvent::Up`](crate::LinkEvent::Up) says `fresh`.
    #[error("the link's session was reset")]
    SessionReset,
    /// The batch or descriptor is larger than allowed.
    #[error("larger than a batch or descriptor may be")]
    TooLarge,
    /// The stream has ended, or the node was closed.
    #[error("closed")]
    Closed,
    /// As many streams are open as one link may have.
    #[error("too many open streams")]
    TooManyStreams,
}
