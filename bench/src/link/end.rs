//! One end of a measurement: a process of its own, in one of the lab's namespaces.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};
use strait_transport::Identity;

use super::{Contender, clock, strait, tcp};

/// After so long a sender is expected to know its link.
pub(super) const SETTLE_SECS: u64 = 4;
/// Between two messages of the class control.
pub(super) const CONTROL_EVERY_MS: u64 = 20;
/// Bytes of such a message; it begins with its sending time, in nanoseconds since 1970.
pub(super) const CONTROL_BYTES: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    Send,
    Receive,
}

#[derive(Args, Debug)]
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
    /// The receiver's address
    #[arg(long)]
    pub(super) peer: String,
    /// Directory of the keys
    #[arg(long)]
    pub(super) keys: PathBuf,
}

impl EndArguments {
    pub(super) fn flags(
        role: Role,
        contender: Contender,
        start: u64,
        secs: u64,
        rate: f64,
    ) -> [String; 5] {
        let name = |value: Option<clap::builder::PossibleValue>| {
            value.map_or_else(String::new, |value| value.get_name().to_owned())
        };
        [
            format!("--role={}", name(role.to_possible_value())),
            format!("--contender={}", name(contender.to_possible_value())),
            format!("--start={start}"),
            format!("--secs={secs}"),
            format!("--rate={rate}"),
        ]
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
    pub(super) payload_bytes: u64,
    pub(super) settled_bytes: u64,
    pub(super) control_p50_ms: f64,
    pub(super) control_p99_ms: f64,
    pub(super) cpu_s: f64,
}

/// What a receiver counts while it runs.
#[derive(Debug)]
pub(super) struct Counters {
    start: u64,
    end: u64,
    payload_bytes: AtomicU64,
    settled_bytes: AtomicU64,
    control_ms: Mutex<Vec<f64>>,
}

impl Counters {
    pub(super) fn new(arguments: &EndArguments) -> Self {
        Self {
            start: arguments.start,
            end: arguments.end(),
            payload_bytes: AtomicU64::new(0),
            settled_bytes: AtomicU64::new(0),
            control_ms: Mutex::default(),
        }
    }

    pub(super) fn count_bulk(&self, bytes: usize) {
        let now = clock::unix_nanos();
        if now > self.end {
            return;
        }
        self.payload_bytes
            .fetch_add(bytes as u64, Ordering::Relaxed);
        if now > self.start + SETTLE_SECS * 1_000_000_000 {
            self.settled_bytes
                .fetch_add(bytes as u64, Ordering::Relaxed);
        }
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

    fn report(&self) -> anyhow::Result<Received> {
        let mut control_ms = self
            .control_ms
            .lock()
            .map(|all| all.clone())
            .unwrap_or_default();
        control_ms.sort_unstable_by(f64::total_cmp);
        let percentile = |part: f64| {
            let index = (control_ms.len() as f64 * part) as usize;
            control_ms.get(index).copied().unwrap_or(f64::NAN)
        };
        Ok(Received {
            payload_bytes: self.payload_bytes.load(Ordering::Relaxed),
            settled_bytes: self.settled_bytes.load(Ordering::Relaxed),
            control_p50_ms: percentile(0.5),
            control_p99_ms: percentile(0.99),
            cpu_s: clock::cpu_s()?,
        })
    }
}

/// Writes a key for each end.
pub(super) fn make_keys(dir: &Path) -> anyhow::Result<()> {
    for role in ["send", "receive"] {
        Identity::generate()?.save(&dir.join(role))?;
    }
    Ok(())
}

/// Runs until the time is over and prints what was counted.
pub(crate) fn run_end(arguments: &EndArguments) -> anyhow::Result<()> {
    let is_tcp = matches!(arguments.contender, Contender::TcpCubic | Contender::TcpBbr);
    let line = match arguments.role {
        Role::Send => {
            match is_tcp {
                true => tcp::send(arguments)?,
                false => strait::send(arguments)?,
            }
            let cpu_s = clock::cpu_s()?;
            serde_json::to_string(&Sent { cpu_s })?
        }
        Role::Receive => {
            let counters = Counters::new(arguments);
            match is_tcp {
                true => tcp::receive(arguments, counters)?,
                false => strait::receive(arguments, &counters)?,
            }
        }
    };
    println!("{line}");
    // Threads that still send or read are of no more use.
    std::process::exit(0);
}

pub(super) fn report_line(counters: &Counters) -> anyhow::Result<String> {
    Ok(serde_json::to_string(&counters.report()?)?)
}
