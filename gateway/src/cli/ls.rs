//! `strait ls`: the files at a peer site.

use std::io::{self, Write};
use std::time::Duration;

use anyhow::Context;

use super::output::{stdout, tell};
use super::{Globals, far_tree};
use crate::bulk::control::client::Gateway;
use crate::bulk::location::Location;
use crate::bulk::printable;
use crate::bulk::store::{Entry, EntryKind, Mtime};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Which folder or file: SITE:[PATH]; the last name may be a pattern, as in west:dumps/*.sql
    #[arg(value_name = "SITE:[PATH]")]
    of: Location,
    /// How long to wait for a link that is down
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    wait: u64,
    /// Print one line of JSON per entry
    #[arg(long)]
    json: bool,
}

pub(super) fn run(globals: &Globals, args: Args) -> anyhow::Result<()> {
    let wait = Duration::from_secs(args.wait);
    let gateway = Gateway::new(&globals.layout().socket(), wait);
    if far_tree::is_pattern(&args.of) {
        let found = far_tree::matching(&gateway, &args.of)?;
        let entries: Vec<_> = found.into_iter().map(|(_, entry)| entry).collect();
        return Ok(print(&entries, args.json)?);
    }
    let mut after = String::new();
    loop {
        let failing = || format!("ls {}", args.of);
        let page = gateway.list(&args.of, &after).with_context(failing)?;
        print(&page.entries, args.json)?;
        match page.entries.last() {
            Some(last) if page.more => after.clone_from(&last.name),
            Some(_) | None => {
                if page.unspeakable > 0 {
                    tell!(
                        "{} more with names that cannot be asked for (not UTF-8, or control \
                         characters)",
                        page.unspeakable
                    );
                }
                return Ok(());
            }
        }
    }
}

fn print(entries: &[Entry], json: bool) -> io::Result<()> {
    let mut out = stdout();
    for entry in entries {
        if json {
            serde_json::to_writer(&mut out, entry)?;
            writeln!(out)?;
        } else {
            writeln!(out, "{}", line(entry))?;
        }
    }
    out.flush()
}

fn line(entry: &Entry) -> String {
    let (name, time) = (printable(&entry.name), utc(entry.mtime));
    match entry.kind {
        EntryKind::File => format!("{time}  {:>15}  {name}", entry.length),
        EntryKind::Folder => format!("{time}  {:>15}  {name}/", "-"),
        EntryKind::Link => format!("{time}  {:>15}  {name} (a link)", "-"),
        EntryKind::Other => format!("{time}  {:>15}  {name} (not a file)", "-"),
    }
}

/// Date and time in UTC. Days to a date as in Howard Hinnant, "chrono-compatible
/// low-level date algorithms", `civil_from_days`.
fn utc(mtime: Mtime) -> String {
    const SECONDS_PER_DAY: i64 = 86_400;
    let (days, second) = (
        mtime.seconds.div_euclid(SECONDS_PER_DAY),
        mtime.seconds.rem_euclid(SECONDS_PER_DAY),
    );
    let shifted = days.saturating_add(719_468);
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        let utc = |seconds| utc(Mtime { seconds, nanos: 0 });
        assert_eq!(utc(0), "1970-01-01 00:00:00");
        assert_eq!(utc(951_782_399), "2000-02-28 23:59:59");
        assert_eq!(utc(951_868_800), "2000-03-01 00:00:00");
        assert_eq!(utc(-1), "1969-12-31 23:59:59");
        assert_eq!(utc(4_102_444_800), "2100-01-01 00:00:00");
        utc(i64::MIN);
        utc(i64::MAX);
    }
}
