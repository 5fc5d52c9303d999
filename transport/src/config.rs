use std::net::SocketAddr;

use crate::identity::{Identity, PublicKey};
use crate::ids::SiteName;

/// How a link finds out how fast it may send.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Congestion {
    /// Our own: fills a long, lossy link and keeps its queue short.
    #[default]
    Strait,
    /// CUBIC (RFC 9438), for links that are shared with TCP and must yield to it.
    Cubic,
}

/// A gateway that this one has a link to.
#[derive(Clone, Debug)]
pub struct PeerConfig {
    /// Its site's name; a peer that calls itself otherwise is refused.
    pub site: SiteName,
    /// Its pinned key.
    pub key: PublicKey,
    /// `host:port`, tried in turn, resolved anew each time. Empty: only the peer dials.
    pub addresses: Vec<String>,
    /// The link's rate, where it is known: traffic is then shaped to 95 % of it.
    pub rate_bits_s: Option<u64>,
    /// Congestion control of what we send.
    pub congestion: Congestion,
}

/// What [`Node::bind`](crate::Node::bind) needs.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// Our own site.
    pub site: SiteName,
    /// Drawn when the data directory was made; told to peers.
    pub incarnation: u64,
    /// Our own key.
    pub identity: Identity,
    /// UDP address to listen on. Port 0: any free one.
    pub listen: SocketAddr,
    /// Everyone we have a link to.
    pub peers: Vec<PeerConfig>,
}
