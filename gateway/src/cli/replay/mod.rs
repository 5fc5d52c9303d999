//! `strait replay --from SITE`: a rebuilt site gets its counters and logs back; watched, and
//! proved in the end. `strait replay --at TIME`: all sites' counters go back to that time.

mod at;
mod fetch;

use std::io::{self, IsTerminal};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{anyhow, bail};

use super::output::{say, tell, tell_text};
use super::{Globals, export, own, verify_grid};
use crate::observe::{LinkPhase, LinkReport, Status, seconds};
use crate::replicate::compare::Comparison;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The peer that has everything
    #[arg(long, value_name = "SITE", required_unless_present = "at")]
    from: Option<String>,
    /// Take the counters, at all sites, back to the last snapshot before this time (UTC), here or at the peer of --from
    #[arg(long, value_name = "TIME", value_parser = super::time::parse)]
    at: Option<u64>,
    /// With --at: do it. Without, only say what it comes to
    #[arg(long, requires = "at")]
    yes: bool,
    /// How long to wait for a link that is down
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    wait: u64,
    /// Show no progress
    #[arg(long)]
    quiet: bool,
}

/// How often the gateway is asked how far it is.
const EVERY: Duration = Duration::from_millis(200);
/// Comparisons in a row that find no less to differ than one before, and mend nothing, until it is
/// given up; and altogether.
const IN_VAIN_MAX: usize = 5;
const COMPARISONS_MAX: usize = 100;
/// Before the next one: what the last found is mended meanwhile.
const PAUSE: Duration = Duration::from_millis(500);

pub(super) fn run(globals: &Globals, args: Args) -> anyhow::Result<()> {
    if let Some(from) = &args.from {
        replay(globals, &args, from)?;
        if let Some(at) = args.at {
            fetch::snapshot(globals, from, at, Duration::from_secs(args.wait))?;
        }
    }
    match args.at {
        Some(at) => at::replay(globals, at, args.yes),
        None => Ok(()),
    }
}

fn replay(globals: &Globals, args: &Args, from: &str) -> anyhow::Result<()> {
    let begun = Instant::now();
    let wait = Duration::from_secs(args.wait);
    wait_for_all(globals, args, from)?;
    let mut rounds = Rounds::default();
    loop {
        let found: Comparison = serde_json::from_str(&verify_grid::compare(globals, from, wait)?)?;
        if found.is_clean() {
            let status = own::status(globals)?;
            return say(format!(
                "{} holds what {} holds: {} keys, {} log entries, after {}; {} ranges of counters \
                 and {} logs compared by digest\n",
                status.gateway.site,
                from,
                status.grid.keys,
                status.grid.entries,
                seconds(begun.elapsed().as_secs_f64()),
                found.ranges,
                found.logs,
            ));
        }
        if !rounds.go_on(&found) {
            return Err(still_differ(&found, from));
        }
        sleep(PAUSE);
    }
}

fn still_differ(found: &Comparison, from: &str) -> anyhow::Error {
    if found.logs_differing.is_empty() {
        return anyhow!("the sites still differ: run `strait verify {from}`");
    }
    let logs = found.logs_differing.join(", ");
    anyhow!("the sites hold different entries of logs: {logs}")
}

/// Comparisons so far, which mend what they find: another one is worth it as long as that gets on.
#[derive(Debug, Default)]
struct Rounds {
    /// Least that differed in one of them.
    least: Option<u64>,
    in_vain: usize,
    all: usize,
}

impl Rounds {
    fn go_on(&mut self, found: &Comparison) -> bool {
        let left = found.logs_differing.len() as u64 + found.ranges_differing;
        let mended = found.mended_here + found.mended_there + found.entries_mended;
        if mended > 0 || self.least.is_none_or(|least| left < least) {
            self.in_vain = 0;
        } else {
            self.in_vain += 1;
        }
        self.least = Some(self.least.map_or(left, |least| least.min(left)));
        self.all += 1;
        self.in_vain < IN_VAIN_MAX && self.all < COMPARISONS_MAX
    }
}

/// Waits until everything that the peer held is here, and shows how far it is.
fn wait_for_all(globals: &Globals, args: &Args, from: &str) -> anyhow::Result<()> {
    let shown = !args.quiet && io::stderr().is_terminal();
    let mut heard = Instant::now();
    loop {
        let status = own::status(globals)?;
        let link = status.link_to(from)?;
        if link.phase == LinkPhase::Replicating {
            heard = Instant::now();
        }
        if shown {
            tell_text(&format!("\r{}   ", progress(&status, link)));
        }
        if link.heard_all {
            if shown {
                tell!("");
            }
            return Ok(());
        }
        if heard.elapsed() > Duration::from_secs(args.wait) {
            let why = link.last_error.as_deref().unwrap_or("no answer");
            bail!("the link to {from} is down: {why}");
        }
        sleep(EVERY);
    }
}

fn progress(status: &Status, link: &LinkReport) -> String {
    let records: u64 = link
        .streams
        .iter()
        .map(|stream| stream.applied_records)
        .sum();
    format!(
        "{} of {}: {records} records, {} keys, {} log entries",
        link.phase, link.peer, status.grid.keys, status.grid.entries
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(logs: usize, mended: u64) -> Comparison {
        Comparison {
            logs_differing: vec!["clicks of east".to_owned(); logs],
            entries_mended: mended,
            ..Comparison::default()
        }
    }

    #[test]
    fn comparing_goes_on_while_it_helps() {
        let mut rounds = Rounds::default();
        for left in (1..20).rev() {
            assert!(rounds.go_on(&found(left, 0)), "fewer logs each time");
        }
        assert!(rounds.go_on(&found(1, 7)), "entries came");
        for _ in 1..IN_VAIN_MAX {
            assert!(rounds.go_on(&found(1, 0)));
        }
        assert!(!rounds.go_on(&found(1, 0)), "nothing gets better any more");
        let mut rounds = Rounds::default();
        let endless = (0..COMPARISONS_MAX).all(|_| rounds.go_on(&found(1, 1)));
        assert!(!endless);
    }
}
