//! When writes are confirmed: what is on disk, and at peers, when the reply is there.

use super::*;
use crate::grid::{Epoch, Feed, Flusher};

#[tokio::test]
async fn wait_counts_sites_that_hold_everything() {
    let site = Site::start(None).await;
    let flusher = Flusher::spawn(site.grid.clone()).unwrap();
    let mut client = site.client().await;
    client
        .expect("INCR a\r\nWAIT 1 20\r\n", ":1\r\n:0\r\n")
        .await;
    let epoch = site.grid.flush().unwrap();
    assert!(epoch > Epoch(0));
    let west = "west".parse().unwrap();
    site.grid.set_peer_acked(&west, Feed::Counters, epoch);
    client.expect("WAIT 1 20\r\n", ":0\r\n").await;
    site.grid.set_peer_acked(&west, Feed::Logs, epoch);
    client.expect("WAIT 1 0\r\n", ":1\r\n").await;
    client
        .expect("INCR a\r\nWAIT 1 20\r\n", ":2\r\n:0\r\n")
        .await;
    site.stop().await;
    tokio::task::spawn_blocking(move || flusher.stop())
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn durable_writes_are_on_disk_when_the_reply_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let rules = DurabilityRules {
        patterns: vec![("remote:*".to_owned(), Durability::Remote)],
        otherwise: Durability::Disk,
    };
    let site = Site::with(None, rules, Some(dir.path().to_owned())).await;
    let flusher = Flusher::spawn(site.grid.clone()).unwrap();
    let mut client = site.client().await;
    client.expect("INCR a\r\nINCR a\r\n", ":1\r\n:2\r\n").await;
    client
        .expect(
            "MULTI\r\nINCR a\r\nEXEC\r\n",
            "+OK\r\n+QUEUED\r\n*1\r\n:3\r\n",
        )
        .await;
    let copy = crash_copy(dir.path());
    client
        .expect("WAITAOF 1 0 0\r\n", "*2\r\n:1\r\n:0\r\n")
        .await;
    client.0.write_all(b"INCR remote:a\r\n").await.unwrap();
    let early = tokio::time::timeout(Duration::from_millis(50), client.0.read_u8()).await;
    assert!(early.is_err(), "confirmed before a peer has it");
    // Of logs the peer holds nothing yet.
    let west = "west".parse().unwrap();
    site.grid
        .set_peer_acked(&west, Feed::Counters, Epoch(u64::MAX));
    client.expect("", ":1\r\n").await;
    site.stop().await;
    tokio::task::spawn_blocking(move || flusher.stop())
        .await
        .unwrap();
    // The copy was taken right after the reply.
    let (grid, _) = Grid::open(grid_config(Some(copy.path().to_owned()))).unwrap();
    assert_eq!(grid.lock().get(b"a"), Ok(Some(3)));
}

/// What a crash now would leave of the journal in `dir`.
fn crash_copy(dir: &std::path::Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(dir).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
    }
    copy
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_disk_is_behind_writes_in_memory_wait_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let window = Duration::from_millis(300);
    let grid = GridConfig {
        loss_window: window,
        ..grid_config(Some(dir.path().to_owned()))
    };
    let site = Site::with_config(grid, resp_config()).await;
    let mut client = site.client().await;
    let gate = site.grid.disk_gate();
    let (release, released) = std::sync::mpsc::channel::<()>();
    let (held, is_held) = oneshot::channel();
    let disk = std::thread::spawn(move || {
        let _held = gate.lock();
        held.send(()).unwrap();
        released.recv().unwrap_err();
    });
    is_held.await.unwrap();
    let flusher = Flusher::spawn(site.grid.clone()).unwrap();
    // Nothing is older than this one: it need not wait.
    client.expect("INCR a\r\n", ":1\r\n").await;
    while site.grid.stats().unwritten_seconds <= window.as_secs_f64() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    client.expect("GET a\r\n", "$1\r\n1\r\n").await;
    client.0.write_all(b"INCR a\r\n").await.unwrap();
    let early = tokio::time::timeout(Duration::from_millis(100), client.0.read_u8()).await;
    assert!(early.is_err(), "confirmed while the disk was behind");
    drop(release);
    client.expect("", ":2\r\n").await;
    let (grid, _) = Grid::open(grid_config(Some(crash_copy(dir.path()).path().into()))).unwrap();
    assert_eq!(grid.lock().get(b"a"), Ok(Some(2)));
    assert!(site.grid.stats().late_flushes_total > 0);
    site.stop().await;
    tokio::task::spawn_blocking(move || flusher.stop())
        .await
        .unwrap();
    disk.join().unwrap();
}
