use std::net::UdpSocket;
use std::time::{Duration, Instant};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use strait_transport::Phase;

use crate::proxy::Proxy;
use crate::site::{PATIENCE, Running, Site, connected};

/// Waits until the link says why it does not come up.
async fn error_of(site: &Running) -> String {
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        if let Some(error) = site.link.status().last_error {
            return error;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("no error in time");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_key_is_refused_in_the_handshake() {
    let (east, west, mallory) = (Site::new("east"), Site::new("west"), Site::new("east"));
    let west_runs = west.start(&east, None).await;
    let mallory_runs = mallory
        .start(&west, Some(west_runs.node.local_addr()))
        .await;
    let error = error_of(&mallory_runs).await;
    assert!(
        error.contains("does not know this gateway's key"),
        "{error}"
    );
    assert_eq!(west_runs.link.status().phase, Phase::Connecting);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dialer_refuses_an_impostor() {
    let (east, west, mallory) = (Site::new("east"), Site::new("west"), Site::new("west"));
    let mallory_runs = mallory.start(&east, None).await;
    let east_runs = east
        .start(&west, Some(mallory_runs.node.local_addr()))
        .await;
    let error = error_of(&east_runs).await;
    assert!(error.contains("not the paired gateway"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_under_another_name_is_told_so() {
    let (east, mut west) = (Site::new("east"), Site::new("west"));
    let west_runs = west.start(&east, None).await;
    let address = west_runs.node.local_addr();
    west.name = "vest";
    let east_runs = east.start(&west, Some(address)).await;
    let error = error_of(&east_runs).await;
    assert!(error.contains("calls itself west"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_to_the_port_changes_nothing() {
    let (east, mut west) = connected().await;
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut rng = StdRng::seed_from_u64(1);
    for _ in 0..2000 {
        let mut bytes = vec![0u8; rng.random_range(1..1500)];
        rng.fill(&mut bytes[..]);
        if rng.random_bool(0.5) {
            // Looks like an Initial of QUIC version 1.
            bytes[0] |= 0xc0;
            bytes.resize(1200, 0);
            bytes[1..5].copy_from_slice(&1u32.to_be_bytes());
        }
        socket.send_to(&bytes, west.node.local_addr()).unwrap();
    }
    let mut stream = east
        .link
        .open(strait_transport::Class::Control, bytes::Bytes::new())
        .unwrap();
    stream
        .send(bytes::Bytes::from_static(b"still here"), true)
        .await
        .unwrap();
    let event = west.next().await;
    assert!(matches!(event, strait_transport::LinkEvent::Batch(_)));
    assert_eq!(east.link.status().reconnects, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_dies_without_a_word_is_noticed() {
    let (east, west) = (Site::new("east"), Site::new("west"));
    let west_runs = west.start(&east, None).await;
    let proxy = Proxy::start(west_runs.node.local_addr()).await;
    let mut east_runs = east.start(&west, Some(proxy.address)).await;
    assert!(east_runs.up().await);
    proxy.cut();
    let start = Instant::now();
    let event = east_runs.next().await;
    assert!(
        matches!(
            event,
            strait_transport::LinkEvent::Down {
                is_meant: false,
                ..
            }
        ),
        "{event:?}"
    );
    assert!(
        start.elapsed() < Duration::from_secs(6),
        "{:?}",
        start.elapsed()
    );
    proxy.heal();
    let start = Instant::now();
    assert!(!east_runs.up().await, "the session goes on");
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_of_strangers_leaves_a_link_unharmed() {
    let (east, mut west) = connected().await;
    let address = west.node.local_addr();
    let known = Site::new("west");
    let mut crowd = Vec::new();
    for _ in 0..10 {
        // Each dials again and again, as fast as it may.
        crowd.push(Site::new("mallory").start(&known, Some(address)).await);
    }
    // More than are answered at a time, and they say nothing.
    let silent: Vec<_> = (0..100)
        .map(|_| std::net::TcpStream::connect(address).unwrap())
        .collect();
    for n in 0..20u8 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let class = strait_transport::Class::Control;
        let mut stream = east.link.open(class, bytes::Bytes::new()).unwrap();
        stream.send(vec![n].into(), true).await.unwrap();
        let strait_transport::LinkEvent::Batch(received) = west.next().await else {
            panic!("the link stays up");
        };
        assert_eq!(received.bytes[0], n);
        received.ack();
    }
    assert_eq!(east.link.status().reconnects, 0);
    drop((crowd, silent));
}
