//! `strait-bench dedup small`: what small batches of a stream cost, as a log that is flushed twenty
//! times a second makes them. No chunk of theirs is ever found again; their stream's past helps.
#![allow(clippy::print_stdout, reason = "the figures go to standard output")]

use anyhow::ensure;
use serde::Serialize;
use strait_dedup::BatchId;

use super::{MEMORY_MIB, versions};
use crate::ratio::{Figures, Link, Options, round};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Lines of a batch; several give a line of output each
    #[arg(long, value_delimiter = ',', default_values_t = [10, 50, 300, 1000])]
    lines: Vec<usize>,
    /// Batches, of which the first half only fills the history
    #[arg(long, default_value_t = 100)]
    batches: usize,
    /// What the link drains, in Mbit/s, for the adaptive level; 0 for unknown
    #[arg(long, default_value_t = 100.0)]
    drain_mbit: f64,
}

/// One line of output, of the second half of the batches. Times are of the thread's CPU.
#[derive(Serialize)]
struct Line {
    lines: usize,
    raw_bytes_per_line: f64,
    wire_bytes_per_line: f64,
    /// Each batch compressed alone.
    zstd3_bytes_per_line: f64,
    encode_ms_median: f64,
    encode_ms_most: f64,
    decode_ms: f64,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let lines_min = arguments.lines.iter().min().copied();
    ensure!(
        arguments.batches >= 2 && lines_min > Some(0),
        "at least two batches of a line"
    );
    for &lines in &arguments.lines {
        let line = measure(lines, arguments)?;
        println!("{}", serde_json::to_string(&line)?);
    }
    Ok(())
}

fn measure(lines: usize, arguments: &Arguments) -> anyhow::Result<Line> {
    let mut link = Link::open(&Options {
        level: None,
        memory_mib: MEMORY_MIB,
        drain_mbit: arguments.drain_mbit,
    })?;
    let (mut figures, mut alone) = (Figures::default(), 0);
    let mut times = Vec::new();
    let log = versions::log(lines * arguments.batches)?;
    let log: Vec<&[u8]> = log.split_inclusive(|byte| *byte == b'\n').collect();
    for (seq, batch) in log.chunks(lines).enumerate() {
        if seq == arguments.batches / 2 {
            (figures, alone) = (Figures::default(), 0);
            times.clear();
        }
        let raw = batch.concat();
        let before = figures.encoding;
        let id = BatchId {
            stream: 0,
            seq: seq as u64,
        };
        link.send_batch(id, &raw, &mut figures)?;
        times.push((figures.encoding - before).as_secs_f64() * 1e3);
        alone += zstd::bulk::compress(&raw, 3)?.len();
    }
    times.sort_by(f64::total_cmp);
    let sent = (times.len() * lines) as f64;
    Ok(Line {
        lines,
        raw_bytes_per_line: round(figures.raw_bytes as f64 / sent),
        wire_bytes_per_line: round(figures.wire_bytes as f64 / sent),
        zstd3_bytes_per_line: round(alone as f64 / sent),
        encode_ms_median: round(times[times.len() / 2]),
        encode_ms_most: round(times[times.len() - 1]),
        decode_ms: round(figures.decoding.as_secs_f64() * 1e3 / times.len() as f64),
    })
}
