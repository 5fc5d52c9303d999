//! `strait snapshots`: the counters' snapshots of this site, from its data directory.

use super::Globals;
use super::output::{say, tell};
use crate::grid::{SnapshotFile, SnapshotHead, list_snapshots};
use crate::observe::{bytes, seconds};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Read each snapshot to its end and check it
    #[arg(long)]
    check: bool,
    /// Print one line of JSON per snapshot
    #[arg(long)]
    json: bool,
}

pub(super) fn run(globals: &Globals, args: Args) -> anyhow::Result<()> {
    let layout = globals.layout();
    globals.config()?;
    let mut unusable = 0;
    let snapshots = list_snapshots(&layout.snapshots())?;
    if snapshots.is_empty() && !args.json {
        tell!("no snapshot yet: `strait run` takes them, see [snapshots] in strait.toml");
    }
    for snapshot in snapshots {
        let line = line(&snapshot, &args);
        unusable += usize::from(line.is_err() && !snapshot.unfinished);
        say(line.unwrap_or_else(|line| line))?;
    }
    anyhow::ensure!(unusable == 0, "{unusable} of the snapshots are damaged");
    Ok(())
}

/// What is said of one; an error if it cannot be used.
fn line(snapshot: &SnapshotFile, args: &Args) -> Result<String, String> {
    let time = super::time::rfc3339(snapshot.time_ms);
    if snapshot.unfinished {
        return Err(told(
            args,
            &time,
            snapshot.bytes,
            Err("unfinished: ignored"),
        ));
    }
    let head = match args.check {
        true => SnapshotHead::check(&snapshot.path),
        false => SnapshotHead::read(&snapshot.path),
    };
    match head {
        Ok(head) => Ok(told(args, &time, snapshot.bytes, Ok(head))),
        Err(error) => Err(told(args, &time, snapshot.bytes, Err(&error.to_string()))),
    }
}

fn told(args: &Args, time: &str, size: u64, head: Result<SnapshotHead, &str>) -> String {
    if args.json {
        let mut json = serde_json::json!({ "time": time, "bytes": size });
        match head {
            Ok(head) => {
                json["counters"] = head.counters.into();
                json["took_ms"] = head.ended_ms.saturating_sub(head.time_ms).into();
            }
            Err(error) => json["error"] = error.into(),
        }
        return format!("{json}\n");
    }
    match head {
        Ok(head) => {
            let took = seconds(head.ended_ms.saturating_sub(head.time_ms) as f64 / 1000.0);
            format!(
                "{time}  {:>12} counters  {:>10}  took {took}\n",
                head.counters,
                bytes(size)
            )
        }
        Err(error) => format!("{time}  {error}\n"),
    }
}
