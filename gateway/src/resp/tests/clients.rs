//! What clients see of a connection: a client's library, pipelines, limits, the password.

use super::*;

#[tokio::test]
async fn a_redis_client_works() -> redis::RedisResult<()> {
    use redis::AsyncCommands;
    let site = Site::start(Some("secret")).await;
    for protocol in ["", "&protocol=resp3"] {
        let url = format!(
            "redis://:secret@{}/?{}",
            site.address,
            protocol.trim_start_matches('&')
        );
        let mut client = redis::Client::open(url)?
            .get_multiplexed_async_connection()
            .await?;
        let _: i64 = client.del(&["hits", "by", "clicks"]).await?;
        assert_eq!(client.incr::<_, _, i64>("hits", 5).await?, 5);
        assert_eq!(client.get::<_, Option<i64>>("hits").await?, Some(5));
        assert_eq!(client.hincr::<_, _, _, i64>("by", "a", 2).await?, 2);
        let all: std::collections::HashMap<String, i64> = client.hgetall("by").await?;
        assert_eq!(all["a"], 2);
        let id: String = client.xadd("clicks", "*", &[("path", "/")]).await?;
        let read: redis::streams::StreamReadReply = client.xread(&["clicks"], &["0"]).await?;
        assert_eq!(read.keys[0].ids[0].id, id);
        let range: redis::streams::StreamRangeReply = client.xrange_all("clicks").await?;
        assert_eq!(
            range.ids[0].map["path"],
            redis::Value::BulkString(b"/".to_vec())
        );
        let (sum, all): (i64, Vec<i64>) = redis::pipe()
            .atomic()
            .incr("hits", 1)
            .cmd("HVALS")
            .arg("by")
            .query_async(&mut client)
            .await?;
        assert_eq!((sum, all), (6, vec![2]));
        let mut keys = client.scan::<String>().await?;
        let mut count = 0;
        while let Some(key) = keys.next_item().await {
            key?;
            count += 1;
        }
        assert_eq!(count, 3);
    }
    site.stop().await;
    Ok(())
}

#[tokio::test]
async fn pipelines_inline_commands_and_errors() {
    let site = Site::start(None).await;
    let mut client = site.client().await;
    client
        .expect(
            "INCR a\r\nINCRBY a 41\r\nGET a\r\nGET b\r\n",
            ":1\r\n:42\r\n$2\r\n42\r\n$-1\r\n",
        )
        .await;
    client.expect("HELLO\r\n", "*14\r\n").await;
    let mut client = site.client().await;
    client
        .expect(
            "NO such\r\n",
            "-ERR unknown command 'NO', with args beginning with: 'such' \r\n",
        )
        .await;
    client
        .expect(
            "GET\r\n",
            "-ERR wrong number of arguments for 'get' command\r\n",
        )
        .await;
    client
        .expect(
            "HGET a f\r\n",
            "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n",
        )
        .await;
    client
        .expect("SET a 1 EX\r\n", "-ERR syntax error\r\n")
        .await;
    client
        .expect(
            "SET a x\r\n",
            "-ERR value is not an integer or out of range: strait holds counters and logs, no texts\r\n",
        )
        .await;
    client
        .expect(
            "*3\r\n$-2\r\n",
            "-ERR Protocol error: invalid bulk length\r\n",
        )
        .await;
    assert!(client.closed().await);
    site.stop().await;
}

#[tokio::test]
async fn a_transaction_is_limited() {
    let site = Site::start(None).await;
    let mut client = site.client().await;
    client
        .expect("MULTI\r\nINCR a\r\n", "+OK\r\n+QUEUED\r\n")
        .await;
    let long = format!(
        "*2\r\n$4\r\nECHO\r\n$1048576\r\n{}\r\n",
        "x".repeat(1 << 20)
    );
    for _ in 0..15 {
        client.expect(&long, "+QUEUED\r\n").await;
    }
    let refused = "-ERR the transaction is longer than 16777216 bytes\r\n";
    client.expect(&long, refused).await;
    let aborted = "-EXECABORT Transaction discarded because of previous errors.\r\n";
    client
        .expect("EXEC\r\nGET a\r\n", &format!("{aborted}$-1\r\n"))
        .await;
    site.stop().await;
}

