//! The header of the PROXY protocol, version 2: tells the target who its client is.
//!
//! Source: <https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>, section 2.2.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Version 2, a proxied connection.
const VERSION_PROXY: u8 = 0x21;
const TCP_IPV4: u8 = 0x11;
const TCP_IPV6: u8 = 0x21;

/// What is sent in front of the client's bytes: 28 or 52 bytes.
pub(super) fn header(client: SocketAddr, listener: SocketAddr) -> Vec<u8> {
    let mut addresses = Vec::with_capacity(36);
    let family = match (client.ip().to_canonical(), listener.ip().to_canonical()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            addresses.extend(from.octets());
            addresses.extend(to.octets());
            TCP_IPV4
        }
        (from, to) => {
            addresses.extend(as_v6(from).octets());
            addresses.extend(as_v6(to).octets());
            TCP_IPV6
        }
    };
    addresses.extend(client.port().to_be_bytes());
    addresses.extend(listener.port().to_be_bytes());
    let mut header = SIGNATURE.to_vec();
    header.extend([VERSION_PROXY, family, 0, addresses.len() as u8]);
    header.extend(addresses);
    header
}

fn as_v6(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_as_the_specification_draws_them() {
        let v4 = header(
            "192.0.2.1:56324".parse().unwrap(),
            "198.51.100.7:443".parse().unwrap(),
        );
        let start = b"\x0D\x0A\x0D\x0A\x00\x0D\x0A\x51\x55\x49\x54\x0A\x21\x11\x00\x0C";
        assert_eq!(&v4[..16], start);
        assert_eq!(
            &v4[16..],
            [192, 0, 2, 1, 198, 51, 100, 7, 0xdc, 0x04, 0x01, 0xbb]
        );
        let v6 = header(
            "[2001:db8::1]:1".parse().unwrap(),
            "192.0.2.1:2".parse().unwrap(),
        );
        assert_eq!(v6.len(), 52);
        assert_eq!(&v6[12..16], [0x21, 0x21, 0, 36]);
        assert_eq!(
            &v6[32..48],
            "::ffff:192.0.2.1".parse::<Ipv6Addr>().unwrap().octets()
        );
    }
}
