//! `strait-bench dedup long`: gigabytes through an encoder and a decoder with their history on disk.
//! Does the memory cap hold, does a byte cost the same when the history is large, and how long does
//! a start take that reads it back?
#![allow(clippy::print_stdout, reason = "the figures go to standard output")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, ensure};
use serde::Serialize;
use strait::config::ByteSize;
use strait_dedup::{BATCH_BYTES_MAX, BatchId, Decoder, Encoder, Level, Store, StoreConfig};

use crate::ratio::{Figures, Link, round};

/// Data is sent in files of so many batches.
const FILE_BATCHES: u64 = 64;
/// A line is printed after each of these.
const LINE_BYTES: u64 = 1 << 30;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Gigabytes to push: half new, half repeated from anywhere before
    #[arg(long, default_value_t = 20)]
    gigabytes: u64,
    /// Memory cap of each end
    #[arg(long, default_value = "256MiB")]
    memory: ByteSize,
    /// Disk cap of each end
    #[arg(long, default_value = "32GiB")]
    disk: ByteSize,
    /// A directory for both histories; emptied of them afterwards
    #[arg(long)]
    work: Option<PathBuf>,
}

/// What was pushed since the line before.
#[derive(Serialize)]
struct Line {
    pushed_gb: f64,
    /// History of the sender on disk.
    history_gb: f64,
    /// CPU time of one thread for each byte, new and repeated.
    encode_new_ns: f64,
    encode_again_ns: f64,
    decode_new_ns: f64,
    decode_again_ns: f64,
    wire_percent_new: f64,
    wire_percent_again: f64,
    /// What each end says it takes, of its cap.
    sender_mib: u64,
    receiver_mib: u64,
    cap_mib: u64,
    /// Of the whole process: both ends and the generator.
    resident_mib: u64,
    resident_peak_mib: u64,
}

/// The last line.
#[derive(Serialize)]
struct Summary {
    resident_peak_mib: u64,
    /// Both ends.
    caps_mib: u64,
    /// Cost of a byte in the last third of the run to that in the first.
    encode_new_growth: f64,
    encode_again_growth: f64,
    /// A start that reads the sender's history, and one that reads the receiver's.
    history_gb: f64,
    open_sender_s: f64,
    open_receiver_s: f64,
    open_s_per_gb: f64,
    /// The newest file once more after the restart.
    wire_percent_after_restart: f64,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let work = arguments.work.clone().unwrap_or_else(|| {
        std::env::temp_dir().join(format!("strait-bench-long-{}", std::process::id()))
    });
    fs::create_dir_all(&work).with_context(|| format!("making {}", work.display()))?;
    let outcome = push(arguments, &work);
    for end in ["sender", "receiver"] {
        fs::remove_dir_all(work.join(end))
            .with_context(|| format!("emptying {}", work.display()))?;
    }
    outcome
}

/// Both ends on disk, and what they say of themselves.
struct Ends {
    stores: [Store; 2],
    link: Link,
}

impl Ends {
    fn open(arguments: &Arguments, work: &Path) -> anyhow::Result<(Self, [f64; 2])> {
        let open = |end: &str| {
            let begin = Instant::now();
            let store = Store::open(StoreConfig {
                dir: Some(work.join(end)),
                memory_bytes_max: arguments.memory.0,
                disk_bytes_max: arguments.disk.0,
                links: 1,
            });
            let ends: (Encoder, Decoder) = store.link("peer");
            (store, ends, begin.elapsed().as_secs_f64())
        };
        let (sender, (mut encoder, _), sender_s) = open("sender");
        let (receiver, (_, decoder), receiver_s) = open("receiver");
        encoder.set_level(Level::Fixed(1));
        let link = Link::between(encoder, decoder)?;
        let stores = [sender, receiver];
        Ok((Self { stores, link }, [sender_s, receiver_s]))
    }
}

fn push(arguments: &Arguments, work: &Path) -> anyhow::Result<()> {
    let (mut ends, _) = Ends::open(arguments, work)?;
    let mut sender = Sender::default();
    let mut costs = Vec::new();
    let bytes = arguments.gigabytes * 1_000_000_000;
    let (mut pushed, mut since) = (0, 0);
    let (mut new, mut again) = (Figures::default(), Figures::default());
    while pushed < bytes {
        let file = sender.next_file();
        let figures = if file.new { &mut new } else { &mut again };
        let sent = sender.send(&mut ends.link, file, figures)?;
        (pushed, since) = (pushed + sent, since + sent);
        if since >= LINE_BYTES || pushed >= bytes {
            let line = line(pushed, &ends, arguments, [&new, &again])?;
            println!("{}", serde_json::to_string(&line)?);
            costs.push([line.encode_new_ns, line.encode_again_ns]);
            (since, new, again) = (0, Figures::default(), Figures::default());
        }
    }
    let history_bytes = ends.stores[0].figures().disk_bytes;
    drop(ends);
    let (mut ends, [open_sender_s, open_receiver_s]) = Ends::open(arguments, work)?;
    let mut after = Figures::default();
    sender.send(&mut ends.link, sender.newest(), &mut after)?;
    let history_gb = history_bytes as f64 / 1e9;
    let summary = Summary {
        resident_peak_mib: resident("VmHWM:")?,
        caps_mib: (arguments.memory.0 * 2) >> 20,
        encode_new_growth: growth(&costs, 0),
        encode_again_growth: growth(&costs, 1),
        history_gb: round(history_gb),
        open_sender_s: round(open_sender_s),
        open_receiver_s: round(open_receiver_s),
        open_s_per_gb: round(open_sender_s / history_gb),
        wire_percent_after_restart: wire_percent(&after),
    };
    println!("{}", serde_json::to_string(&summary)?);
    Ok(())
}

