//! One grid against the simplest thing that could be right.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

#[derive(Clone, Debug, PartialEq)]
enum Value {
    Counter(i64),
    Hash(BTreeMap<u8, i64>),
    Log(Vec<(EntryId, u8)>),
}

#[derive(Default)]
struct Model {
    keys: BTreeMap<u8, Value>,
    deadlines: BTreeMap<u8, u64>,
    now: u64,
    /// Last ids survive their logs.
    last: BTreeMap<u8, EntryId>,
}

impl Model {
    /// What the step would give; true if it must succeed.
    fn run(&mut self, step: &Step) -> bool {
        let done = self.change(step);
        let due: Vec<u8> = self
            .deadlines
            .iter()
            .filter(|(_, at)| **at <= self.now)
            .map(|(key, _)| *key)
            .collect();
        for key in due {
            self.keys.remove(&key);
        }
        self.deadlines.retain(|key, _| self.keys.contains_key(key));
        done
    }

    fn change(&mut self, step: &Step) -> bool {
        match step {
            Step::Add(key, by) => match self.keys.entry(*key).or_insert(Value::Counter(0)) {
                Value::Counter(value) => value.checked_add(*by).map(|sum| *value = sum).is_some(),
                Value::Hash(_) | Value::Log(_) => false,
            },
            Step::AddField(key, field, by) => {
                let empty = Value::Hash(BTreeMap::new());
                match self.keys.entry(*key).or_insert(empty) {
                    Value::Hash(fields) => {
                        *fields.entry(*field).or_default() += by;
                        true
                    }
                    Value::Counter(_) | Value::Log(_) => false,
                }
            }
            Step::Set(key, value) => {
                // As `SET … KEEPTTL`, but a log had none.
                self.keys.insert(*key, Value::Counter(*value));
                true
            }
            Step::Delete(key) => self.keys.remove(key).is_some(),
            Step::Expire(key, at) => match self.keys.get(key) {
                Some(Value::Counter(_) | Value::Hash(_)) if *at > 0 => {
                    self.deadlines.insert(*key, *at);
                    true
                }
                Some(Value::Counter(_) | Value::Hash(_)) => {
                    self.deadlines.remove(key);
                    true
                }
                Some(Value::Log(_)) => *at == 0,
                None => true,
            },
            Step::Clock(now) => {
                self.now = *now;
                true
            }
            Step::Append(key, value) => {
                match self.keys.entry(*key).or_insert(Value::Log(Vec::new())) {
                    Value::Log(entries) => {
                        let last = self.last.entry(*key).or_default();
                        *last = last.next().unwrap();
                        entries.push((*last, *value));
                        true
                    }
                    Value::Counter(_) | Value::Hash(_) => false,
                }
            }
            Step::Trim(key, newest) => match self.keys.get_mut(key) {
                Some(Value::Log(entries)) => {
                    let gone = entries.len().saturating_sub(*newest as usize);
                    entries.drain(..gone);
                    true
                }
                None => true,
                Some(Value::Counter(_) | Value::Hash(_)) => false,
            },
            Step::Flush => true,
        }
    }
}

fn name(key: u8) -> Vec<u8> {
    vec![b'k', key]
}

/// The same on the grid, with a clock that stands still: ids count on.
fn run(grid: &Grid, step: &Step) -> bool {
    if let Step::Flush = step {
        return grid.flush().is_ok();
    }
    let mut state = grid.lock();
    match step {
        Step::Add(key, by) => state.add(&name(*key), *by).is_ok(),
        Step::AddField(key, field, by) => state.add_field(&name(*key), &[*field], *by).is_ok(),
        Step::Set(key, value) => {
            let set = state.set(&name(*key), *value, SetIf::Always, false);
            set.is_ok_and(|outcome| outcome.done)
        }
        Step::Delete(key) => state.delete(&name(*key)) == Ok(true),
        Step::Append(key, value) => {
            let payload = payload(*value);
            let added = state.append(&name(*key), NewId::Auto, &payload, (true, None), 0);
            added.is_ok()
        }
        Step::Trim(key, newest) => {
            let keep = Keep::Newest(*newest);
            let trim = Trim {
                keep,
                roughly: false,
                limit: None,
            };
            state.trim(&name(*key), trim).is_ok()
        }
        Step::Expire(key, at) => state.set_deadline(&name(*key), *at).is_ok(),
        Step::Clock(now) => !state.expire_some(*now),
        Step::Flush => true,
    }
}

/// What clients see behind a key.
fn look(grid: &Grid, key: u8) -> Option<Value> {
    let state = grid.lock();
    match state.kind(&name(key))? {
        Kind::Counter => state.get(&name(key)).unwrap().map(Value::Counter),
        Kind::Hash => {
            let mut fields = BTreeMap::new();
            let found = |field: &[u8], value| {
                assert_eq!(fields.insert(field[0], value), None);
            };
            state.fields(&name(key), 0, u64::MAX, found).unwrap();
            assert_eq!(state.fields_len(&name(key)), Ok(fields.len() as u64));
            Some(Value::Hash(fields))
        }
        Kind::Log(id) => {
            let log = state.log(id);
            let entries = log.range(EntryId::MIN, EntryId::MAX);
            let entries: Vec<_> = entries
                .map(Result::unwrap)
                .map(|(id, payload)| (id, payload[4]))
                .collect();
            assert_eq!(log.len(), entries.len() as u64);
            let back = log.range_back(EntryId::MIN, EntryId::MAX);
            assert!(
                back.map(|entry| entry.unwrap().0)
                    .eq(entries.iter().rev().map(|(id, _)| *id))
            );
            Some(Value::Log(entries))
        }
    }
}

proptest! {
    #[test]
    fn a_grid_behaves_as_its_model(steps in proptest::collection::vec(step(), 1..80)) {
        let grid = grid("east");
        let mut model = Model::default();
        for step in &steps {
            prop_assert_eq!(run(&grid, step), model.run(step), "{:?}", step);
        }
        for key in 0..4 {
            prop_assert_eq!(look(&grid, key), model.keys.get(&key).cloned());
            let deadline = model.keys.get(&key).map(|_| model.deadlines.get(&key).copied().unwrap_or(0));
            prop_assert_eq!(grid.lock().deadline(&name(key)), deadline);
        }
        let (mut scanned, mut from) = (BTreeSet::new(), Some(0));
        while let Some(place) = from {
            from = grid.lock().scan(place, 1, |key, _| {
                assert!(scanned.insert(key.to_vec()), "found twice");
            });
        }
        let expected: BTreeSet<_> = model.keys.keys().map(|key| name(*key)).collect();
        prop_assert_eq!(grid.lock().visible(), expected.len() as u64);
        prop_assert_eq!(scanned, expected);
    }
}
