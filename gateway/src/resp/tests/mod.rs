//! The server over loopback: a Redis client, and bytes as they are.

mod fuzz;
mod on_disk;
mod same_as_redis;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use super::*;
use crate::grid::{Epoch, Flusher, Grid, GridConfig};

/// Nothing on loopback takes longer.
const PATIENCE: Duration = Duration::from_secs(20);

struct Site {
    grid: Arc<Grid>,
    address: SocketAddr,
    clients: Arc<Clients>,
    stop: Option<oneshot::Sender<()>>,
    done: tokio::task::JoinHandle<()>,
}

impl Site {
    async fn start(password: Option<&str>) -> Self {
        Self::with(password, DurabilityRules::default(), None).await
    }

    async fn with(
        password: Option<&str>,
        durability: DurabilityRules,
        dir: Option<std::path::PathBuf>,
    ) -> Self {
        let config = RespConfig {
            password: password.map(str::to_owned),
            durability,
            ..resp_config()
        };
        Self::with_config(grid_config(dir), config).await
    }

    async fn with_config(grid: GridConfig, config: RespConfig) -> Self {
        let grid = Arc::new(Grid::open(grid).unwrap().0);
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let server = Server::bind(any, grid.clone(), config, Arc::new(NoInfo)).unwrap();
        let address = server.local_addr();
        let clients = server.clients();
        let (stop, stopped) = oneshot::channel();
        let done = tokio::spawn(server.serve(async move { drop(stopped.await) }));
        Self {
            grid,
            address,
            clients,
            stop: Some(stop),
            done,
        }
    }

    async fn stop(mut self) {
        drop(self.stop.take());
        self.done.await.unwrap();
    }

    async fn client(&self) -> Raw {
        Raw(TcpStream::connect(self.address).await.unwrap())
    }
}

fn grid_config(dir: Option<std::path::PathBuf>) -> GridConfig {
    GridConfig {
        dir,
        site: "east".parse().unwrap(),
        incarnation: 1,
        flush_interval: Duration::from_millis(5),
        memory_bytes_max: 1 << 30,
        loss_window: Duration::from_secs(1),
        keep_trimmed_for_peers: false,
        cold: None,
    }
}

fn resp_config() -> RespConfig {
    RespConfig {
        password: None,
        clients_max: 4,
        durability: DurabilityRules::default(),
        block: None,
    }
}

struct Raw(TcpStream);

impl Raw {
    /// Sends text (inline commands, or arrays as they are) and reads as much as is expected.
    async fn expect(&mut self, sent: &str, reply: &str) {
        self.0.write_all(sent.as_bytes()).await.unwrap();
        let mut got = vec![0; reply.len()];
        let read = tokio::time::timeout(PATIENCE, self.0.read_exact(&mut got));
        let whole = read.await.is_ok_and(|read| read.is_ok());
        let got = String::from_utf8_lossy(&got).into_owned();
        assert!(
            whole && got == reply,
            "{sent:?} gave {got:?}, not {reply:?}"
        );
    }

    async fn closed(&mut self) -> bool {
        matches!(self.0.read(&mut [0; 8]).await, Ok(0) | Err(_))
    }
}

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
            "-ERR value is not an integer or out of range\r\n",
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
async fn wait_counts_sites_that_hold_everything() {
    let site = Site::start(None).await;
    let flusher = Flusher::spawn(site.grid.clone()).unwrap();
    let mut client = site.client().await;
    client
        .expect("INCR a\r\nWAIT 1 20\r\n", ":1\r\n:0\r\n")
        .await;
    let epoch = site.grid.flush().unwrap();
    assert!(epoch > Epoch(0));
    site.grid.set_peer_acked(&"west".parse().unwrap(), epoch);
    client.expect("WAIT 1 0\r\n", ":1\r\n").await;
    client
        .expect("INCR a\r\nWAIT 1 20\r\n", ":2\r\n:0\r\n")
        .await;
    site.stop().await;
    tokio::task::spawn_blocking(move || flusher.stop())
        .await
        .unwrap();
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
    site.grid
        .set_peer_acked(&"west".parse().unwrap(), Epoch(u64::MAX));
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

/// A site without room, where writes wait for it.
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
    while site.grid.lock().has_room() {
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
    let writes = b"INCR a\r\nMULTI\r\nINCR a\r\nEXEC\r\n";
    writer.0.write_all(writes).await.unwrap();
    let early = tokio::time::timeout(Duration::from_millis(100), writer.0.read_u8()).await;
    assert!(early.is_err(), "answered while there was no room");
    let trimmed = format!(":{}\r\n", site.grid.stats().entries);
    other.expect("XTRIM big MAXLEN 0\r\n", &trimmed).await;
    site.grid.flush().unwrap();
    writer
        .expect("", ":1\r\n+OK\r\n+QUEUED\r\n*1\r\n:2\r\n")
        .await;
    site.stop().await;
}

#[tokio::test]
async fn a_write_that_has_waited_long_enough_is_told_so() {
    let site = full(Duration::from_secs(1)).await;
    let mut writer = site.client().await;
    let refused =
        "-OOM command not allowed when used memory > 'memory_bytes_max': no room in 1 s\r\n";
    let replies = format!("{refused}{refused}$-1\r\n");
    writer
        .expect("INCR a\r\nINCR a\r\nGET a\r\n", &replies)
        .await;
    let mut leaver = site.client().await;
    leaver.0.write_all(b"INCR a\r\n").await.unwrap();
    drop(leaver);
    site.stop().await;
}
