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

impl Pair {
    /// Carries out a transaction at both, and compares what they say.
    async fn same_together(&mut self, commands: &[&[&str]]) {
        let mut together = redis::pipe();
        together.atomic();
        for words in commands {
            together.cmd(words[0]).arg(&words[1..]);
        }
        let [memory, disk] = &mut self.clients;
        let expected: Value = together.query_async(memory).await.unwrap();
        let got: Value = together.query_async(disk).await.unwrap();
        assert_eq!(got, expected, "{commands:?}");
    }
}

#[tokio::test]
async fn a_transaction_reads_ahead_what_is_on_disk() {
    let mut pair = Pair::start().await;
    // Several blocks of 900 KiB.
    for n in 1..=200 {
        let (id, text) = (format!("{n}-0"), format!("{n:0>20000}"));
        pair.same(&["XADD", "log", &id, "line", &text]).await;
    }
    pair.spill().await;
    assert!(pair.disk.grid.stats().cold_blocks >= 3);
    let all = &["XRANGE", "log", "-", "+"][..];
    pair.same_together(&[
        &["INCR", "hits"],
        all,
        &["XREVRANGE", "log", "90", "-", "COUNT", "80"],
        &["XREAD", "COUNT", "2", "STREAMS", "log", "5"],
        &["XINFO", "STREAM", "log"],
        // What was read goes: none else may have read it.
        &["XTRIM", "log", "MAXLEN", "77"],
        all,
        &["XADD", "log", "MAXLEN", "20", "201-0", "line", "x"],
        all,
        &["INCR", "hits"],
    ])
    .await;
    pair.spill().await;
    let add = |id| ["XADD", "log", id, "line", "x"];
    pair.same_together(&[
        &add("301"),
        &add("302"),
        &["XTRIM", "log", "MAXLEN", "7"],
        all,
    ])
    .await;
    pair.spill().await;
    pair.same_together(&[all, &["DEL", "log"], all]).await;
    pair.stop().await;
}

#[tokio::test]
async fn a_watch_holds_while_a_transaction_reads_ahead() {
    let mut pair = Pair::start().await;
    for n in 1..=100 {
        let (id, text) = (format!("{n}-0"), format!("{n:0>2000}"));
        pair.same(&["XADD", "log", &id, "line", &text]).await;
    }
    pair.spill().await;
    let mut client = pair.disk.client().await;
    let begun = "WATCH hits\r\nINCR hits\r\nMULTI\r\nXRANGE log - +\r\nEXEC\r\n";
    client
        .expect(begun, "+OK\r\n:1\r\n+OK\r\n+QUEUED\r\n*-1\r\n")
        .await;
    let again = "WATCH hits\r\nMULTI\r\nXTRIM log MAXLEN 77\r\nXLEN log\r\nEXEC\r\n";
    let done = "+OK\r\n+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n:23\r\n:77\r\n";
    client.expect(again, done).await;
    drop(client);
    pair.stop().await;
}
