use std::net::SocketAddr;
use std::time::Duration;

use ipnet::IpNet;

use crate::identity::{Identity, PublicKey};
use crate::ids::SiteName;
use crate::status::Transport;

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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerConfig {
    /// Its site's name; a peer that calls itself otherwise is refused.
    pub site: SiteName,
    /// Its pinned key.
    pub key: PublicKey,
    /// The key that it will go over to, pinned too.
    pub next_key: Option<PublicKey>,
    /// `host:port`, tried a quarter of a second after each other, resolved anew each time. Empty: only the peer dials.
    pub addresses: Vec<String>,
    /// The link's rate, where it is known: traffic is then shaped to 97.5 % of it.
    pub rate_bits_s: Option<u64>,
    /// Congestion control of what we send.
    pub congestion: Congestion,
    /// What to dial over. `None`: QUIC, and TCP while UDP does not get through.
    pub transport: Option<Transport>,
    /// A peer that acknowledges nothing for so long, with batches under way, is said to stall.
    pub stalls_after: Duration,
}

/// A link of 140 kbit/s carries the largest batch in this time.
const STALLS_AFTER: Duration = Duration::from_secs(60);

impl PeerConfig {
    /// A peer of which only the name and the key are known: it has to dial.
    pub fn new(site: SiteName, key: PublicKey) -> Self {
        Self {
            site,
            key,
            next_key: None,
            addresses: Vec::new(),
            rate_bits_s: None,
            congestion: Congestion::default(),
            transport: None,
            stalls_after: STALLS_AFTER,
        }
    }

    /// The keys that are pinned.
    pub fn keys(&self) -> impl Iterator<Item = PublicKey> {
        [self.key].into_iter().chain(self.next_key)
    }

    /// Whether connections that were dialed for the one are not as for the other.
    pub(crate) fn differs_on_the_wire(&self, other: &Self) -> bool {
        self.addresses != other.addresses
            || self.rate_bits_s != other.rate_bits_s
            || self.congestion != other.congestion
            || self.transport != other.transport
    }
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
    /// Address to listen on, UDP and TCP. Port 0: any free one.
    pub listen: SocketAddr,
    /// Where peers dial from; who dials from elsewhere is not answered. Empty: anywhere.
    pub callers_from: Vec<IpNet>,
    /// Whether the system may be given many datagrams at once (GSO), which saves CPU time
    /// and which a few network drivers get wrong.
    pub gso: bool,
    /// Everyone we have a link to.
    pub peers: Vec<PeerConfig>,
}
