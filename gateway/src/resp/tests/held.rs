//! Replies that clients do not read.

use super::*;

/// A site with a hash of which a reply is some 9 MB, more than the kernel takes of it.
async fn large(limits: ReplyLimits) -> (Site, usize) {
    const FIELDS: usize = 300_000;
    let config = RespConfig {
        limits,
        clients_max: 20,
        ..resp_config()
    };
    let site = Site::with_config(grid_config(None), config).await;
    let mut state = site.grid.lock();
    for field in 0..FIELDS {
        let field = format!("field:{field:07}");
        state.add_field(b"large", field.as_bytes(), 1).unwrap();
    }
    drop(state);
    site.grid.flush().unwrap();
    let header = format!("*{}\r\n", 2 * FIELDS).len();
    (
        site,
        header + FIELDS * "$13\r\nfield:0000000\r\n$1\r\n1\r\n".len(),
    )
}

#[tokio::test]
async fn a_reply_that_is_too_long_is_an_error() {
    let limits = ReplyLimits {
        reply_bytes_max: 1 << 20,
        ..ReplyLimits::default()
    };
    let (site, _) = large(limits).await;
    let mut client = site.client().await;
    let refusal =
        "-ERR the reply would be longer than reply_bytes_max, 1048576 bytes: ask for less\r\n";
    client
        .expect(
            "HGETALL large\r\nHVALS large\r\n",
            &format!("{refusal}{refusal}"),
        )
        .await;
    client
        .expect("HLEN large\r\nPING\r\n", ":300000\r\n+PONG\r\n")
        .await;
    let queued = "+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n";
    let done = format!("{queued}*3\r\n:1\r\n{refusal}:2\r\n");
    client
        .expect(
            "MULTI\r\nINCR a\r\nHKEYS large\r\nINCR a\r\nEXEC\r\n",
            &done,
        )
        .await;
    let value = vec![b'x'; 500 << 10];
    for _ in 0..4 {
        let entry = crate::grid::pack_values([&b"f"[..], &value].into_iter());
        let (id, made) = (crate::grid::NewId::Auto, (true, None));
        let added = site.grid.lock().append(b"log", id, &entry, made, 1);
        added.unwrap().unwrap();
    }
    client.expect("XRANGE log - +\r\n", refusal).await;
    client.expect("XREAD STREAMS log 0\r\n", refusal).await;
    client
        .expect("XREAD BLOCK 0 STREAMS log 0\r\n", refusal)
        .await;
    site.stop().await;
}

#[tokio::test]
async fn clients_that_do_not_read_are_cut_off_and_others_are_served() {
    let limits = ReplyLimits {
        unread_bytes_max: 20 << 20,
        ..ReplyLimits::default()
    };
    let (site, length) = large(limits).await;
    let mut idle = Vec::new();
    for asked in 1..5 {
        let mut client = site.client().await;
        client.0.write_all(b"HGETALL large\r\n").await.unwrap();
        // Until its reply stands in line, so that they come one by one.
        let stands = |figures: ClientFigures| {
            figures.unread_bytes / length as u64 + figures.cut_off == asked
                && figures.unread_bytes <= 20 << 20
        };
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while !stands(site.clients.figures()) {
            assert!(tokio::time::Instant::now() < deadline, "not answered");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        idle.push(client);
    }
    let mut reader = site.client().await;
    reader.0.write_all(b"HGETALL large\r\n").await.unwrap();
    let mut reply = vec![0; length];
    let read = tokio::time::timeout(PATIENCE, reader.0.read_exact(&mut reply));
    read.await.unwrap().unwrap();
    assert!(reply.ends_with(b"field:0299999\r\n$1\r\n1\r\n"));
    reader.expect("PING\r\n", "+PONG\r\n").await;
    let figures = site.clients.figures();
    assert!(figures.cut_off >= 3, "{figures:?}");
    let mut rest = Vec::new();
    let first = tokio::time::timeout(PATIENCE, idle[0].0.read_to_end(&mut rest));
    first.await.unwrap().ok();
    assert!(
        rest.len() < length,
        "the first to keep its reply waiting is cut off"
    );
    drop(idle);
    site.stop().await;
}
