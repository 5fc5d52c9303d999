use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use strait_transport::{Class, LinkEvent, LinkEvents, LinkHandle, Phase, SendError, StreamId};
use tokio::time::{sleep, timeout};

use crate::site::{PATIENCE, connected, next};

/// What a test stream carries: its place, repeated.
fn batch(stream: u8, index: u64, len: usize) -> Bytes {
    let mut bytes = vec![stream; len.max(9)];
    bytes[1..9].copy_from_slice(&index.to_le_bytes());
    bytes.into()
}

/// Sends `count` batches on a stream of its own and waits for the last acknowledgement.
pub(crate) async fn send_all(link: LinkHandle, class: Class, tag: u8, count: u64) {
    let mut rng = StdRng::seed_from_u64(u64::from(tag));
    let mut stream = link.open(class, Bytes::from(vec![tag])).unwrap();
    for index in 0..count {
        let len = match class {
            Class::Bulk => rng.random_range(1..1usize << 20),
            Class::Control | Class::Interactive => rng.random_range(0..5000usize),
        };
        let last = index + 1 == count;
        stream.send(batch(tag, index, len), last).await.unwrap();
    }
    stream.all_acked().await.unwrap();
    let ledger = stream.ledger();
    assert_eq!((ledger.queued_batches, ledger.unacked_batches), (0, 0));
    assert!(ledger.wire_bytes >= ledger.logical_bytes);
}

/// Reads until `streams` streams have ended; checks that each batch comes once, in order.
pub(crate) async fn receive_all(events: &mut LinkEvents, mut streams: usize) {
    let mut places: HashMap<StreamId, u64> = HashMap::new();
    while streams > 0 {
        let LinkEvent::Batch(received) = next(events).await else {
            continue;
        };
        let place = places.entry(received.stream).or_default();
        assert_eq!(received.seq.0, *place);
        assert_eq!(received.bytes[0], received.open[0]);
        assert_eq!(received.bytes[1..9], place.to_le_bytes());
        *place += 1;
        streams -= usize::from(received.last);
        received.ack();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_of_all_classes_arrive_once_and_in_order() {
    let (east, mut west) = connected().await;
    let sends = [
        (Class::Bulk, 60),
        (Class::Interactive, 500),
        (Class::Control, 500),
        (Class::Bulk, 40),
    ];
    let sending: Vec<_> = sends
        .into_iter()
        .zip(1..)
        .map(|((class, count), tag)| tokio::spawn(send_all(east.link.clone(), class, tag, count)))
        .collect();
    timeout(PATIENCE, receive_all(&mut west.events, 4))
        .await
        .unwrap();
    for sent in sending {
        timeout(PATIENCE, sent).await.unwrap().unwrap();
    }
    let status = east.link.status();
    assert_eq!(status.phase, Phase::Up);
    assert_eq!(status.reconnects, 0);
    assert_eq!(status.ledger.queued_batches, 0);
    east.node.close().await;
    west.node.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_cut_again_and_again_loses_and_doubles_nothing() {
    let (east, mut west) = connected().await;
    let (link, cut) = (east.link.clone(), east.link.clone());
    let bulk = tokio::spawn(send_all(link.clone(), Class::Bulk, 1, 400));
    let interactive = tokio::spawn(send_all(link, Class::Interactive, 2, 3000));
    let cutting = tokio::spawn(async move {
        for _ in 0..8 {
            sleep(Duration::from_millis(60)).await;
            cut.pause();
            sleep(Duration::from_millis(20)).await;
            cut.resume();
        }
    });
    timeout(3 * PATIENCE, receive_all(&mut west.events, 2))
        .await
        .unwrap();
    timeout(PATIENCE, async {
        (bulk.await.unwrap(), interactive.await.unwrap())
    })
    .await
    .unwrap();
    cutting.await.unwrap();
    assert!(east.link.status().reconnects > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_waits_and_an_unread_link_holds_little() {
    let (east, mut west) = connected().await;
    let mut stream = east.link.open(Class::Bulk, Bytes::new()).unwrap();
    let mut sent = 0u64;
    let full = async {
        loop {
            stream.send(batch(0, sent, 1 << 20), false).await.unwrap();
            sent += 1;
        }
    };
    assert!(timeout(Duration::from_secs(3), full).await.is_err());
    let ledger = east.link.status().ledger;
    assert!(ledger.unacked_bytes <= 64 << 20, "{ledger:?}");
    assert!(ledger.queued_bytes <= 16 << 20, "{ledger:?}");
    // A more urgent class is not in its way.
    let link = east.link.clone();
    let control = tokio::spawn(send_all(link, Class::Control, 9, 10));
    let mut bulk = 0;
    while bulk < sent || !control.is_finished() {
        if let LinkEvent::Batch(received) = west.next().await {
            bulk += u64::from(received.class == Class::Bulk);
            received.ack();
        }
    }
    control.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_answers_while_reading_never_deadlocks() {
    let (mut east, mut west) = connected().await;
    let mut back = west
        .link
        .open(Class::Bulk, Bytes::from_static(b"\0"))
        .unwrap();
    let echo = tokio::spawn(async move {
        for _ in 0..200 {
            let LinkEvent::Batch(received) = west.next().await else {
                continue;
            };
            back.send(received.bytes.clone(), received.last)
                .await
                .unwrap();
            received.ack();
        }
        west
    });
    let link = east.link.clone();
    let sending = tokio::spawn(send_all(link, Class::Bulk, 0, 200));
    timeout(PATIENCE, receive_all(&mut east.events, 1))
        .await
        .unwrap();
    drop(timeout(PATIENCE, echo).await.unwrap().unwrap());
    timeout(PATIENCE, sending).await.unwrap().unwrap();
}

#[tokio::test]
async fn what_is_too_large_or_too_late_is_refused() {
    let (east, west) = connected().await;
    let too_large = Bytes::from(vec![0; (1 << 20) + 1]);
    let mut stream = east.link.open(Class::Bulk, Bytes::new()).unwrap();
    assert_eq!(
        stream.send(too_large.clone(), false).await,
        Err(SendError::TooLarge)
    );
    stream.send(Bytes::new(), true).await.unwrap();
    assert_eq!(
        stream.send(Bytes::new(), true).await,
        Err(SendError::Closed)
    );
    assert_eq!(
        east.link.open(Class::Bulk, too_large).unwrap_err(),
        SendError::TooLarge
    );
    let link = east.link.clone();
    east.node.close().await;
    assert_eq!(
        link.open(Class::Bulk, Bytes::new()).unwrap_err(),
        SendError::Closed
    );
    assert_eq!(link.status().phase, Phase::Closed);
    west.node.close().await;
}
