//! Which addresses are those of this gateway's own forwards: what goes straight to one would come
//! back here, again and again, until the descriptors run out.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// Where the forwards of a gateway listen.
#[derive(Clone, Debug)]
pub(super) struct OwnListeners(Vec<SocketAddr>);

impl OwnListeners {
    /// As they are bound.
    pub(super) fn new(bound: Vec<SocketAddr>) -> Self {
        Self(bound)
    }

    /// Whether a connection to `address` comes in at one of them.
    pub(super) fn hold(&self, address: SocketAddr) -> bool {
        let ip = reached(address.ip());
        let at = |own: &SocketAddr| match own.ip() {
            any if any.is_unspecified() => is_of_this_machine(ip),
            one => one.to_canonical() == ip,
        };
        let mut same_port = self.0.iter().filter(|own| own.port() == address.port());
        same_port.any(at)
    }
}

/// What the kernel connects to when asked for `ip`.
fn reached(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    }
}

/// Only addresses of this machine can be bound.
fn is_of_this_machine(ip: IpAddr) -> bool {
    UdpSocket::bind((ip, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hold(own: &str, address: &str) -> bool {
        OwnListeners::new(vec![own.parse().unwrap()]).hold(address.parse().unwrap())
    }

    #[test]
    fn a_listener_is_known_under_each_of_its_addresses() {
        assert!(hold("127.0.0.1:7450", "127.0.0.1:7450"));
        assert!(hold("127.0.0.1:7450", "[::ffff:127.0.0.1]:7450"));
        assert!(hold("127.0.0.1:7450", "0.0.0.0:7450"));
        assert!(hold("0.0.0.0:7450", "127.0.0.9:7450"));
        assert!(!hold("127.0.0.1:7450", "127.0.0.1:7451"));
        assert!(!hold("127.0.0.1:7450", "127.0.0.2:7450"));
        // A server elsewhere whose port is the same.
        assert!(!hold("0.0.0.0:7450", "192.0.2.1:7450"));
    }
}
