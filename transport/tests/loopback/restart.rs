use bytes::Bytes;
use strait_ports::free_port;
use strait_transport::{Class, LinkEvent, SendError};
use tokio::time::timeout;

use crate::site::{PATIENCE, Site};

#[tokio::test(flavor = "multi_thread")]
async fn either_end_may_be_made_anew() {
    let (east, west) = (Site::new("east"), Site::new("west"));
    let west_address = free_port();
    let mut west_runs = west.start_at(west_address, &east, None).await;
    let mut east_runs = east.start(&west, Some(west_address)).await;
    assert!(east_runs.up().await && west_runs.up().await);
    let mut stream = east_runs.link.open(Class::Bulk, Bytes::new()).unwrap();
    stream
        .send(Bytes::from_static(b"one"), false)
        .await
        .unwrap();

    west_runs.node.close().await;
    let down = east_runs.next().await;
    assert!(
        matches!(down, LinkEvent::Down { is_meant: true, .. }),
        "{down:?}"
    );
    let mut west_runs = west.start_at(west_address, &east, None).await;
    assert!(east_runs.up().await, "a fresh session");
    assert!(west_runs.up().await, "a fresh session");
    let lost = stream.send(Bytes::new(), false).await;
    assert_eq!(lost, Err(SendError::SessionReset));

    east_runs.node.close().await;
    let mut east_runs = east.start(&west, Some(west_address)).await;
    assert!(east_runs.up().await, "a fresh session");
    assert!(west_runs.up().await, "a fresh session");
    let mut stream = east_runs.link.open(Class::Control, Bytes::new()).unwrap();
    let seq = stream
        .send(Bytes::from_static(b"two"), false)
        .await
        .unwrap();
    let LinkEvent::Batch(received) = west_runs.next().await else {
        panic!("a batch");
    };
    assert_eq!(&received.bytes[..], b"two");
    received.ack();
    timeout(PATIENCE, stream.acked(seq)).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn both_may_dial() {
    let (east, west) = (Site::new("east"), Site::new("west"));
    let addresses = [free_port(), free_port()];
    for _ in 0..5 {
        let mut runs = [
            east.start_at(addresses[0], &west, Some(addresses[1])).await,
            west.start_at(addresses[1], &east, Some(addresses[0])).await,
        ];
        for site in &mut runs {
            site.up().await;
        }
        // It stays up: nobody dials twice.
        tokio::time::sleep(std::time::Duration::from_millis(800)).await;
        for site in runs {
            assert!(site.link.status().reconnects <= 1);
            site.node.close().await;
        }
    }
}
