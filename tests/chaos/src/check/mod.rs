//! Compares what sites hold in the end with what clients were told.

mod counters;
mod logs;
mod reads;
#[cfg(test)]
mod tests;

use crate::history::{End, History};
use crate::state::State;

/// Of one kind of violation so many are named.
const NAMED_MAX: usize = 8;

/// Everything that was promised and does not hold; nothing if all does. `states` are the sites' in
/// their order.
pub fn check(history: &History, states: &[State]) -> Vec<String> {
    let mut violations = Violations::default();
    for wrong in &history.wrong {
        violations.add("a reply is wrong", || wrong.clone());
    }
    equal(history, states, &mut violations);
    let promises = history.promises();
    for (site, state) in states.iter().enumerate() {
        let at = &history.sites[site];
        counters::check(history, &promises, at, state, &mut violations);
        logs::check(history, &promises, at, state, &mut violations);
        reads::check(history, at, state, &mut violations);
    }
    violations.end()
}

/// Sites that are in step hold the same.
fn equal(history: &History, states: &[State], violations: &mut Violations) {
    let Some((first, others)) = states.split_first() else {
        return;
    };
    for (other, name) in others.iter().zip(&history.sites[1..]) {
        for (key, value) in &first.counters {
            if other.counters.get(key) != Some(value) {
                let there = other.counters.get(key);
                let here = &history.sites[0];
                violations.add("sites differ", || {
                    format!("{key} is {value} at {here}, {there:?} at {name}")
                });
            }
        }
        for ((origin, class), lines) in &first.logs {
            let there = other.logs.get(&(*origin, *class));
            if there != Some(lines) {
                let origin = &history.sites[*origin];
                let (here, there) = (lines.len(), there.map_or(0, Vec::len));
                violations.add("sites differ", || {
                    format!("{origin}'s {class}:log: {here} entries here, {there} at {name}")
                });
            }
        }
    }
}

/// Whether a site's directory was lost in that life or later.
fn burnt_since(history: &History, life: crate::history::Life) -> bool {
    history.deaths.iter().any(|death| {
        death.how == End::Burnt && death.life.site == life.site && death.life.number >= life.number
    })
}

/// What does not hold, the first of each kind by name.
#[derive(Debug, Default)]
pub(crate) struct Violations {
    found: Vec<(&'static str, usize, Vec<String>)>,
}

impl Violations {
    pub(crate) fn add(&mut self, kind: &'static str, what: impl FnOnce() -> String) {
        let at = self.found.iter().position(|(known, ..)| *known == kind);
        let at = at.unwrap_or_else(|| {
            self.found.push((kind, 0, Vec::new()));
            self.found.len() - 1
        });
        let (_, count, named) = &mut self.found[at];
        *count += 1;
        if named.len() < NAMED_MAX {
            named.push(what());
        }
    }

    fn end(self) -> Vec<String> {
        let mut lines = Vec::new();
        for (kind, count, named) in self.found {
            lines.extend(named.iter().map(|what| format!("{kind}: {what}")));
            if count > named.len() {
                lines.push(format!("{kind}: {count} in all"));
            }
        }
        lines
    }
}
