//! `strait-bench dedup speed`: how fast one thread encodes and decodes, beside what the work costs at
//! the least: chunking and BLAKE3 of every byte, or zstd alone; and what telling noise costs beside
//! compressing. Both take turns, round by round.
#![allow(clippy::print_stdout, reason = "the figures go to standard output")]

use std::hint::black_box;
use std::io::Write;
use std::time::Duration;

use anyhow::ensure;
use fastcdc::v2020::FastCDC;
use serde::Serialize;
use strait_dedup::{BATCH_BYTES_MAX, BatchId, Level};

use super::{MEMORY_MIB, versions};
use crate::cpu::CpuInstant;
use crate::ratio::{Figures, Link, Options, round};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// MiB of each kind of data
    #[arg(long, default_value_t = 64)]
    mib: usize,
    /// Rounds, of which the median counts
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Only the cases whose name contains this
    #[arg(long, default_value = "")]
    only: String,
}

/// One line of output.
#[derive(Serialize)]
struct Line<'a> {
    case: &'a str,
    what: &'static str,
    reference: &'a str,
    mb_s: f64,
    reference_mb_s: f64,
    /// Speed to the reference's in the same round: median, least and most.
    ratio: f64,
    ratio_least: f64,
    ratio_most: f64,
    aim: Option<f64>,
}

/// How long one part of a turn took.
struct Part {
    what: &'static str,
    time: Duration,
    aim: Option<f64>,
}

type Work<'a> = &'a dyn Fn(&[u8]) -> anyhow::Result<()>;
type Turn<'a> = &'a mut dyn FnMut() -> anyhow::Result<Vec<Part>>;

/// What is measured by: its name, and the work.
#[derive(Clone, Copy)]
struct Reference<'a>(&'a str, Work<'a>);

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    ensure!(arguments.mib > 0 && arguments.rounds > 0, "nothing to do");
    let mut noise = vec![0; arguments.mib << 20];
    rand::fill(&mut noise[..]);
    let text = versions::text(arguments.mib << 20)?;
    let hashed = Reference("fastcdc of 8 KiB and BLAKE3", &chunk_and_hash);
    let race = |case: &str, data: &[u8], reference: Reference<'_>, turn: Turn<'_>| {
        if !case.contains(&arguments.only) {
            return Ok(());
        }
        race(arguments.rounds, case, data, reference, turn)
    };

    race(
        "chunking",
        &noise,
        Reference("fastcdc of 8 KiB", &chunk),
        &mut || {
            let begin = CpuInstant::now();
            strait_dedup::chunk_lengths([7; 32], &noise).for_each(|len| {
                black_box(len);
            });
            Ok(vec![Part {
                what: "chunk",
                time: begin.elapsed(),
                aim: Some(1.0),
            }])
        },
    )?;
    for (case, data) in [("noise again", &noise), ("text again", &text)] {
        let mut passes = 0;
        let mut link = None;
        race(case, data, hashed, &mut || {
            let link = match &mut link {
                Some(link) => link,
                none => {
                    let link = none.insert(open()?);
                    pass(link, 0, data, [None; 2])?;
                    link
                }
            };
            passes += 1;
            pass(link, passes, data, [Some(2.0); 2])
        })?;
    }
    race("fresh noise", &noise, hashed, &mut || {
        pass(&mut open()?, 0, &noise, [Some(0.9), None])
    })?;
    let compressed = Reference("zstd -3 alone", &|data| zstd(data, 3));
    for (case, data) in [("text, told from noise", &text), ("noise, told", &noise)] {
        race(case, data, compressed, &mut || {
            let begin = CpuInstant::now();
            data.chunks(BATCH_BYTES_MAX).for_each(|batch| {
                black_box(strait_dedup::is_noise(batch));
            });
            Ok(vec![Part {
                what: "tell",
                time: begin.elapsed(),
                aim: Some(100.0),
            }])
        })?;
    }
    for level in [3, 6] {
        let case = format!("fresh text, level {level}");
        let name = format!("zstd -{level} alone");
        let zstd = |data: &[u8]| zstd(data, level);
        race(&case, &text, Reference(&name, &zstd), &mut || {
            let mut link = open()?;
            link.encoder.set_level(Level::Fixed(level));
            pass(&mut link, 0, &text, [Some(0.9), None])
        })?;
    }
    Ok(())
}

