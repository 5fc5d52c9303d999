//! The grid against redis-server on the same machine: `redis-benchmark` asks both in turn.
//!
//! Needs `redis-server` and `redis-benchmark` (package redis-server) on the PATH. Both servers run
//! as processes of their own. In memory durability Redis runs without persistence and strait with
//! its journal at the default interval; in disk durability Redis with `appendfsync always`.
#![allow(clippy::print_stdout, reason = "the figures go to standard output")]

mod serve;
mod subject;

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::json;
use strait::grid::Grid;

use subject::{Kind, Subject};

/// What is measured.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// Requests of each test and round; unpipelined tests take an eighth
    #[arg(long, default_value_t = 2_000_000)]
    requests: u64,
    /// Rounds: the servers take turns, the median ratio counts
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Distinct keys
    #[arg(long, default_value_t = 100_000)]
    keys: u64,
    /// Counters loaded for each memory figure; an empty list leaves it out
    #[arg(
        long,
        value_delimiter = ',',
        default_values_t = [1_000_000, 1_048_576, 1_900_000, 2_097_152, 4_000_000]
    )]
    memory_keys: Vec<u64>,
    /// Counters that a restarted grid reads back; 0 leaves it out
    #[arg(long, default_value_t = 10_000_000)]
    recovery_keys: u64,
    /// Each server has a peer on the same machine that takes everything: strait a second gateway,
    /// Redis a replica
    #[arg(long)]
    with_peer: bool,
    /// Only tests whose name contains this
    #[arg(long)]
    only: Option<String>,
    /// Serve a grid until standard input closes (what this command starts as its own subject)
    #[arg(long, hide = true)]
    serve: bool,
    /// With `--serve`: every write is fsynced before its reply
    #[arg(long, hide = true)]
    disk: bool,
    /// With `--serve`: where the journal is, and stays
    #[arg(long, hide = true)]
    dir: Option<PathBuf>,
}

/// One test.
struct Test {
    name: &'static str,
    pipeline: u32,
    /// Every write is fsynced before its reply, at both.
    disk: bool,
    command: &'static [&'static str],
}

const INCR: &[&str] = &["INCR", "counter:__rand_int__"];
const XADD: &[&str] = &["XADD", "log", "*", "line", LINE];

const TESTS: [Test; 5] = [
    Test {
        name: "incr_p64",
        pipeline: 64,
        disk: false,
        command: INCR,
    },
    Test {
        name: "xadd_p64",
        pipeline: 64,
        disk: false,
        command: XADD,
    },
    Test {
        name: "incr",
        pipeline: 1,
        disk: false,
        command: INCR,
    },
    Test {
        name: "xadd",
        pipeline: 1,
        disk: false,
        command: XADD,
    },
    Test {
        name: "incr_p64_disk",
        pipeline: 64,
        disk: true,
        command: INCR,
    },
];

/// 100 bytes.
const LINE: &str = "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789";

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    if arguments.serve {
        return serve::run(arguments);
    }
    let wanted = |name: &str| {
        arguments
            .only
            .as_deref()
            .is_none_or(|only| name.contains(only))
    };
    let comparable = |test: &&Test| wanted(test.name) && !(test.disk && arguments.with_peer);
    for test in TESTS.iter().filter(comparable) {
        compare(arguments, test)?;
    }
    if arguments.with_peer {
        return Ok(());
    }
    if wanted("memory") {
        arguments
            .memory_keys
            .iter()
            .try_for_each(|keys| memory(*keys))?;
    }
    if arguments.recovery_keys > 0 && wanted("recovery") {
        recovery(arguments.recovery_keys)?;
    }
    Ok(())
}

