//! Reads: a piece of a log, once read, had all that stands there in the end.

use std::collections::HashMap;

use super::{Violations, burnt_since};
use crate::history::{History, Id, Read};
use crate::state::{Line, State};

pub(super) fn check(history: &History, at: &str, state: &State, violations: &mut Violations) {
    for read in &history.reads {
        let Some(lines) = state.logs.get(&(read.origin, read.class.name())) else {
            continue;
        };
        let log = format!("{}'s {}", history.sites[read.origin], read.class.log());
        let (site, seconds) = (&history.sites[read.life.site], read.at.as_secs_f64());
        let what = format!("{log} at {site}, {seconds:.1} s, behind {:?}", read.after);
        // Where entries burnt before a peer held them, others may stand in between now: a clock that was
        // set back since gives them ids between those that are gone.
        if read.life.site != read.origin || !burnt_since(history, read.life) {
            complete(&what, at, read, lines, violations);
        }
        kept(&what, at, read, lines, violations);
    }
}

/// Whatever stands between the first and the last entry of the piece now was in it.
fn complete(what: &str, at: &str, read: &Read, lines: &[Line], violations: &mut Violations) {
    let Some((last, _)) = read.lines.last() else {
        return;
    };
    let seen: HashMap<Id, u64> = read.lines.iter().copied().collect();
    let between = lines
        .iter()
        .filter(|line| line.id > read.after && line.id <= *last);
    let missing: Vec<_> = between
        .filter(|line| seen.get(&line.id) != Some(&line.n))
        .collect();
    if let Some(first) = missing.first() {
        violations.add("a read was short, and nothing said so", || {
            format!(
                "{what}: it lacked {} that are at {at} now beside the {} that it had: {first:?} …",
                missing.len(),
                seen.len()
            )
        });
    }
}

/// A peer is shown what is on the origin's disk alone: that stays.
fn kept(what: &str, at: &str, read: &Read, lines: &[Line], violations: &mut Violations) {
    if read.life.site == read.origin {
        return;
    }
    let there: HashMap<Id, u64> = lines.iter().map(|line| (line.id, line.n)).collect();
    let gone = read.lines.iter().find(|(id, n)| there.get(id) != Some(n));
    if let Some((id, n)) = gone {
        violations.add("an entry that a peer had is gone", || {
            format!("{what}: {id:?}, line {n:x}, is not at {at}")
        });
    }
}