/// Runs reference and contender in turns, and prints a line for each part of the contender's turn.
fn race(
    rounds: usize,
    case: &str,
    data: &[u8],
    Reference(name, work): Reference<'_>,
    turn: Turn<'_>,
) -> anyhow::Result<()> {
    let mut rounds_done = Vec::new();
    for _ in 0..rounds {
        let begin = CpuInstant::now();
        work(data)?;
        let reference = begin.elapsed();
        rounds_done.push((reference, turn()?));
    }
    let speed = |time: Duration| data.len() as f64 / 1e6 / time.as_secs_f64().max(1e-9);
    let references = rounds_done.iter().map(|(time, _)| speed(*time)).collect();
    let [_, reference_mb_s, _] = spread(references);
    let parts = rounds_done.first().map_or(0, |(_, parts)| parts.len());
    for n in 0..parts {
        let speeds = rounds_done.iter().map(|(_, parts)| speed(parts[n].time));
        let ratios = rounds_done
            .iter()
            .map(|(reference, parts)| speed(parts[n].time) / speed(*reference));
        let [ratio_least, ratio, ratio_most] = spread(ratios.collect());
        let line = Line {
            case,
            what: rounds_done[0].1[n].what,
            reference: name,
            mb_s: spread(speeds.collect())[1],
            reference_mb_s,
            ratio,
            ratio_least,
            ratio_most,
            aim: rounds_done[0].1[n].aim,
        };
        println!("{}", serde_json::to_string(&line)?);
    }
    Ok(())
}

/// Least, median and most.
fn spread(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    [0, values.len() / 2, values.len() - 1].map(|n| round(values[n]))
}

fn open() -> anyhow::Result<Link> {
    Link::open(&Options {
        level: None,
        memory_mib: MEMORY_MIB,
        drain_mbit: 0.0,
    })
}

/// Sends the data as one stream over the link.
fn pass(
    link: &mut Link,
    stream: u64,
    data: &[u8],
    [encode_aim, decode_aim]: [Option<f64>; 2],
) -> anyhow::Result<Vec<Part>> {
    let mut figures = Figures::default();
    for (seq, raw) in data.chunks(BATCH_BYTES_MAX).enumerate() {
        let seq = seq as u64;
        link.send_batch(BatchId { stream, seq }, raw, &mut figures)?;
    }
    let part = |what, time, aim| Part { what, time, aim };
    Ok(vec![
        part("encode", figures.encoding, encode_aim),
        part("decode", figures.decoding, decode_aim),
    ])
}

fn chunks(data: &[u8]) -> FastCDC<'_> {
    FastCDC::new(data, 2 << 10, 8 << 10, 64 << 10)
}

fn chunk(data: &[u8]) -> anyhow::Result<()> {
    chunks(data).for_each(|chunk| {
        black_box(chunk);
    });
    Ok(())
}

fn chunk_and_hash(data: &[u8]) -> anyhow::Result<()> {
    for chunk in chunks(data) {
        black_box(blake3::hash(&data[chunk.offset..][..chunk.length]));
    }
    Ok(())
}

/// One stream of zstd, fed batch by batch.
fn zstd(data: &[u8], level: i32) -> anyhow::Result<()> {
    let mut encoder = zstd::Encoder::new(Vec::with_capacity(data.len()), level)?;
    for batch in data.chunks(BATCH_BYTES_MAX) {
        encoder.write_all(batch)?;
    }
    black_box(encoder.finish()?);
    Ok(())
}