/// Runs one test against both and prints its line.
fn compare(arguments: &Arguments, test: &Test) -> Result<()> {
    let requests = if test.pipeline > 1 {
        arguments.requests
    } else {
        arguments.requests / 8
    };
    let (mut ratios, mut figures) = (Vec::new(), Vec::new());
    for _ in 0..arguments.rounds.max(1) {
        // Fresh servers each round: logs would grow without end.
        let kind = match (arguments.with_peer, test.disk) {
            (true, _) => Kind::WithPeer,
            (false, true) => Kind::Disk,
            (false, false) => Kind::Memory,
        };
        let (strait, redis) = (Subject::strait(kind)?, Subject::redis(kind)?);
        let ask = |subject: &Subject| benchmark(subject, requests, arguments.keys, test);
        let (ours, theirs) = (ask(&strait)?, ask(&redis)?);
        ratios.push(ours / theirs);
        figures.push((ours, theirs));
    }
    let mut order: Vec<_> = (0..ratios.len()).collect();
    order.sort_by(|a, b| ratios[*a].total_cmp(&ratios[*b]));
    let median = order[order.len() / 2];
    let (strait, redis) = figures[median];
    let line = json!({
        "test": test.name,
        "with_peer": arguments.with_peer,
        "strait": strait.round(),
        "redis": redis.round(),
        "ratio": rounded(ratios[median]),
        "ratio_min": rounded(ratios[order[0]]),
        "ratio_max": rounded(ratios[order[order.len() - 1]]),
    });
    println!("{line}");
    Ok(())
}

fn rounded(ratio: f64) -> f64 {
    (ratio * 1000.0).round() / 1000.0
}

/// Requests a second.
fn benchmark(subject: &Subject, requests: u64, keys: u64, test: &Test) -> Result<f64> {
    let port = subject.address.port().to_string();
    let output = Command::new("redis-benchmark")
        .args(["-h", "127.0.0.1", "-p", &port, "--csv", "-c", "50"])
        .args([
            "-n",
            &requests.to_string(),
            "-P",
            &test.pipeline.to_string(),
            "-r",
            &keys.to_string(),
        ])
        .args(test.command)
        .stderr(Stdio::null())
        .output()
        .context("cannot run redis-benchmark: install redis-server")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let last = text.lines().last().unwrap_or_default();
    // "test","rps",latencies: the command itself may hold commas, the figures do not.
    let figures: Vec<&str> = last.rsplit("\",\"").collect();
    let rate = figures
        .len()
        .checked_sub(2)
        .and_then(|place| figures.get(place));
    let rate = rate.and_then(|rate| rate.trim_matches('"').parse().ok());
    rate.with_context(|| format!("redis-benchmark said: {text}"))
}

/// Memory that one more counter takes, from the processes' resident size.
fn memory(keys: u64) -> Result<()> {
    let (strait, redis) = (
        Subject::strait(Kind::Memory)?,
        Subject::redis(Kind::Memory)?,
    );
    let grown = |subject: &Subject| -> Result<f64> {
        let before = subject.resident_bytes()?;
        subject.load_counters(keys)?;
        // Buffers of the flush that took them all are given back by then.
        std::thread::sleep(Duration::from_secs(2));
        Ok((subject.resident_bytes()?.saturating_sub(before)) as f64 / keys as f64)
    };
    let (ours, theirs) = (grown(&strait)?, grown(&redis)?);
    let line = json!({
        "test": "memory_bytes_per_counter",
        "counters": keys,
        "strait": ours.round(),
        "redis": theirs.round(),
        "ratio": rounded(ours / theirs),
    });
    println!("{line}");
    Ok(())
}

/// How long a grid that was killed takes to have all its counters again.
fn recovery(keys: u64) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let subject = Subject::strait_in(Kind::Memory, Some(dir.path()))?;
    subject.load_counters(keys)?;
    std::thread::sleep(Duration::from_secs(1));
    drop(subject);
    let begun = Instant::now();
    let (grid, found) = Grid::open(serve::config(dir.path())?)?;
    let seconds = begun.elapsed().as_secs_f64();
    ensure!(
        grid.stats().keys == keys,
        "{} counters came back: {found}",
        grid.stats().keys
    );
    let line = json!({
        "test": "recovery_seconds",
        "counters": keys,
        "strait": rounded(seconds),
        "journal_bytes": found.bytes,
    });
    println!("{line}");
    Ok(())
}
