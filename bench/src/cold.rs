//! `strait-bench cold`: log lines that go to the disk because memory is not for them: what they take
//! there, and how fast they are read, here and by a peer that was away.
#![allow(clippy::print_stdout, reason = "the figures go to standard output")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::Args;
use serde_json::json;
use strait::grid::{ColdConfig, Grid, GridConfig, LogPosition};
use strait::resp::blocking::Client;
use strait::resp::{Admission, DurabilityRules, NoInfo, ReplyLimits, RespConfig, Server};
use tokio::sync::oneshot;

use crate::lines::Lines;
use crate::wire::pair::Pair;

#[derive(Args)]
pub(crate) struct Arguments {
    /// Lines of each run
    #[arg(long, default_value_t = 1_000_000)]
    events: u64,
}

/// What the seed's rate comes to in a week: 1 billion lines a day.
const LINES_A_WEEK: f64 = 7e9;
/// Lines that wait for their replies.
const PIPELINE: u64 = 1000;
/// Nothing of logs stays in memory but the blocks that are written to.
const NO_MEMORY: ColdConfig = ColdConfig {
    memory_bytes_max: 0,
    disk_bytes_max: u64::MAX,
};

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    on_disk(arguments.events)?;
    by_a_peer(arguments.events)
}

fn on_disk(events: u64) -> anyhow::Result<()> {
    let home = tempfile::tempdir()?;
    let (grid, _) = Grid::open(GridConfig {
        dir: Some(home.path().to_owned()),
        site: "bench".parse()?,
        incarnation: 1,
        flush_interval: Duration::from_millis(50),
        memory_bytes_max: 16 << 30,
        peers: BTreeSet::new(),
        cold: Some(NO_MEMORY),
        loss_window: Duration::from_secs(3600),
    })?;
    let grid = Arc::new(grid);
    let line_bytes = fill(&grid, events)? as f64 / events as f64;
    grid.flush()?;
    let before = grid.stats();
    let begun = Instant::now();
    while grid.spill() > 0 {}
    let spilt_s = begun.elapsed().as_secs_f64();
    let stats = grid.stats();
    ensure!(stats.entries == events, "lines are missing");
    let bytes_per_line = stats.cold_bytes as f64 / events as f64;
    println!(
        "{}",
        json!({
            "test": "cold_disk",
            "events": events,
            "line_bytes": rounded(line_bytes),
            "blocks": stats.cold_blocks,
            "hot_memory_bytes_per_line": rounded(before.log_bytes as f64 / events as f64),
            "cold_memory_bytes_per_line": rounded(stats.log_bytes as f64 / events as f64),
            "disk_bytes_per_line": rounded(bytes_per_line),
            "disk_gb_a_week": (bytes_per_line * LINES_A_WEEK / 1e9).round(),
            "spilt_lines_s": (events as f64 / spilt_s).round(),
        })
    );
    let begun = Instant::now();
    let (log, until) = grid.logs().pop().context("there is no log")?;
    let (mut have, mut bytes) = (LogPosition::default(), 0);
    while let Some((record, reached)) = grid.log_after(&log, have, 1 << 20) {
        bytes += record.len();
        have = reached;
    }
    ensure!(have.covers(&until), "not all could be read");
    println!(
        "{}",
        json!({
            "test": "cold_read",
            "events": events,
            "bytes": bytes,
            "lines_s": (events as f64 / begun.elapsed().as_secs_f64()).round(),
        })
    );
    Ok(())
}

/// Adds lines as a client does; their bytes.
fn fill(grid: &Arc<Grid>, events: u64) -> anyhow::Result<usize> {
    let runtime = tokio::runtime::Runtime::new()?;
    let config = RespConfig {
        admission: Admission::default(),
        clients_max: 10,
        durability: DurabilityRules::default(),
        block: None,
        limits: ReplyLimits::default(),
    };
    let any = ([127, 0, 0, 1], 0).into();
    let (stop, stopped) = oneshot::channel::<()>();
    let server = {
        let _entered = runtime.enter();
        Server::bind(any, grid.clone(), config, Arc::new(NoInfo))?
    };
    let address = server.local_addr();
    let serving = runtime.spawn(server.serve(async move { drop(stopped.await) }));
    let mut client = Client::connect(address)?;
    let mut bytes = 0;
    for (event, line) in Lines::new(1).take(events as usize).enumerate() {
        bytes += line.len();
        add(&mut client, &line);
        if (event as u64 + 1).is_multiple_of(PIPELINE) {
            client.flush()?;
        }
    }
    client.flush()?;
    drop((client, stop));
    runtime.block_on(serving)?;
    Ok(bytes)
}

fn add(client: &mut Client, line: &str) {
    client.queue(&[b"XADD", b"access", b"*", b"line", line.as_bytes()]);
}

/// A peer that was away while the lines came: over a link of 100 Mbit/s, 50 ms there and back.
fn by_a_peer(events: u64) -> anyhow::Result<()> {
    let spill = "on_full = \"spill\"\nlogs_memory_bytes_max = \"4MiB\"\n\
                 logs_disk_bytes_max = \"1TiB\"\ncompare_min = 0\n";
    let mut pair = Pair::with(spill)?;
    pair.cut(true);
    let mut lines = Lines::new(1);
    pair.load(events, 0, |client, _| {
        add(client, &lines.next().unwrap_or_default());
    })?;
    let begun = Instant::now();
    let crossed = pair.measure(|pair| {
        pair.cut(false);
        Ok(())
    })?;
    println!(
        "{}",
        json!({
            "test": "cold_catch_up",
            "events": events,
            "lines_s": (events as f64 / begun.elapsed().as_secs_f64()).round(),
            "wire_bytes_per_line": rounded(crossed.bytes as f64 / events as f64),
        })
    );
    pair.finish()
}

fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}
