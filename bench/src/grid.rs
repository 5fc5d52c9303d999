//! The grid against redis-server on the same machine: `redis-benchmark` asks both in turn.
//!
//! Needs `redis-server` and `redis-benchmark` (package redis-server) on the PATH. Both servers run
//! as processes of their own. In memory durability Redis runs without persistence and strait with
//! its journal at the default interval; in disk durability Redis with `appendfsync always`.
#![allow(clippy::print_stdout, reason = "the figures go to standard output")]

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use serde_json::json;
use strait::grid::{Flusher, Grid, GridConfig};
use strait::resp::{Durability, DurabilityRules, NoInfo, RespConfig, Server};

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
    /// Counters loaded for the memory figure; 0 leaves it out
    #[arg(long, default_value_t = 4_000_000)]
    memory_keys: u64,
    /// Counters that a restarted grid reads back; 0 leaves it out
    #[arg(long, default_value_t = 10_000_000)]
    recovery_keys: u64,
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
        return serve(arguments);
    }
    let wanted = |name: &str| {
        arguments
            .only
            .as_deref()
            .is_none_or(|only| name.contains(only))
    };
    for test in TESTS.iter().filter(|test| wanted(test.name)) {
        compare(arguments, test)?;
    }
    if arguments.memory_keys > 0 && wanted("memory") {
        memory(arguments.memory_keys)?;
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
        let (strait, redis) = (Subject::strait(test.disk)?, Subject::redis(test.disk)?);
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
    let (strait, redis) = (Subject::strait(false)?, Subject::redis(false)?);
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
    let subject = Subject::strait_in(false, Some(dir.path()))?;
    subject.load_counters(keys)?;
    std::thread::sleep(Duration::from_secs(1));
    drop(subject);
    let begun = Instant::now();
    let (grid, found) = Grid::open(config(dir.path())?)?;
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

/// A server under test, as a process of its own.
struct Subject {
    process: Child,
    address: SocketAddr,
    _dir: Option<tempfile::TempDir>,
}

impl Subject {
    fn strait(disk: bool) -> Result<Self> {
        Self::strait_in(disk, None)
    }

    fn strait_in(disk: bool, dir: Option<&Path>) -> Result<Self> {
        let mut process = Command::new(std::env::current_exe()?)
            .args(["grid", "--serve"])
            .args(disk.then_some("--disk"))
            .args(
                dir.map(|dir| [OsStr::new("--dir"), dir.as_os_str()])
                    .into_iter()
                    .flatten(),
            )
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        let stdout = process.stdout.take().context("no standard output")?;
        BufReader::new(stdout).read_line(&mut line)?;
        let address = line
            .trim()
            .parse()
            .context("the grid did not say where it listens")?;
        Ok(Self {
            process,
            address,
            _dir: None,
        })
    }

    fn redis(disk: bool) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let port = std::net::TcpListener::bind("127.0.0.1:0")?
            .local_addr()?
            .port();
        let process = Command::new("redis-server")
            .args([
                "--port",
                &port.to_string(),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
            ])
            .args(["--appendonly", if disk { "yes" } else { "no" }])
            .args(["--appendfsync", "always", "--dir"])
            .arg(dir.path())
            .stdout(Stdio::null())
            .spawn()
            .context("cannot run redis-server: install it")?;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let subject = Self {
            process,
            address,
            _dir: Some(dir),
        };
        for _ in 0..100 {
            if TcpStream::connect(address).is_ok() {
                return Ok(subject);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        bail!("redis-server does not listen")
    }

    fn resident_bytes(&self) -> Result<u64> {
        let path = format!("/proc/{}/status", self.process.id());
        let status = std::fs::read_to_string(path)?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().nth(1));
        Ok(kib.context("no VmRSS")?.parse::<u64>()? * 1024)
    }

    /// Adds to `keys` counters with names like those of a seed: `banner:0000001:impressions`.
    fn load_counters(&self, keys: u64) -> Result<()> {
        let mut stream = TcpStream::connect(self.address)?;
        let mut reply = vec![0; 64 << 10];
        for first in (0..keys).step_by(1000) {
            let mut commands = Vec::new();
            let last = keys.min(first + 1000);
            for key in first..last {
                // Values beyond Redis's shared small integers, as busy counters have them.
                let name = format!("banner:{key:07}:impressions");
                let by = 1_000_000 + key;
                write!(
                    commands,
                    "*3\r\n$6\r\nINCRBY\r\n${}\r\n{name}\r\n${}\r\n{by}\r\n",
                    name.len(),
                    by.to_string().len()
                )?;
            }
            stream.write_all(&commands)?;
            let mut answers = 0;
            while answers < last - first {
                let read = stream.read(&mut reply)?;
                ensure!(read > 0, "the server closed the connection");
                answers += reply[..read].iter().filter(|byte| **byte == b'\n').count() as u64;
            }
        }
        Ok(())
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        // It may have ended already; then there is nothing to reap twice.
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

fn config(dir: &Path) -> Result<GridConfig> {
    Ok(GridConfig {
        dir: Some(dir.to_owned()),
        site: "bench".parse()?,
        incarnation: 1,
        flush_interval: Duration::from_millis(50),
        memory_bytes_max: 16 << 30,
        keep_trimmed_for_peers: false,
    })
}

/// A gateway's grid and nothing else, on a port of its own, until standard input closes.
fn serve(arguments: &Arguments) -> Result<()> {
    let own = tempfile::tempdir()?;
    let dir = arguments.dir.as_deref().unwrap_or(own.path());
    let disk = arguments.disk;
    let (grid, _) = Grid::open(config(dir)?)?;
    let grid = Arc::new(grid);
    let flusher = Flusher::spawn(grid.clone())?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let otherwise = if disk {
            Durability::Disk
        } else {
            Durability::Memory
        };
        let config = RespConfig {
            password: None,
            clients_max: 10_000,
            durability: DurabilityRules {
                otherwise,
                ..DurabilityRules::default()
            },
        };
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let server = Server::bind(any, grid, config, Arc::new(NoInfo)).await?;
        println!("{}", server.local_addr());
        let closed = tokio::task::spawn_blocking(|| std::io::stdin().read(&mut [0]));
        server.serve(async { drop(closed.await) }).await;
        anyhow::Ok(())
    })?;
    flusher.stop();
    Ok(())
}
