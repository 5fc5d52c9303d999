//! Who is not known, or talks nonsense, does no harm.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::time::Duration;

use redis::Commands;
use strait_tests::{Site, eventually, eventually_equal_digests, pair_of_sites};

#[test]
fn an_unpinned_gateway_is_refused() {
    let (east, west, _cable) = pair_of_sites();
    // The stranger knows west's key and address; west does not know the stranger.
    let mut stranger = Site::new("north");
    stranger.pair_with(&west, Some(west.link));
    stranger.start();
    let () = stranger.redis().incr("smuggled", 1).unwrap();
    eventually("west logs who was refused", 20, || {
        west.log_text().contains("unknown key").then_some(())
    });
    let counted = "strait_refused_connections_total{site=\"west\",reason=\"unknown_key\"}";
    assert_ne!(west.metric(counted), 0.0);

    let () = east.redis().incr("honest", 1).unwrap();
    eventually_equal_digests(&east, &west, 30);
    let smuggled: Option<i64> = west.redis().get("smuggled").unwrap();
    assert_eq!(smuggled, None);
    let honest: Option<i64> = west.redis().get("honest").unwrap();
    assert_eq!(honest, Some(1));
}

#[test]
fn a_site_that_took_anothers_name_is_refused() {
    let (_east, west, _cable) = pair_of_sites();
    let mut impostor = Site::new("east");
    impostor.pair_with(&west, Some(west.link));
    impostor.start();
    eventually("west logs who was refused", 20, || {
        west.log_text().contains("unknown key").then_some(())
    });
}

#[test]
fn garbage_on_every_port_does_no_harm() {
    let (mut east, mut west, _cable) = pair_of_sites();
    let mut noise = noise(1);
    for _ in 0..20 {
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        for len in [1, 20, 100, 1200, 1400] {
            udp.send_to(&bytes(&mut noise, len), west.link).unwrap();
        }
        for address in [west.grid, west.http] {
            shout(address, &bytes(&mut noise, 5_000));
        }
        for request in [
            "*1000000000\r\n",
            "*1\r\n$-7\r\n",
            "*1\r\n$999999999999\r\n",
            "*2\r\n$3\r\nGET\r\n:1\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
            "\r\n\r\n\0\0\0\0",
        ] {
            shout(west.grid, request.as_bytes());
            shout(west.http, request.as_bytes());
        }
    }
    assert!(east.runs() && west.runs());
    let () = east.redis().incr("n", 1).unwrap();
    let () = west.redis().incr("n", 1).unwrap();
    eventually_equal_digests(&east, &west, 30);
    let n: i64 = west.redis().get("n").unwrap();
    assert_eq!(n, 2);
}

/// Sends bytes and reads whatever comes back; the other end may hang up.
fn shout(address: std::net::SocketAddr, bytes: &[u8]) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_millis(20)))
        .unwrap();
    if stream.write_all(bytes).is_ok() {
        let mut answer = [0; 512];
        // Being hung up on, or no answer, is fine: only the gateway matters.
        drop(stream.read(&mut answer));
    }
}

/// A small generator (xorshift64): the same noise at each run.
fn noise(seed: u64) -> impl Iterator<Item = u8> {
    let mut state = seed;
    std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    })
}

fn bytes(noise: &mut impl Iterator<Item = u8>, len: usize) -> Vec<u8> {
    noise.take(len).collect()
}
