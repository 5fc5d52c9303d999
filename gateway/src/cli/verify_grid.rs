//! `strait verify SITE`: do both sites hold the same counters and logs? What does not agree is
//! mended, and named.

use std::time::Duration;

use anyhow::{Context, bail};

use super::output::say;
use super::transfer::Options;
use super::{Globals, status};
use crate::replicate::compare::Comparison;

/// Both sites read their whole grid.
const TIMEOUT: Duration = Duration::from_secs(3600);

pub(super) fn run(globals: &Globals, site: &str, options: &Options) -> anyhow::Result<()> {
    let json = compare(globals, site)?;
    if options.json {
        say(&json)?;
    }
    let found: Comparison = serde_json::from_str(&json)?;
    if !options.quiet && !options.json {
        say(told(&found))?;
    }
    let mended = found.mended_here + found.mended_there;
    if mended > 0 || !found.logs_differing.is_empty() {
        let logs = found.logs_differing.len();
        bail!("verify: {mended} counters were lost or damaged and are mended; {logs} logs differ");
    }
    Ok(())
}

/// The comparison with a site, as JSON.
pub(super) fn compare(globals: &Globals, site: &str) -> anyhow::Result<String> {
    // It becomes part of a request line.
    let site: strait_transport::SiteName = site.parse()?;
    let address = status::http_of(globals)?;
    status::get(address, &format!("/verify/{site}"), TIMEOUT)
        .with_context(|| format!("cannot compare with {site}"))
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
        text += &format!("different entries: {log}\n");
    }
    if found.mended_here + found.mended_there == 0 && found.logs_differing.is_empty() {
        text += "nothing was lost or damaged\n";
    }
    text
}
