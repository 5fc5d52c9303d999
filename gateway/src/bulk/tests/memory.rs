//! Batches of pushed files that wait for a slow disk.

use strait_transport::{Class, Received};

use super::*;
use crate::bulk::incoming::{Part, Waiting};

const BATCH_BYTES: usize = 1 << 20;

/// What has come of a stream.
async fn batches(end: &mut End, count: usize) -> Vec<Received> {
    let mut batches = Vec::new();
    while batches.len() < count {
        if let LinkEvent::Batch(batch) = end.events.next().await.unwrap() {
            batches.push(batch);
        }
    }
    batches
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_beyond_what_may_wait_are_acknowledged_when_they_are_used_up() {
    let wires = Wires::new();
    let (mut east, mut west) = (wires.east().await, wires.west().await);
    while !matches!(east.events.next().await.unwrap(), LinkEvent::Up { .. }) {}
    let up = async { while !matches!(west.events.next().await.unwrap(), LinkEvent::Up { .. }) {} };
    tokio::time::timeout(PATIENCE, up).await.unwrap();
    let open = Bytes::from_static(b"?");
    let mut stream = west.link.open(Class::Bulk, open).unwrap();
    for seed in 0..4 {
        let bytes = noise(seed, BATCH_BYTES);
        stream.send(bytes.into(), false).await.unwrap();
    }
    let arrived = tokio::time::timeout(PATIENCE, batches(&mut east, 4));
    let waiting = Waiting::of(2 * BATCH_BYTES);
    let mut parts: Vec<_> = arrived.await.unwrap().into_iter().map(Part::of).collect();
    for part in &mut parts {
        part.take_room(Some(&waiting));
    }
    let unacked = async |batches: usize| {
        let reached = async {
            while stream.ledger().unacked_bytes != (batches * BATCH_BYTES) as u64 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, reached).await.unwrap();
    };
    unacked(2).await;
    drop(parts.pop());
    unacked(1).await;
    // What is used up makes room.
    drop(parts.remove(0));
    let mut last = parts.pop().unwrap();
    last.take_room(Some(&waiting));
    unacked(0).await;
}
