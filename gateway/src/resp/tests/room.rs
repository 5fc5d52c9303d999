//! Writes that wait for room in memory.

use super::*;
use crate::grid::Feed;

const ADD: &str = "XADD small * f v\r\n";

/// A site without room for logs, where writes wait for it.
async fn full(block: Duration) -> Site {
    let grid = GridConfig {
        // Twice what recent flushes may take.
        memory_bytes_max: 32 << 20,
        ..grid_config(None)
    };
    let config = RespConfig {
        block: Some(block),
        ..resp_config()
    };
    let site = Site::with_config(grid, config).await;
    let value = vec![b'x'; 100 << 10];
    let entry = crate::grid::pack_values([&b"f"[..], &value].into_iter());
    while site.grid.lock().check_room(Feed::Logs).is_ok() {
        let (id, made) = (crate::grid::NewId::Auto, (true, None));
        let added = site.grid.lock().append(b"big", id, &entry, made, 1);
        added.unwrap().unwrap();
        // The last flush is kept for peers, however large.
        site.grid.flush().unwrap();
    }
    site
}

#[tokio::test]
async fn a_write_waits_for_room() {
    let site = full(Duration::from_secs(60)).await;
    let (mut writer, mut other) = (site.client().await, site.client().await);
    writer.expect("GET a\r\n", "$-1\r\n").await;
    let writes = "XADD small 1-1 f v\r\nMULTI\r\nINCR a\r\nXADD small 2-1 f v\r\nEXEC\r\n";
    writer.0.write_all(writes.as_bytes()).await.unwrap();
    let early = tokio::time::timeout(Duration::from_millis(100), writer.0.read_u8()).await;
    assert!(early.is_err(), "answered while there was no room");
    // Of what is kept for counters no log takes anything.
    other.expect("INCR a\r\n", ":1\r\n").await;
    let trimmed = format!(":{}\r\n", site.grid.stats().entries);
    other.expect("XTRIM big MAXLEN 0\r\n", &trimmed).await;
    site.grid.flush().unwrap();
    let replies = "$3\r\n1-1\r\n+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n:2\r\n$3\r\n2-1\r\n";
    writer.expect("", replies).await;
    site.stop().await;
}

#[tokio::test]
async fn a_write_that_has_waited_long_enough_is_told_so() {
    let site = full(Duration::from_secs(1)).await;
    let mut writer = site.client().await;
    let refused =
        "-OOM command not allowed when logs use > 3/4 of 'memory_bytes_max': no room in 1 s\r\n";
    let replies = format!("{refused}:1\r\n{refused}$1\r\n1\r\n");
    writer
        .expect(&format!("{ADD}INCR a\r\n{ADD}GET a\r\n"), &replies)
        .await;
    let mut leaver = site.client().await;
    leaver.0.write_all(ADD.as_bytes()).await.unwrap();
    drop(leaver);
    site.stop().await;
}
