//! `strait export`: counters and logs as text, from the data directory alone: the gateway may
//! run or not.

mod format;

use std::io::BufWriter;
use std::path::PathBuf;

use super::Globals;
use crate::cli::output::{Stdout, stdout, tell};
use crate::grid::{Image, list_snapshots, values_of};
use crate::resp::glob;
use format::{Format, Output};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// As of this time (UTC): counters from the last snapshot before it, logs up to it
    #[arg(long, value_name = "TIME", value_parser = super::time::parse)]
    at: Option<u64>,
    /// RESP is for `redis-cli --pipe`
    #[arg(long, value_enum, default_value = "resp")]
    format: Format,
    /// Only keys that match this pattern, as in Redis's SCAN
    #[arg(long, value_name = "PATTERN")]
    r#match: Option<String>,
    /// Only these
    #[arg(long, value_enum, value_name = "KIND")]
    only: Option<Only>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Only {
    Counters,
    Logs,
}

impl Args {
    fn wants(&self, key: &[u8]) -> bool {
        let matches = |pattern: &String| glob::matches(pattern.as_bytes(), key);
        self.r#match.as_ref().is_none_or(matches)
    }
}

pub(super) fn run(globals: &Globals, args: Args) -> anyhow::Result<()> {
    let (mut out, mut written) = (Output::new(args.format, writer()), 0_u64);
    let mut left_out = Vec::new();
    let live = match (args.at, args.only) {
        (Some(_), Some(Only::Counters)) => None,
        (_, _) => Some(live(globals)?),
    };
    if args.only != Some(Only::Logs) {
        let snapshot = args.at.map(|at| snapshot(globals, at)).transpose()?;
        let image = snapshot.as_ref().or(live.as_ref());
        if let Some(image) = image {
            image.counters(|key, field, value| {
                if args.wants(key) {
                    written += 1;
                    out.counter(key, field, value)?;
                }
                Ok(())
            })?;
            image.deadlines(|key, at_ms| match args.wants(key) {
                true => out.deadline(key, at_ms),
                false => Ok(()),
            })?;
        }
    }
    if let Some(live) = live.filter(|_| args.only != Some(Only::Counters)) {
        left_out = live.entries(args.at.unwrap_or(u64::MAX), |log, id, payload| {
            if args.wants(log) {
                written += 1;
                out.entry(log, id, values_of(payload))?;
            }
            Ok(())
        })?;
        for (log, last) in live.emptied_logs(args.at.unwrap_or(u64::MAX)) {
            if args.wants(&log) {
                written += 1;
                out.emptied(&log, last)?;
            }
        }
    }
    out.finish()?;
    tell!("{written} exported");
    left_out.retain(|(log, _)| args.wants(log));
    for (log, lost) in left_out.iter().take(LEFT_OUT_NAMED_MAX) {
        tell!("left out: {}: {lost}", log.escape_ascii());
    }
    match left_out.len() {
        0 => Ok(()),
        stretches => anyhow::bail!(
            "export: {stretches} stretches of logs are damaged or lost here and left out; a peer may have \
             them: `strait verify SITE`"
        ),
    }
}

/// Stretches that are named one by one.
const LEFT_OUT_NAMED_MAX: usize = 100;

fn writer() -> BufWriter<Stdout> {
    BufWriter::with_capacity(1 << 20, stdout())
}

/// What the journal holds.
pub(super) fn live(globals: &Globals) -> anyhow::Result<Image> {
    let layout = globals.layout();
    let site = globals.config()?.site;
    let (image, recovery) = Image::of_journal(&layout.grid(), &site)?;
    for damage in recovery.quarantined.iter().chain(&recovery.cold_damaged) {
        tell!("left out what is damaged: {damage}");
    }
    Ok(image)
}

/// The last good snapshot that was begun by `at`.
pub(super) fn snapshot(globals: &Globals, at: u64) -> anyhow::Result<Image> {
    let layout = globals.layout();
    let site = globals.config()?.site;
    let snapshots = list_snapshots(&layout.snapshots())?;
    let before = snapshots
        .iter()
        .filter(|s| s.time_ms <= at && !s.unfinished);
    let mut damaged = None;
    for snapshot in before.rev() {
        match Image::of_snapshot(&snapshot.path, &site) {
            Ok(image) => {
                tell!("counters as of {}", super::time::rfc3339(snapshot.time_ms));
                return Ok(image);
            }
            Err(error) => {
                tell!("{error}: taking the one before");
                damaged = Some(PathBuf::from(&snapshot.path));
            }
        }
    }
    let when = super::time::rfc3339(at);
    match damaged {
        Some(_) => anyhow::bail!("every snapshot from before {when} is damaged"),
        None => anyhow::bail!(
            "there is no snapshot from before {when}: `strait snapshots` lists what is there"
        ),
    }
}
