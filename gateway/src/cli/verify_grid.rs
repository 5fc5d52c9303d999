//! `strait verify SITE`: do both sites hold the same counters and logs? What does not agree is
//! mended, and named.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use strait_transport::SiteName;

use super::output::say;
use super::transfer::Options;
use super::{Globals, own};
use crate::observe::LinkPhase;
use crate::replicate::compare::Comparison;

/// How often the link is looked at meanwhile.
const EVERY: Duration = Duration::from_millis(200);

pub(super) fn run(globals: &Globals, site: &str, options: &Options) -> anyhow::Result<()> {
    let json = compare(globals, site, options.wait())?;
    if options.json {
        say(&json)?;
    }
    let found: Comparison = serde_json::from_str(&json)?;
    if !options.quiet && !options.json {
        say(told(&found))?;
    }
    let mended = found.mended_here + found.mended_there;
    let (logs, entries) = (found.logs_differing.len(), found.entries_mended);
    let (stuck, held_up) = (found.ranges_stuck.len(), found.logs_held_up);
    let ends = found.logs_stuck.len();
    if stuck > 0 || ends > 0 || held_up > 0 {
        bail!(
            "verify: the sites differ in {stuck} ranges of counters and in the ends of {ends} logs, and \
             nothing is on its way that changes that; {held_up} logs cannot be sent, as some of each is lost here: what refuses \
             it is in the log of one of the two gateways"
        );
    }
    if mended > 0 || logs > 0 || entries > 0 {
        bail!(
            "verify: {mended} counters were lost or damaged and are mended; {logs} stretches of logs \
             differed, {entries} entries of logs are mended here"
        );
    }
    if found.catching_up {
        bail!(
            "verify: {site} and this site are still catching up, and what is on its way was not \
             compared: `strait status` says how far they are"
        );
    }
    Ok(())
}

/// The comparison with a site, as JSON. The link may be down for as long as `wait`, before it
/// begins and in the middle; so long, too, the sites may take to catch up before it begins.
pub(super) fn compare(globals: &Globals, site: &str, wait: Duration) -> anyhow::Result<String> {
    let site: SiteName = site.parse()?;
    let mut link = Watched::new(globals, &site, wait);
    let begun = Instant::now();
    while !link.is_up()? || (link.is_catching_up && begun.elapsed() < wait) {
        sleep(EVERY);
    }
    let (sender, answer) = mpsc::channel();
    let (asked, of) = (globals.clone(), site.clone());
    // Left alone where the link stays down: the process ends then.
    thread::spawn(move || sender.send(own::compare(&asked, &of)));
    loop {
        match answer.recv_timeout(EVERY) {
            Err(RecvTimeoutError::Timeout) => link.is_up()?,
            Err(RecvTimeoutError::Disconnected) => bail!("cannot compare with {site}"),
            Ok(answer) => return answer.with_context(|| format!("cannot compare with {site}")),
        };
    }
}

/// A link that may be down for a while.
struct Watched<'a> {
    globals: &'a Globals,
    site: &'a SiteName,
    wait: Duration,
    seen_up: Instant,
    is_catching_up: bool,
}

impl<'a> Watched<'a> {
    fn new(globals: &'a Globals, site: &'a SiteName, wait: Duration) -> Self {
        Self {
            globals,
            site,
            wait,
            seen_up: Instant::now(),
            is_catching_up: true,
        }
    }

    /// Whether it is up now; an error when it has been down for too long, or there is none.
    fn is_up(&mut self) -> anyhow::Result<bool> {
        let status = own::status(self.globals)?;
        let link = status.link_to(self.site.as_ref())?;
        if link.phase == LinkPhase::Replicating {
            self.is_catching_up = link.is_catching_up();
            self.seen_up = Instant::now();
            return Ok(true);
        }
        if self.seen_up.elapsed() >= self.wait {
            let why = link.last_error.as_deref().unwrap_or("no answer");
            let site = self.site;
            bail!("the link to {site} is down ({why}); wait longer with --wait SECONDS");
        }
        Ok(false)
    }
}

fn told(found: &Comparison) -> String {
    let mut text = format!(
        "compared with {} in {} ms: {} of {} ranges of counters differed, {} logs compared\n",
        found.peer, found.took_ms, found.ranges_differing, found.ranges, found.logs
    );
    if found.ranges_exchanged < found.ranges_differing {
        text += &format!(
            "{} ranges were looked into; the others' turn comes with the next comparison\n",
            found.ranges_exchanged
        );
    }
    for counter in &found.named {
        text += &format!("mended here: {counter}\n");
    }
    for log in &found.logs_differing {
        text += &format!("differed: {log}\n");
    }
    for range in &found.ranges_stuck {
        text += &format!("differs: range {range}\n");
    }
    for log in &found.logs_stuck {
        text += &format!("differs: log {log}\n");
    }
    if found.logs_held_up > 0 {
        text += &format!(
            "{} logs of which the peer cannot be sent all: some of each is lost here\n",
            found.logs_held_up
        );
    }
    let nothing = found.mended_here + found.mended_there + found.entries_mended == 0;
    let stuck = found.ranges_stuck.len() + found.logs_stuck.len();
    let agrees = stuck == 0 && found.logs_held_up == 0;
    if nothing && agrees && found.logs_differing.is_empty() {
        text += match found.catching_up {
            true => "nothing was lost or damaged of what both sites hold\n",
            false => "nothing was lost or damaged\n",
        };
    }
    text
}
