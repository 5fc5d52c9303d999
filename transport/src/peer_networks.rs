//! The networks that peers are known to dial from: the door keeps room for them.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};

use parking_lot::Mutex;

use crate::config::PeerConfig;
use crate::ids::SiteName;
use crate::network::Network;

/// Of one peer, of its configured addresses: as many as its link tries.
const CONFIGURED_MAX: usize = 64;
/// Of one peer, of those from which it has proved its key.
const SEEN_MAX: usize = 4;

/// See the module. Kept until the gateway ends.
#[derive(Debug, Default)]
pub(crate) struct PeerNetworks(Mutex<BTreeMap<SiteName, Networks>>);

/// Of one peer, the latest first.
#[derive(Debug, Default)]
struct Networks {
    configured: VecDeque<Network>,
    seen: VecDeque<Network>,
}

impl PeerNetworks {
    /// Forgets all sites but these, and notes their addresses that need no resolver.
    pub(crate) fn configure(&self, peers: &[PeerConfig]) {
        self.0
            .lock()
            .retain(|site, _| peers.iter().any(|peer| peer.site == *site));
        for peer in peers {
            let addresses = peer.addresses.iter();
            let parsed = addresses.filter_map(|address| address.parse::<SocketAddr>().ok());
            self.resolved(&peer.site, parsed);
        }
    }

    /// A configured address of a peer stands for these.
    pub(crate) fn resolved(&self, site: &SiteName, to: impl IntoIterator<Item = SocketAddr>) {
        let mut sites = self.0.lock();
        let networks = sites.entry(site.clone()).or_default();
        for address in to {
            note(&mut networks.configured, address.ip(), CONFIGURED_MAX);
        }
    }

    /// A peer has dialed from there, and proved its key.
    pub(crate) fn seen(&self, site: &SiteName, address: IpAddr) {
        let mut sites = self.0.lock();
        let networks = sites.entry(site.clone()).or_default();
        note(&mut networks.seen, address, SEEN_MAX);
    }

    pub(crate) fn contains(&self, network: Network) -> bool {
        let sites = self.0.lock();
        sites
            .values()
            .any(|of| of.configured.contains(&network) || of.seen.contains(&network))
    }
}

fn note(networks: &mut VecDeque<Network>, address: IpAddr, max: usize) {
    let network = Network::of(address);
    networks.retain(|other| *other != network);
    networks.push_front(network);
    networks.truncate(max);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Identity;

    fn peer(site: &str, addresses: &[&str]) -> PeerConfig {
        let key = Identity::generate().unwrap().public_key();
        PeerConfig {
            addresses: addresses.iter().map(|&address| address.into()).collect(),
            ..PeerConfig::new(site.parse().unwrap(), key)
        }
    }

    fn network(address: &str) -> Network {
        Network::of(address.parse().unwrap())
    }

    #[test]
    fn a_peer_is_known_by_its_addresses_and_by_where_it_was_seen_last() {
        let known = PeerNetworks::default();
        let (east, west) = (peer("east", &["192.0.2.1:7440"]), peer("west", &[]));
        known.configure(&[east.clone(), west.clone()]);
        known.resolved(&west.site, ["[2001:db8::1]:7440".parse().unwrap()]);
        for n in 10..20u8 {
            known.seen(&east.site, [192, 0, 2, n].into());
        }
        for address in ["192.0.2.1", "192.0.2.19", "192.0.2.16", "2001:db8::2"] {
            assert!(known.contains(network(address)), "{address}");
        }
        for address in ["192.0.2.2", "192.0.2.15", "2001:db8:0:1::1"] {
            assert!(!known.contains(network(address)), "{address}");
        }
        known.configure(&[west]);
        assert!(!known.contains(network("192.0.2.1")) && !known.contains(network("192.0.2.19")));
        assert!(known.contains(network("2001:db8::1")));
    }
}