#[tokio::test]
async fn nothing_is_served_before_the_password() {
    let site = Site::start(Some("secret")).await;
    let mut client = site.client().await;
    client
        .expect("GET a\r\n", "-NOAUTH Authentication required.\r\n")
        .await;
    client
        .expect(
            "AUTH wrong\r\n",
            "-WRONGPASS invalid username-password pair or user is disabled.\r\n",
        )
        .await;
    client.expect("AUTH other secret\r\n", "-WRONGPASS").await;
    let mut client = site.client().await;
    for (name, words) in commands::names() {
        if ["auth", "hello", "quit", "reset"].contains(&name) {
            continue;
        }
        let mut sent = name.replace('|', " ");
        let more = words - sent.split(' ').count();
        sent += &" 1".repeat(more);
        // Families are no commands by themselves, and are told apart first.
        let refused = match client.line(&format!("{sent}\r\n")).await {
            line if line.starts_with("-ERR unknown subcommand") => !name.contains('|'),
            line => line == "-NOAUTH Authentication required.\r\n",
        };
        assert!(refused, "{sent}");
    }
    let mut client = site.client().await;
    client
        .expect("AUTH default secret\r\nGET a\r\n", "+OK\r\n$-1\r\n")
        .await;
    client
        .expect(
            "RESET\r\nGET a\r\n",
            "+RESET\r\n-NOAUTH Authentication required.\r\n",
        )
        .await;
    site.stop().await;
}

#[tokio::test]
async fn a_blocking_read_wakes_and_forgets_who_left() {
    let site = Site::start(None).await;
    let (mut reader, mut writer) = (site.client().await, site.client().await);
    reader
        .expect("XREAD BLOCK 20 STREAMS l $\r\n", "*-1\r\n")
        .await;
    reader
        .0
        .write_all(b"XREAD BLOCK 0 STREAMS l other 0 $\r\nPING\r\n")
        .await
        .unwrap();
    // It blocks by then; should it come later, it finds the same.
    tokio::time::sleep(Duration::from_millis(50)).await;
    writer.expect("XADD l 5-1 f v\r\n", "$3\r\n5-1\r\n").await;
    let entry = "*1\r\n*2\r\n$1\r\nl\r\n*1\r\n*2\r\n$3\r\n5-1\r\n*2\r\n$1\r\nf\r\n$1\r\nv\r\n";
    reader.expect("", &format!("{entry}+PONG\r\n")).await;
    reader
        .0
        .write_all(b"XREAD BLOCK 0 STREAMS l $\r\n")
        .await
        .unwrap();
    drop(reader);
    let alone = async {
        while writer_sees(&mut writer).await > 1 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, alone).await.unwrap();
    site.stop().await;
}

/// Connected clients, by `CLIENT LIST`.
async fn writer_sees(client: &mut Raw) -> usize {
    client.0.write_all(b"CLIENT LIST\r\n").await.unwrap();
    let mut bytes = vec![0; 4096];
    let length = client.0.read(&mut bytes).await.unwrap();
    String::from_utf8_lossy(&bytes[..length])
        .matches("id=")
        .count()
}

#[tokio::test]
async fn clients_too_many_are_turned_away() {
    let site = Site::start(None).await;
    let mut clients = Vec::new();
    for _ in 0..4 {
        let mut client = site.client().await;
        client.expect("PING\r\n", "+PONG\r\n").await;
        clients.push(client);
    }
    let mut fifth = site.client().await;
    fifth
        .expect("", "-ERR max number of clients reached\r\n")
        .await;
    assert!(fifth.closed().await);
    let figures = ClientFigures {
        connected: 4,
        blocked: 0,
        connections: 4,
        turned_away: 1,
        commands: 4,
        ..ClientFigures::default()
    };
    assert_eq!(site.clients.figures(), figures);
    drop(clients);
    site.stop().await;
}

#[tokio::test]
async fn values_are_promised_nothing() {
    let rules = DurabilityRules {
        patterns: vec![("5*".to_owned(), Durability::Remote)],
        otherwise: Durability::Memory,
    };
    let site = Site::with(None, rules, None).await;
    let mut client = site.client().await;
    client.expect("MSET a 5 b 51\r\n", "+OK\r\n").await;
    site.stop().await;
}
