//! `strait-bench dedup`: what the second version of something costs when the peer holds the first,
//! beside what others put on the wire for the same pair, in the same run.
#![allow(clippy::print_stdout, reason = "the figures go to standard output")]

mod long;
mod peers;
mod small;
mod speed;
mod versions;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use serde::Serialize;

use crate::ratio::{Link, Options};

/// History kept in memory by either end: enough for every pair.
const MEMORY_MIB: u64 = 4096;

#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    what: Option<What>,
    /// Scale of the generated pairs: 1 is tens of megabytes each
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    /// A fixed zstd level instead of the adaptive one
    #[arg(long)]
    level: Option<i32>,
    /// What the link drains, in Mbit/s, for the adaptive level; 0 for unknown
    #[arg(long, default_value_t = 100.0)]
    drain_mbit: f64,
    /// Seed of the generated pairs
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where to write the pairs and the peers' repositories; emptied of them afterwards
    #[arg(long)]
    work: Option<PathBuf>,
    /// Pairs of your own, OLD:NEW, besides the generated ones
    #[arg(value_parser = parse_pair)]
    pairs: Vec<(PathBuf, PathBuf)>,
}

#[derive(clap::Subcommand)]
enum What {
    /// Speed of encoding and decoding beside chunking and BLAKE3 alone, and zstd alone
    Speed(speed::Arguments),
    /// Small batches of one stream of log lines: bytes a line and time a batch
    Small(small::Arguments),
    /// Gigabytes through a history on disk: memory against its cap, cost per byte, time of a start
    Long(long::Arguments),
}

fn parse_pair(text: &str) -> Result<(PathBuf, PathBuf), String> {
    let (old, new) = text.split_once(':').ok_or("expected OLD:NEW")?;
    Ok((old.into(), new.into()))
}

/// One line of output: bytes on the wire for the second version.
#[derive(Serialize)]
struct Line {
    pair: String,
    old_bytes: u64,
    new_bytes: u64,
    strait: u64,
    /// A third pass, over the second version again.
    strait_unchanged: u64,
    strait_encode_mb_s: f64,
    strait_unchanged_encode_mb_s: f64,
    /// The first version, which is all new, beside `zstd -3` of it.
    first_strait: u64,
    first_zstd3: Option<u64>,
    zstd3_patch_from: Option<u64>,
    rsync_z: Option<u64>,
    restic: Option<u64>,
    borg: Option<u64>,
    /// `strait` over `zstd3_patch_from`.
    to_patch_from: Option<f64>,
}

/// The last line.
#[derive(Serialize)]
struct Summary {
    pairs: usize,
    /// Geometric mean of `to_patch_from`.
    mean_to_patch_from: Option<f64>,
    absent: Vec<&'static str>,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    match &arguments.what {
        Some(What::Speed(arguments)) => return speed::run(arguments),
        Some(What::Small(arguments)) => return small::run(arguments),
        Some(What::Long(arguments)) => return long::run(arguments),
        None => {}
    }
    let work = arguments.work.clone().unwrap_or_else(|| {
        std::env::temp_dir().join(format!("strait-bench-dedup-{}", std::process::id()))
    });
    fs::create_dir_all(&work).with_context(|| format!("making {}", work.display()))?;
    let mut ratios = Vec::new();
    for version in versions::ALL {
        let (old, new) = version.write(&work, arguments.seed, arguments.scale)?;
        ratios.push(measure(version.name, &old, &new, &work, arguments)?);
        fs::remove_file(old)?;
        fs::remove_file(new)?;
    }
    for (old, new) in &arguments.pairs {
        let name = new.display().to_string();
        ratios.push(measure(&name, old, new, &work, arguments)?);
    }
    fs::remove_dir(&work).with_context(|| format!("removing {}", work.display()))?;
    println!("{}", serde_json::to_string(&summary(&ratios))?);
    Ok(())
}

fn measure(
    name: &str,
    old: &Path,
    new: &Path,
    work: &Path,
    arguments: &Arguments,
) -> anyhow::Result<Option<f64>> {
    let mut link = Link::open(&Options {
        level: arguments.level,
        memory_mib: MEMORY_MIB,
        drain_mbit: arguments.drain_mbit,
    })?;
    let first = link.send(0, old)?;
    let second = link.send(1, new)?;
    let third = link.send(2, new)?;
    let patch_from = peers::zstd_patch_from(old, new, work)?;
    let ratio = patch_from.map(|bytes| second.wire_bytes as f64 / bytes as f64);
    let line = Line {
        pair: name.to_owned(),
        old_bytes: first.raw_bytes,
        new_bytes: second.raw_bytes,
        strait: second.wire_bytes,
        strait_unchanged: third.wire_bytes,
        strait_encode_mb_s: second.encode_mb_s(),
        strait_unchanged_encode_mb_s: third.encode_mb_s(),
        first_strait: first.wire_bytes,
        first_zstd3: peers::zstd(old, work)?,
        zstd3_patch_from: patch_from,
        rsync_z: peers::rsync(old, new, work)?,
        restic: peers::restic(old, new, work)?,
        borg: peers::borg(old, new, work)?,
        to_patch_from: ratio,
    };
    ensure!(line.strait > 0, "nothing was measured");
    println!("{}", serde_json::to_string(&line)?);
    Ok(ratio)
}

fn summary(ratios: &[Option<f64>]) -> Summary {
    let known: Vec<f64> = ratios.iter().copied().flatten().collect();
    let mean = (known.iter().map(|ratio| ratio.ln()).sum::<f64>() / known.len() as f64).exp();
    Summary {
        pairs: ratios.len(),
        mean_to_patch_from: (!known.is_empty()).then_some(mean),
        absent: peers::absent(),
    }
}
