//! A link that changes its connections while batches flow: to TCP and back, and to other keys.

use std::net::SocketAddr;
use std::slice::from_ref;
use std::time::{Duration, Instant};

use strait_transport::{
    Class, Congestion, Identity, LinkEvents, LinkHandle, PeerConfig, Phase, Transport,
};
use tokio::time::{sleep, timeout};

use crate::delivery::{receive_all, send_all};
use crate::proxy::Proxy;
use crate::site::{PATIENCE, Site};

/// Waits until the link is carried so, at most `seconds`.
async fn carried_by(link: &LinkHandle, transport: Transport, seconds: u64) {
    let start = Instant::now();
    while link.status().transport != Some(transport) {
        let status = link.status();
        assert!(start.elapsed() < Duration::from_secs(seconds), "{status:?}");
        sleep(Duration::from_millis(10)).await;
    }
}

/// Batches of two classes from one site to the other, all of which must arrive, once and in
/// order, whatever `meanwhile` does.
async fn through(from: &LinkHandle, to: &mut LinkEvents, meanwhile: impl Future<Output = ()>) {
    let bulk = tokio::spawn(send_all(from.clone(), Class::Bulk, 1, 400));
    let small = tokio::spawn(send_all(from.clone(), Class::Interactive, 2, 3000));
    let received = timeout(3 * PATIENCE, receive_all(to, 2));
    let (received, ()) = tokio::join!(received, meanwhile);
    received.unwrap();
    for sent in [bulk, small] {
        timeout(PATIENCE, sent).await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_udp_is_blocked_the_link_goes_over_tcp_and_returns() {
    let (east, west) = (Site::new("east"), Site::new("west"));
    let mut west_runs = west.start(&east, None).await;
    let proxy = Proxy::start(west_runs.node.local_addr()).await;
    proxy.cut_udp();
    let start = Instant::now();
    let mut east_runs = east.start(&west, Some(proxy.address)).await;
    assert!(east_runs.up().await && west_runs.up().await);
    assert!(start.elapsed() < Duration::from_secs(3));
    carried_by(&east_runs.link, Transport::Tcp, 1).await;

    through(&east_runs.link, &mut west_runs.events, async {}).await;
    through(&west_runs.link, &mut east_runs.events, async {
        proxy.heal()
    })
    .await;
    carried_by(&east_runs.link, Transport::Quic, 10).await;
    for site in [&east_runs, &west_runs] {
        let status = site.link.status();
        assert_eq!((status.reconnects, status.handovers), (0, 1), "{status:?}");
        assert!(status.tcp_sent_bytes > 1000, "{status:?}");
        // What a connection has sent is looked at now and then only.
        until(|| site.link.status().udp_sent_bytes > 0).await;
    }
    through(&east_runs.link, &mut west_runs.events, async {}).await;
}

/// As over several routes of equal cost, or a radio.
#[tokio::test(flavor = "multi_thread")]
async fn packets_that_overtake_each_other_are_not_lost() {
    let (east, west) = (Site::new("east"), Site::new("west"));
    let mut west_runs = west.start(&east, None).await;
    let proxy = Proxy::start(west_runs.node.local_addr()).await;
    proxy.disorder();
    // So slow that no socket of the proxy overflows.
    let dials = east.start_at_rate(&west, proxy.address, 50_000_000);
    let mut east_runs = dials.await;
    assert!(east_runs.up().await && west_runs.up().await);
    let sent = tokio::spawn(send_all(east_runs.link.clone(), Class::Bulk, 1, 20));
    let received = timeout(3 * PATIENCE, receive_all(&mut west_runs.events, 1));
    received.await.unwrap();
    timeout(PATIENCE, sent).await.unwrap().unwrap();
    let status = east_runs.link.status();
    assert_eq!(status.transport, Some(Transport::Quic));
    // A quarter of all packets, if their order decided. Some may come late on a busy machine.
    assert!(status.lost_percent < 10.0, "{status:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn udp_that_falls_silent_is_noticed_at_once() {
    let (east, west) = (Site::new("east"), Site::new("west"));
    let mut west_runs = west.start(&east, None).await;
    let proxy = Proxy::start(west_runs.node.local_addr()).await;
    let mut east_runs = east.start(&west, Some(proxy.address)).await;
    assert!(east_runs.up().await && west_runs.up().await);
    through(&east_runs.link, &mut west_runs.events, async {
        sleep(Duration::from_millis(100)).await;
        proxy.cut_udp();
        carried_by(&east_runs.link, Transport::Tcp, 4).await;
    })
    .await;
    assert_eq!(east_runs.link.status().reconnects, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_exchanged_under_load() {
    let (mut east, mut west) = (Site::new("east"), Site::new("west"));
    let mut west_runs = west.start(&east, None).await;
    let address = west_runs.node.local_addr();
    let mut east_runs = east.start(&west, Some(address)).await;
    assert!(east_runs.up().await && west_runs.up().await);
    let (east_link, west_link) = (east_runs.link.clone(), west_runs.link.clone());
    let (east_node, west_node) = (&east_runs.node, &west_runs.node);
    // One end is a moment ahead of the other, and the old key is of use until both are there.
    let both_handed_over = |before| {
        let links = [&east_link, &west_link];
        links.iter().all(|link| link.status().handovers > before)
    };
    let exchanges = async {
        for turn in 0..2 {
            // The peer pins both keys; the site shows the new one; the old one is forgotten.
            let next = Identity::generate().unwrap();
            west_node
                .reload(&west.identity, &[pins(&east, Some(&next), None)])
                .unwrap();
            east_node
                .reload(&next, &[pins(&west, None, Some(address))])
                .unwrap();
            until(|| both_handed_over(2 * turn)).await;
            east.identity = next;
            west_node
                .reload(&west.identity, &[pins(&east, None, None)])
                .unwrap();
            // The same for the end that does not dial: it asks the other to.
            let next = Identity::generate().unwrap();
            let both = pins(&west, Some(&next), Some(address));
            east_node.reload(&east.identity, &[both]).unwrap();
            west_node.reload(&next, &[pins(&east, None, None)]).unwrap();
            until(|| both_handed_over(2 * turn + 1)).await;
            west.identity = next;
            east_node
                .reload(&east.identity, &[pins(&west, None, Some(address))])
                .unwrap();
        }
    };
    through(&east_link, &mut west_runs.events, exchanges).await;
    for link in [east_link, west_link] {
        let status = link.status();
        assert_eq!((status.reconnects, status.handovers), (0, 4), "{status:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_pinned_no_longer_breaks_the_link() {
    let (mut east, west) = (Site::new("east"), Site::new("west"));
    let mut west_runs = west.start(&east, None).await;
    let address = west_runs.node.local_addr();
    let mut east_runs = east.start(&west, Some(address)).await;
    assert!(east_runs.up().await && west_runs.up().await);
    let reload = |peer| west_runs.node.reload(&west.identity, &[peer]);
    east.identity = Identity::generate().unwrap();
    reload(pins(&east, None, None)).unwrap();
    until(|| west_runs.link.status().phase == Phase::Connecting).await;
    let error = || east_runs.link.status().last_error.unwrap_or_default();
    until(|| error().contains("does not know this gateway's key")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_is_configured_no_longer_is_refused() {
    let (east, west, north) = (Site::new("east"), Site::new("west"), Site::new("north"));
    let mut west_runs = west.start(&east, None).await;
    let address = west_runs.node.local_addr();
    let mut east_runs = east.start(&west, Some(address)).await;
    assert!(east_runs.up().await && west_runs.up().await);
    let reload = |peers: &[PeerConfig]| west_runs.node.reload(&west.identity, peers).unwrap();
    let (known, new) = (pins(&east, None, None), pins(&north, None, None));
    // The links that there are go on; another peer has none until there is a new node.
    assert_eq!(
        reload(&[known.clone(), new.clone()]),
        vec![new.site.clone()]
    );
    assert_eq!(west_runs.link.status().phase, Phase::Up);

    assert_eq!(reload(from_ref(&new)), vec![new.site]);
    until(|| west_runs.link.status().phase == Phase::Closed).await;
    let error = || east_runs.link.status().last_error.unwrap_or_default();
    until(|| error().contains("does not know this gateway's key")).await;
    // It does not come back.
    assert_eq!(reload(from_ref(&known)), vec![known.site]);
    assert_eq!(west_runs.link.status().phase, Phase::Closed);
}

/// Only our own control of congestion measures a rate.
#[tokio::test(flavor = "multi_thread")]
async fn congestion_control_is_chosen_for_what_an_end_sends_whoever_dialed() {
    let (east, west) = (Site::new("east"), Site::new("west"));
    let mut west_runs = west.start(&east, None).await;
    let address = west_runs.node.local_addr();
    let mut east_runs = east.start(&west, Some(address)).await;
    assert!(east_runs.up().await && west_runs.up().await);
    for (at_east, at_west) in [
        (Congestion::Strait, Congestion::Cubic),
        (Congestion::Cubic, Congestion::Strait),
    ] {
        let peer = |pins, congestion| PeerConfig { congestion, ..pins };
        let (to_west, to_east) = (pins(&west, None, Some(address)), pins(&east, None, None));
        let (to_west, to_east) = (peer(to_west, at_east), peer(to_east, at_west));
        west_runs.node.reload(&west.identity, &[to_east]).unwrap();
        east_runs.node.reload(&east.identity, &[to_west]).unwrap();
        let measures = |link: &LinkHandle| link.status().rate_bytes_s.is_some();
        let start = Instant::now();
        // Until both ends have gone over to connections with the new settings, and used them.
        while measures(&east_runs.link) != (at_east == Congestion::Strait)
            || measures(&west_runs.link) != (at_west == Congestion::Strait)
        {
            assert!(start.elapsed() < PATIENCE, "{at_east:?}, {at_west:?}");
            for (from, to) in [
                (&east_runs.link, &mut west_runs.events),
                (&west_runs.link, &mut east_runs.events),
            ] {
                let sent = send_all(from.clone(), Class::Bulk, 1, 40);
                tokio::join!(sent, receive_all(to, 1));
            }
        }
    }
}

fn pins(site: &Site, next: Option<&Identity>, address: Option<SocketAddr>) -> PeerConfig {
    PeerConfig {
        next_key: next.map(Identity::public_key),
        addresses: address.iter().map(ToString::to_string).collect(),
        ..PeerConfig::new(site.name.parse().unwrap(), site.identity.public_key())
    }
}

async fn until(mut check: impl FnMut() -> bool) {
    let start = Instant::now();
    while !check() {
        assert!(start.elapsed() < PATIENCE, "not in time");
        sleep(Duration::from_millis(10)).await;
    }
}
