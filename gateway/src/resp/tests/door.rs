//! Strangers: HTTP, silence, wrong passwords, requests that never end.

use super::*;

fn config(password: Option<&str>) -> RespConfig {
    RespConfig {
        admission: admission(password),
        ..resp_config()
    }
}

#[tokio::test]
async fn commands_in_the_body_of_a_browsers_request_are_not_carried_out() {
    let site = Site::start(None).await;
    let requests = [
        "POST / HTTP/1.1\r\nHost: 127.0.0.1:6390\r\n\r\nINCRBY a 5\r\n",
        "PUT / HTTP/1.1\r\nHost: 127.0.0.1:6390\r\n\r\nINCRBY a 5\r\n",
        "*1\r\n$4\r\npost\r\n*3\r\n$6\r\nINCRBY\r\n$1\r\na\r\n$1\r\n5\r\n",
    ];
    for request in requests {
        let mut client = site.client().await;
        client.0.write_all(request.as_bytes()).await.unwrap();
        let mut replies = String::new();
        let read = tokio::time::timeout(PATIENCE, client.0.read_to_string(&mut replies));
        read.await.unwrap().ok();
        // No counter answers with its sum.
        let is_sum = |line: &str| line.starts_with(':');
        assert!(!replies.lines().any(is_sum), "{replies}");
    }
    let mut client = site.client().await;
    client.expect("GET a\r\n", "$-1\r\n").await;
    assert_eq!(site.clients.figures().http, 3);
    site.stop().await;
}

#[tokio::test]
async fn an_address_has_few_tries_to_guess_the_password() {
    let site = Site::start(Some("secret")).await;
    let mut client = site.client().await;
    for _ in 0..10 {
        let reply = client.line("AUTH wrong\r\n").await;
        assert!(reply.starts_with("-WRONGPASS"), "{reply}");
    }
    // The right one is not looked at either: its answer would tell.
    let reply = site.client().await.line("AUTH secret\r\n").await;
    assert!(reply.contains("too many wrong passwords"), "{reply}");
    let reply = client.line("HELLO 3 AUTH default secret\r\n").await;
    assert!(reply.contains("too many wrong passwords"), "{reply}");
    assert_eq!(site.clients.figures().wrong_passwords, 10);
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while client.line("AUTH secret\r\n").await != "+OK\r\n" {
        assert!(tokio::time::Instant::now() < deadline, "never let in again");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    site.stop().await;
}

#[tokio::test]
async fn silent_strangers_hold_no_places() {
    let site = Site::with_config(grid_config(None), config(Some("secret"))).await;
    let mut strangers = Vec::new();
    for _ in 0..4 {
        let mut stranger = site.client().await;
        assert!(stranger.line("PING\r\n").await.starts_with("-NOAUTH"));
        strangers.push(stranger);
    }
    let mut known = Vec::new();
    for _ in 0..4 {
        let mut client = site.client().await;
        client.expect("AUTH secret\r\n", "+OK\r\n").await;
        known.push(client);
    }
    for stranger in &mut strangers {
        assert!(stranger.closed().await);
    }
    // Clients that gave the password are not sent away for others.
    let mut late = site.client().await;
    let refusal = "-ERR max number of clients reached\r\n";
    late.expect("", refusal).await;
    for client in &mut known {
        client.expect("PING\r\n", "+PONG\r\n").await;
    }
    assert_eq!(site.clients.figures().unauthenticated, 4);
    site.stop().await;
}

#[tokio::test]
async fn the_password_must_come_in_time() {
    let site = Site::start(Some("secret")).await;
    let mut silent = site.client().await;
    let began = std::time::Instant::now();
    let mut talking = vec![
        (site.client().await, "PING\r\n"),
        (site.client().await, "RESET\r\n"),
    ];
    while let Some((mut client, command)) = talking.pop() {
        assert!(began.elapsed() < PATIENCE, "{command} has it stay");
        if client.line(command).await != "-ERR no password in 10 s\r\n" {
            talking.insert(0, (client, command));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    silent.expect("", "-ERR no password in 10 s\r\n").await;
    assert!(silent.closed().await);
    site.stop().await;
}

#[tokio::test]
async fn a_stranger_that_reads_no_reply_is_sent_away_in_time() {
    let site = Site::start(Some("secret")).await;
    let mut client = site.client().await;
    let pings = "PING\r\n".repeat(10_000);
    let sending = async { while client.0.write_all(pings.as_bytes()).await.is_ok() {} };
    let sent_away = tokio::time::timeout(PATIENCE, sending).await;
    assert!(sent_away.is_ok(), "it keeps its place");
    site.stop().await;
}

#[tokio::test]
async fn the_slow_log_keeps_no_password() {
    let site = Site::start(Some("secret")).await;
    let mut client = site.client().await;
    client.expect("AUTH secret\r\n", "+OK\r\n").await;
    client
        .expect("CONFIG SET slowlog-log-slower-than 0\r\n", "+OK\r\n")
        .await;
    client.expect("AUTH secret\r\n", "+OK\r\n").await;
    client.line("HELLO 2 AUTH default secret\r\n").await;
    client.0.write_all(b"QUIT\r\n").await.unwrap();
    let mut rest = String::new();
    client.0.read_to_string(&mut rest).await.unwrap();
    let mut reader = site.client().await;
    reader.expect("AUTH secret\r\n", "+OK\r\n").await;
    reader
        .0
        .write_all(b"SLOWLOG GET -1\r\nQUIT\r\n")
        .await
        .unwrap();
    let mut log = String::new();
    reader.0.read_to_string(&mut log).await.unwrap();
    assert!(log.contains("(redacted)"), "{log}");
    assert!(!log.contains("secret"), "{log}");
    site.stop().await;
}

/// 40 clients that each begin a command of 31 MiB took 1.2 GiB.
#[tokio::test]
async fn requests_that_never_end_and_long_transactions_count() {
    const MIB: usize = 1 << 20;
    let limits = ReplyLimits {
        unread_bytes_max: 8 * MIB,
        ..ReplyLimits::default()
    };
    let config = RespConfig {
        limits,
        clients_max: 20,
        ..config(None)
    };
    let site = Site::with_config(grid_config(None), config).await;
    let argument = format!("${}\r\n{}\r\n", MIB - 100, "x".repeat(MIB - 100));
    let mut clients = Vec::new();
    for n in 0..6 {
        let mut client = site.client().await;
        let sent = match n % 2 {
            // Never whole.
            0 => format!("*9\r\n$4\r\nMGET\r\n{}", argument.repeat(3)),
            _ => format!("MULTI\r\n*4\r\n$4\r\nMGET\r\n{}", argument.repeat(3)),
        };
        // A client that is cut off meanwhile cannot send all of it.
        let sending = client.0.write_all(sent.as_bytes());
        tokio::time::timeout(PATIENCE, sending).await.unwrap().ok();
        clients.push(client);
    }
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while site.clients.figures().cut_off < 3 {
        let figures = site.clients.figures();
        assert!(tokio::time::Instant::now() < deadline, "{figures:?}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let mut client = site.client().await;
    client.expect("PING\r\n", "+PONG\r\n").await;
    drop(clients);
    site.stop().await;
}
