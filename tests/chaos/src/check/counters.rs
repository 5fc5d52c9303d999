//! Counters: between what survives for sure and what was tried at all.

use std::collections::BTreeMap;

use super::Violations;
use crate::history::{Effect, History, Promises};
use crate::state::State;

pub(super) fn check(
    history: &History,
    promises: &Promises<'_>,
    at: &str,
    state: &State,
    violations: &mut Violations,
) {
    let mut bounds: BTreeMap<&str, (i64, i64)> = BTreeMap::new();
    for write in history.writes() {
        let Effect::Add { key, amount } = &write.effect else {
            continue;
        };
        let (low, high) = bounds.entry(key).or_default();
        *high += amount;
        if promises.holds(write) {
            *low += amount;
        }
    }
    for (key, (low, high)) in bounds {
        let value = state.counters.get(key).copied().unwrap_or(0);
        if value < low {
            violations.add("a confirmed increment is lost", || {
                format!("{key} at {at} is {value}, {low} at least was confirmed")
            });
        }
        if value > high {
            violations.add("an increment counts twice", || {
                format!("{key} at {at} is {value}, {high} at most was tried")
            });
        }
    }
    for register in &history.registers {
        let value = state.counters.get(&register.key).copied().unwrap_or(0);
        if !register.possible.contains(&value) {
            violations.add("a counter that was set is wrong", || {
                format!(
                    "{} at {at} is {value}, not one of {:?}",
                    register.key, register.possible
                )
            });
        }
    }
}
