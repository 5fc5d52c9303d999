//! One end of a measurement: a process of its own, in one of the lab's namespaces.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};
use strait_transport::Identity;

use super::{Contender, PIECE_BYTES, Wire, clock, stock, strait, tcp};

/// Between two messages of the class control.
pub(super) const CONTROL_EVERY_MS: u64 = 20;
/// Bytes of such a message; it begins with its sending time, in nanoseconds since 1970.
pub(super) const CONTROL_BYTES: usize = 64;
/// What is received is counted for each so long.
pub(super) const SLICE_MS: u64 = 100;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    Send,
    Receive,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct EndArguments {
    #[arg(long)]
    pub(super) role: Role,
    #[arg(long)]
    pub(super) contender: Contender,
    /// When to begin, nanoseconds since 1970
    #[arg(long)]
    pub(super) start: u64,
    #[arg(long)]
    pub(super) secs: u64,
    /// The link's rate, Mbit/s
    #[arg(long)]
    pub(super) rate: f64,
    /// What to send at most, Mbit/s
    #[arg(long)]
    pub(super) offered: Option<f64>,
    /// The receiver's address
    #[arg(long)]
    pub(super) peer: String,
    /// The receiver's first port; the next one is its, too
    #[arg(long)]
    pub(super) port: u16,
    /// Directory of the keys
    #[arg(long)]
    pub(super) keys: PathBuf,
}

impl EndArguments {
    pub(super) fn flags(&self) -> Vec<String> {
        let name = |value: Option<clap::builder::PossibleValue>| {
            value.map_or_else(String::new, |value| value.get_name().to_owned())
        };
        let offered = self.offered.map(|offered| format!("--offered={offered}"));
        let flags = [
            format!("--role={}", name(self.role.to_possible_value())),
            format!("--contender={}", name(self.contender.to_possible_value())),
            format!("--start={}", self.start),
            format!("--secs={}", self.secs),
            format!("--rate={}", self.rate),
            format!("--peer={}", self.peer),
            format!("--port={}", self.port),
            format!("--keys={}", self.keys.display()),
        ];
        flags.into_iter().chain(offered).collect()
    }

    /// Waits until the next piece of bulk is due, `sent` pieces after the first.
    pub(super) async fn until_due(&self, sent: u64) {
        if let Some(offered) = self.offered {
            let sent_bits = 8.0 * (sent * PIECE_BYTES as u64) as f64;
            let due_ns = sent_bits * 1e3 / offered;
            tokio::time::sleep(clock::until(self.start + due_ns as u64)).await;
        }
    }

    /// When to stop, nanoseconds since 1970.
    pub(super) fn end(&self) -> u64 {
        self.start + self.secs * 1_000_000_000
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Sent {
    pub(super) cpu_s: f64,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Received {
    /// Payload bytes in each [`SLICE_MS`].
    pub(super) slices: Vec<u64>,
    /// Batches that were not the next one.
    pub(super) misplaced: u64,
    pub(super) control_p50_ms: f64,
    pub(super) control_p99_ms: f64,
    pub(super) cpu_s: f64,
}

impl Received {
    /// Payload bytes from one second to another.
    pub(super) fn bytes(&self, from_s: f64, to_s: f64) -> u64 {
        let index = |s: f64| (s * 1e3 / SLICE_MS as f64).round() as usize;
        let slices = self.slices.iter().take(index(to_s)).skip(index(from_s));
        slices.sum()
    }

    /// And per second, in Mbit.
    pub(super) fn mbit_s(&self, from_s: f64, to_s: f64) -> f64 {
        self.bytes(from_s, to_s) as f64 * 8e-6 / (to_s - from_s).max(1e-3)
    }
}

/// What a receiver counts while it runs.
#[derive(Debug)]
pub(super) struct Counters {
    start: u64,
    slices: Vec<AtomicU64>,
    next_batch: AtomicU64,
    misplaced: AtomicU64,
    control_ms: Mutex<Vec<f64>>,
}

impl Counters {
    pub(super) fn new(arguments: &EndArguments) -> Self {
        let slices = arguments.secs * 1000 / SLICE_MS;
        Self {
            start: arguments.start,
            slices: (0..slices).map(|_| AtomicU64::new(0)).collect(),
            next_batch: AtomicU64::new(0),
            misplaced: AtomicU64::new(0),
            control_ms: Mutex::default(),
        }
    }

    pub(super) fn count_bulk(&self, bytes: usize) {
        let since = clock::unix_nanos().saturating_sub(self.start);
        let index = (since / (SLICE_MS * 1_000_000)) as usize;
        if let Some(slice) = self.slices.get(index) {
            slice.fetch_add(bytes as u64, Ordering::Relaxed);
        }
    }

    /// A batch that begins with its number came in.
    pub(super) fn count_batch(&self, batch: &[u8]) {
        let number = batch
            .first_chunk()
            .map(|number| u64::from_le_bytes(*number));
        let number = number.unwrap_or(u64::MAX);
        let expected = self
            .next_batch
            .swap(number.wrapping_add(1), Ordering::Relaxed);
        self.misplaced
            .fetch_add(u64::from(number != expected), Ordering::Relaxed);
        self.count_bulk(batch.len());
    }

    /// A control message came in that was sent at this time.
    pub(super) fn count_control(&self, message: &[u8]) {
        let Some(sent) = message.first_chunk().map(|sent| u64::from_le_bytes(*sent)) else {
            return;
        };
        let ms = clock::unix_nanos().saturating_sub(sent) as f64 / 1e6;
        if let Ok(mut all) = self.control_ms.lock() {
            all.push(ms);
        }
    }

    pub(super) fn report(&self) -> anyhow::Result<Received> {
        let mut control_ms = self
            .control_ms
            .lock()
            .map(|all| all.clone())
            .unwrap_or_default();
        control_ms.sort_unstable_by(f64::total_cmp);
        let percentile = |part: f64| {
            let index = (control_ms.len() as f64 * part) as usize;
            control_ms.get(index).copied().unwrap_or(0.0)
        };
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Ok(Received {
            slices: self.slices.iter().map(read).collect(),
            misplaced: read(&self.misplaced),
            control_p50_ms: percentile(0.5),
            control_p99_ms: percentile(0.99),
            cpu_s: clock::cpu_s()?,
        })
    }
}

/// Writes what each end needs to prove who it is.
pub(super) fn make_keys(dir: &Path) -> anyhow::Result<()> {
    for role in ["send", "receive"] {
        Identity::generate()?.save(&dir.join(role))?;
    }
    Ok(())
}

/// Runs until the time is over and prints what was counted.
pub(crate) fn run_end(arguments: &EndArguments) -> anyhow::Result<()> {
    // A process's first random numbers take a tenth of a second; a gateway has long had them.
    Identity::generate()?;
    let wire = arguments.contender.wire();
    let line = match arguments.role {
        Role::Send => {
            match wire {
                Wire::Strait => strait::send(arguments)?,
                Wire::Stock => stock::send(arguments)?,
                Wire::Tcp => tcp::send(arguments)?,
            }
            let cpu_s = clock::cpu_s()?;
            serde_json::to_string(&Sent { cpu_s })?
        }
        Role::Receive => {
            let counters = Counters::new(arguments);
            let received = match wire {
                Wire::Strait => strait::receive(arguments, &counters)?,
                Wire::Stock => stock::receive(arguments, counters)?,
                Wire::Tcp => tcp::receive(arguments, counters)?,
            };
            serde_json::to_string(&received)?
        }
    };
    println!("{line}");
    // Threads that still send or read are of no more use.
    std::process::exit(0);
}
