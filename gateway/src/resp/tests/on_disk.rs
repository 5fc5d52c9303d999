//! Commands on logs whose older entries are on disk answer as on those in memory.

use redis::Value;
use redis::aio::MultiplexedConnection;

use super::*;
use crate::grid::ColdConfig;

/// Two sites with the same entries: one keeps them in memory, one has them on disk.
struct Pair {
    memory: Site,
    disk: Site,
    clients: [MultiplexedConnection; 2],
    _dir: tempfile::TempDir,
}

impl Pair {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let cold = GridConfig {
            cold: Some(ColdConfig {
                memory_bytes_max: 0,
                disk_bytes_max: u64::MAX,
            }),
            ..grid_config(Some(dir.path().to_owned()))
        };
        let memory = Site::with_config(grid_config(None), resp_config()).await;
        let disk = Site::with_config(cold, resp_config()).await;
        let clients = [client(&memory).await, client(&disk).await];
        Self {
            memory,
            disk,
            clients,
            _dir: dir,
        }
    }

    /// Everything that can goes to the disk.
    async fn spill(&self) {
        let grid = self.disk.grid.clone();
        let spilt = tokio::task::spawn_blocking(move || {
            grid.flush().unwrap();
            grid.spill()
        });
        spilt.await.unwrap();
    }

    /// Sends one command to both, and compares what they say.
    async fn same(&mut self, words: &[&str]) -> Value {
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        let [memory, disk] = &mut self.clients;
        let expected: Value = command.query_async(memory).await.unwrap();
        let got: Value = command.query_async(disk).await.unwrap();
        assert_eq!(got, expected, "{words:?}");
        got
    }

    async fn stop(self) {
        self.memory.stop().await;
        self.disk.stop().await;
    }
}

async fn client(site: &Site) -> MultiplexedConnection {
    let url = format!("redis://{}/", site.address);
    let client = redis::Client::open(url).unwrap();
    // By itself it waits for half a second.
    let config = redis::AsyncConnectionConfig::new().set_response_timeout(Some(PATIENCE));
    let connected = client.get_multiplexed_async_connection_with_config(&config);
    connected.await.unwrap()
}

#[tokio::test]
async fn commands_answer_alike_wherever_entries_are() {
    let mut pair = Pair::start().await;
    for n in 1..=200 {
        let (id, text) = (format!("{n}-0"), format!("{n:0>2000}"));
        pair.same(&["XADD", "log", &id, "line", &text]).await;
        pair.same(&["XADD", "other", &id, "line", &text]).await;
    }
    pair.spill().await;
    assert!(pair.disk.grid.stats().cold_blocks > 0);
    let reads = [
        &["XRANGE", "log", "-", "+"][..],
        &["XRANGE", "log", "17", "+", "COUNT", "3"],
        &["XRANGE", "log", "(3-0", "(9-0"],
        &["XREVRANGE", "log", "+", "-", "COUNT", "190"],
        &["XREVRANGE", "log", "90", "40"],
        &["XREAD", "COUNT", "2", "STREAMS", "log", "other", "5", "180"],
        &["XREAD", "BLOCK", "10000", "STREAMS", "log", "0"],
        &["XINFO", "STREAM", "log"],
        &["XLEN", "log"],
    ];
    let changes = [
        &["XTRIM", "log", "MINID", "31"][..],
        &["XADD", "log", "MAXLEN", "120", "201-0", "line", "x"],
        &["XADD", "log", "MAXLEN", "119", "202-0", "line", "x"],
        &["XTRIM", "log", "MAXLEN", "50"],
        &["XTRIM", "log", "MINID", "=", "10"],
        &["XTRIM", "log", "MAXLEN", "0"],
    ];
    for read in reads {
        pair.same(read).await;
    }
    for change in changes {
        pair.same(change).await;
        for read in reads.iter().filter(|read| read[0] != "XREAD") {
            pair.same(read).await;
        }
        pair.spill().await;
    }
    pair.stop().await;
}

#[tokio::test]
async fn a_transaction_does_not_wait_for_the_disk() {
    let mut pair = Pair::start().await;
    for n in 1..=100 {
        let (id, text) = (format!("{n}-0"), format!("{n:0>2000}"));
        pair.same(&["XADD", "log", &id, "line", &text]).await;
    }
    pair.spill().await;
    let mut client = pair.disk.client().await;
    let refused = "-ERR the entries are on disk: not inside a transaction\r\n";
    let queued = "+QUEUED\r\n".repeat(4);
    client
        .expect(
            "MULTI\r\nXRANGE log - +\r\nXTRIM log MAXLEN 77\r\nXLEN log\r\nINCR hits\r\nEXEC\r\n",
            &format!("+OK\r\n{queued}*4\r\n{refused}{refused}:100\r\n:1\r\n"),
        )
        .await;
    // Outside of one the same trim waits for it.
    client
        .expect("XTRIM log MAXLEN 77\r\nXLEN log\r\n", ":23\r\n:77\r\n")
        .await;
    drop(client);
    pair.stop().await;
}
