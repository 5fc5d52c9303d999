//! One counter, and one field of a hash, that two sites count up, set and delete, against sets of
//! events: a site clears the events that it has seen, and no others.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

/// What a site knows: events by origin and number with what each added, and which were cleared.
#[derive(Clone, Default)]
struct Known {
    events: BTreeMap<(usize, u64), i64>,
    cleared: BTreeSet<(usize, u64)>,
}

impl Known {
    fn value(&self) -> i64 {
        let counting = self
            .events
            .iter()
            .filter(|(id, _)| !self.cleared.contains(id));
        counting.map(|(_, by)| by).sum()
    }

    fn clear(&mut self) {
        self.cleared.extend(self.events.keys());
    }

    fn add(&mut self, origin: usize, by: i64) {
        let number = self.events.keys().filter(|id| id.0 == origin).count() as u64;
        self.events.insert((origin, number), by);
    }
}

#[derive(Clone, Debug)]
enum Act {
    Add(i64),
    Set(i64),
    Delete,
    /// Makes what is new durable and sends it; false: it stays under way for now.
    Flush(bool),
    /// Everything under way arrives, the newest first, and the oldest once more.
    Arrive,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (-9..9_i64).prop_map(Act::Add),
        1 => (-9..9_i64).prop_map(Act::Set),
        2 => Just(Act::Delete),
        3 => any::<bool>().prop_map(Act::Flush),
        1 => Just(Act::Arrive),
    ]
}

/// A site, what it should know, and what it has sent that has not arrived.
struct Place {
    grid: Arc<Grid>,
    known: Known,
    under_way: Vec<(Vec<Bytes>, Known)>,
}

impl Place {
    fn write(&mut self, origin: usize, act: &Act) {
        let mut state = self.grid.lock();
        let present = state.kind(b"k").is_some();
        match act {
            Act::Add(by) => {
                state.add(b"k", *by).unwrap();
                state.add_field(b"h", b"f", *by).unwrap();
                if !present {
                    self.known.clear();
                }
                self.known.add(origin, *by);
            }
            Act::Set(value) => {
                state.set(b"k", *value, SetIf::Always, false).unwrap();
                state.set_field(b"h", b"f", *value).unwrap();
                self.known.clear();
                self.known.add(origin, *value);
            }
            Act::Delete => {
                let was_there = state.delete(b"k").unwrap();
                assert_eq!(state.delete(b"h").unwrap(), was_there);
                if was_there {
                    self.known.clear();
                }
            }
            Act::Flush(_) | Act::Arrive => {}
        }
    }

    fn flush(&mut self) {
        let records = flush(&self.grid);
        self.under_way.push((records, self.known.clone()));
    }

    /// `records` of the site numbered `origin`, which knew `theirs` when it sent them.
    fn hear(&mut self, origin: usize, records: &[Bytes], theirs: &Known) {
        for record in records {
            self.grid.apply(&peer(), record.clone()).unwrap();
        }
        let own = theirs.events.iter().filter(|(id, _)| id.0 == origin);
        self.known.events.extend(own);
        self.known.cleared.extend(&theirs.cleared);
    }
}

fn arrive(places: &mut [Place; 2], from: usize) {
    let under_way = std::mem::take(&mut places[from].under_way);
    for (records, known) in under_way.iter().rev().chain(under_way.first()) {
        places[1 - from].hear(from, records, known);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn what_was_seen_is_cleared_once_and_what_was_not_stays(
        acts in proptest::collection::vec((0..2_usize, act()), 1..50),
    ) {
        let mut places = ["east", "west"].map(|site| Place {
            grid: grid(site),
            known: Known::default(),
            under_way: Vec::new(),
        });
        for (here, act) in &acts {
            places[*here].write(*here, act);
            if let Act::Flush(at_once) = act {
                places[*here].flush();
                if *at_once {
                    arrive(&mut places, *here);
                }
            } else if let Act::Arrive = act {
                arrive(&mut places, *here);
            }
        }
        for here in [0, 1] {
            places[here].flush();
            arrive(&mut places, here);
        }
        let [east, west] = &places;
        prop_assert_eq!(east.known.value(), west.known.value());
        for place in &places {
            place.grid.flush().unwrap();
            let state = place.grid.lock();
            if let Some(at) = state.keys.find(b"k") {
                let sum = state.keys.sum(keyspace::CounterRef::key(at));
                prop_assert_eq!(sum, place.known.value());
            }
            if let Some(hash) = state.keys.find(b"h") {
                let field = state.keys.find_field(hash, b"f").unwrap();
                let sum = state.keys.sum(keyspace::CounterRef::field(hash, field));
                prop_assert_eq!(sum, place.known.value());
            }
        }
        prop_assert_eq!(east.grid.digest(), west.grid.digest());
    }
}

#[test]
fn deleting_a_hash_leaves_the_work_to_the_flush() {
    const FIELDS: u32 = 70_000;
    let grid = grid("east");
    let fill = || {
        let mut state = grid.lock();
        for field in 0..FIELDS {
            state.add_field(b"h", &field.to_le_bytes(), 1).unwrap();
        }
    };
    let held_back = || grid.lock().keys.more.len() as u32;
    fill();
    grid.flush().unwrap();
    assert!(grid.lock().delete(b"h").unwrap());
    assert_eq!(grid.lock().fields_len(b"h"), Ok(0));
    assert_eq!(
        held_back(),
        0,
        "one walk over flags is all that others wait for"
    );
    assert_eq!(grid.lock().add_field(b"h", &0_u32.to_le_bytes(), 5), Ok(5));
    assert_eq!(grid.lock().fields_len(b"h"), Ok(1));
    grid.flush().unwrap();
    assert_eq!(held_back(), FIELDS);
    assert_eq!(
        grid.lock().get_field(b"h", &0_u32.to_le_bytes()),
        Ok(Some(5))
    );
}

#[test]
fn hashes_that_expire_together_do_so_a_few_at_a_time() {
    const FIELDS: u32 = 70_000;
    let grid = grid("east");
    let mut state = grid.lock();
    for key in [b"a", b"b"] {
        for field in 0..FIELDS {
            state.add_field(key, &field.to_le_bytes(), 1).unwrap();
        }
        state.set_deadline(key, 5).unwrap();
    }
    assert!(state.expire_some(5), "there is more to do");
    assert_eq!(state.expiring(), 1);
    assert_eq!(state.fields_len(b"b"), Ok(0), "nobody sees it for all that");
    while state.expire_some(5) {}
    assert_eq!(state.expiring(), 0);
}
