//! Logs: what was confirmed is there, once, under its id, in order.

use std::collections::HashMap;

use super::{Violations, burnt_since};
use crate::history::{Confirmed, Effect, History, Id, Promises, Write};
use crate::state::{Line, State};

/// A line that a client was told the id of.
struct Told<'a> {
    write: &'a Write,
    n: u64,
    confirmed: Confirmed,
}

pub(super) fn check(
    history: &History,
    promises: &Promises<'_>,
    at: &str,
    state: &State,
    violations: &mut Violations,
) {
    let tried = tried(history);
    for ((origin, class), lines) in &state.logs {
        let log = format!("{}'s {class}:log at {at}", history.sites[*origin]);
        in_order(&log, lines, violations);
        as_sent(&log, (*origin, class), lines, &tried, violations);
    }
    for client in &history.clients {
        let told: Vec<_> = client.iter().filter_map(told).collect();
        let Some(first) = told.first() else {
            continue;
        };
        let (site, class) = (first.write.life.site, first.write.class);
        let log = format!("{}'s {} at {at}", history.sites[site], class.log());
        let none = Vec::new();
        let lines = state.logs.get(&(site, class.name())).unwrap_or(&none);
        confirmed(history, &log, &told, lines, promises, violations);
        rising(history, &log, &told, promises, violations);
    }
}

fn told(write: &Write) -> Option<Told<'_>> {
    let Effect::Line { n } = write.effect else {
        return None;
    };
    let confirmed = write.confirmed?;
    Some(Told {
        write,
        n,
        confirmed,
    })
}

/// Every line that any client sent, and into which log.
fn tried(history: &History) -> HashMap<u64, (usize, &'static str)> {
    let lines = history.writes().filter_map(|write| match write.effect {
        Effect::Line { n } => Some((n, (write.life.site, write.class.name()))),
        Effect::Add { .. } => None,
    });
    lines.collect()
}

fn in_order(log: &str, lines: &[Line], violations: &mut Violations) {
    for two in lines.windows(2).filter(|two| two[0].id >= two[1].id) {
        violations.add("ids do not rise", || {
            format!("{log}: {:?} after {:?}", two[1].id, two[0].id)
        });
    }
}

/// Each line as it was sent, into this log, and once.
fn as_sent(
    log: &str,
    place: (usize, &str),
    lines: &[Line],
    tried: &HashMap<u64, (usize, &'static str)>,
    violations: &mut Violations,
) {
    let mut seen = HashMap::new();
    for line in lines {
        if tried.get(&line.n) != Some(&place) || !line.intact {
            violations.add("an entry is not as any client sent it", || {
                format!("{log}: {line:?}")
            });
        }
        if let Some(other) = seen.insert(line.n, line.id) {
            violations.add("an entry is there twice", || {
                format!("{log}: line {:x} under {other:?} and {:?}", line.n, line.id)
            });
        }
    }
}

/// What was confirmed and must have survived is there; what may be lost left its id to nobody, but
/// for what burnt with its directory, and no peer knew.
fn confirmed(
    history: &History,
    log: &str,
    told: &[Told<'_>],
    lines: &[Line],
    promises: &Promises<'_>,
    violations: &mut Violations,
) {
    let by_id: HashMap<Id, u64> = lines.iter().map(|line| (line.id, line.n)).collect();
    let mut lost_in = None;
    for Told {
        write,
        n,
        confirmed,
    } in told
    {
        let id = confirmed.id.unwrap_or_default();
        let found = by_id.get(&id);
        let burnt = burnt_since(history, write.life) && !promises.holds(write);
        if found.is_some_and(|found| found != n) && !burnt {
            violations.add("an id has two contents", || {
                format!("{log}: {id:?} was given to {n:x} and holds {found:x?}")
            });
        } else if found.is_none() && promises.holds(write) {
            violations.add("a confirmed entry is lost", || {
                format!(
                    "{log}: {id:?}, line {n:x}, of {:?}, confirmed {:?}",
                    write.life, confirmed.at
                )
            });
        }
        // A flush takes all or nothing of what came before: what is lost is the end of a life.
        match found {
            None => lost_in = Some(write.life),
            Some(_) if lost_in == Some(write.life) => {
                violations.add("a later entry survives a lost one", || {
                    format!("{log}: {id:?}, line {n:x}, of {:?}", write.life)
                });
            }
            Some(_) => {}
        }
    }
}

/// Ids that a client is told rise over all lives of the gateway. Those that burnt with their
/// directory, and that no peer knew, are nobody's.
fn rising(
    history: &History,
    log: &str,
    told: &[Told<'_>],
    promises: &Promises<'_>,
    violations: &mut Violations,
) {
    let mut highest: Option<Id> = None;
    for Told {
        write, confirmed, ..
    } in told
    {
        let id = confirmed.id.unwrap_or_default();
        if highest.is_some_and(|highest| highest >= id) {
            violations.add("an id goes back", || {
                format!("{log}: {id:?} after {highest:?}, in {:?}", write.life)
            });
        }
        if promises.holds(write) || !burnt_since(history, write.life) {
            highest = highest.max(Some(id));
        }
    }
}