fn line(
    pushed: u64,
    ends: &Ends,
    arguments: &Arguments,
    [new, again]: [&Figures; 2],
) -> anyhow::Result<Line> {
    let [sender, receiver] = [0, 1].map(|end: usize| ends.stores[end].figures());
    ensure!(
        sender.memory_bytes.max(receiver.memory_bytes) <= arguments.memory.0,
        "over the memory cap"
    );
    ensure!(
        sender.disk_bytes.max(receiver.disk_bytes) <= arguments.disk.0,
        "over the disk cap"
    );
    let ns = |time: std::time::Duration, bytes: u64| {
        round(time.as_secs_f64() * 1e9 / bytes.max(1) as f64)
    };
    Ok(Line {
        pushed_gb: round(pushed as f64 / 1e9),
        history_gb: round(sender.disk_bytes as f64 / 1e9),
        encode_new_ns: ns(new.encoding, new.raw_bytes),
        encode_again_ns: ns(again.encoding, again.raw_bytes),
        decode_new_ns: ns(new.decoding, new.raw_bytes),
        decode_again_ns: ns(again.decoding, again.raw_bytes),
        wire_percent_new: wire_percent(new),
        wire_percent_again: wire_percent(again),
        sender_mib: sender.memory_bytes >> 20,
        receiver_mib: receiver.memory_bytes >> 20,
        cap_mib: arguments.memory.0 >> 20,
        resident_mib: resident("VmRSS:")?,
        resident_peak_mib: resident("VmHWM:")?,
    })
}

fn wire_percent(figures: &Figures) -> f64 {
    round(figures.wire_bytes as f64 * 100.0 / figures.raw_bytes.max(1) as f64)
}

/// The mean of the last third to that of the first.
fn growth(costs: &[[f64; 2]], which: usize) -> f64 {
    let third = costs.len().div_ceil(3);
    let mean = |costs: &[[f64; 2]]| {
        costs.iter().map(|cost| cost[which]).sum::<f64>() / costs.len().max(1) as f64
    };
    round(mean(&costs[costs.len() - third..]) / mean(&costs[..third]))
}

/// A line of this process's status, in MiB.
fn resident(name: &str) -> anyhow::Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
    let kib: u64 = kib.context("no such line in /proc/self/status")?.parse()?;
    Ok(kib >> 10)
}

/// A file by the number its bytes are made from.
#[derive(Clone, Copy)]
struct File {
    number: u64,
    new: bool,
}

/// Sends files: those that are new, and those that were there before.
#[derive(Default)]
struct Sender {
    new_files: u64,
    streams: u64,
    batch: Vec<u8>,
}

impl Sender {
    /// A new one, and one of those before, in turns.
    fn next_file(&mut self) -> File {
        if self.streams.is_multiple_of(2) {
            self.new_files += 1;
            return File {
                number: self.new_files - 1,
                new: true,
            };
        }
        File {
            number: mix(self.streams) % self.new_files,
            new: false,
        }
    }

    fn newest(&self) -> File {
        File {
            number: self.new_files - 1,
            new: false,
        }
    }

    fn send(&mut self, link: &mut Link, file: File, figures: &mut Figures) -> anyhow::Result<u64> {
        let stream = self.streams;
        self.streams += 1;
        for seq in 0..FILE_BATCHES {
            fill(file.number * FILE_BATCHES + seq, &mut self.batch);
            link.send_batch(BatchId { stream, seq }, &self.batch, figures)?;
        }
        Ok(FILE_BATCHES * BATCH_BYTES_MAX as u64)
    }
}

/// SplitMix64's finish (Steele, Lea, Flood, 2014).
fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The bytes of a batch: three quarters noise, as packed files are, and one of rows.
fn fill(number: u64, batch: &mut Vec<u8>) {
    batch.clear();
    let mut state = mix(number) | 1;
    let mut draw = || {
        // xorshift64* (Marsaglia, 2003; Vigna, 2016).
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    };
    while batch.len() < BATCH_BYTES_MAX / 4 {
        batch.extend_from_slice(b"{\"id\":\"");
        batch.extend(
            draw()
                .to_be_bytes()
                .map(|byte| b"0123456789abcdef"[usize::from(byte & 15)]),
        );
        batch.extend_from_slice(b"\",\"kind\":\"click\",\"banner\":\"spring-sale\",\"at\":");
        batch.extend((draw() as u32).to_string().bytes());
        batch.extend_from_slice(b"}\n");
    }
    while batch.len() < BATCH_BYTES_MAX {
        batch.extend_from_slice(&draw().to_le_bytes());
    }
    batch.truncate(BATCH_BYTES_MAX);
}
