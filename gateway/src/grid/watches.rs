//! Keys that clients watch between reading them and `EXEC`: whoever changes one, client or peer,
//! spoils the watch.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use hashbrown::HashMap;

use super::state::{LogId, State};

/// Fewer keys are not worth looking for those that nobody watches any more.
const SWEEP_MIN: usize = 1024;

/// What one client watches; it ends when it is dropped.
#[derive(Debug, Default)]
pub(crate) struct Watch(Arc<AtomicBool>);

impl Watch {
    /// Whether any of the keys has changed.
    pub(crate) fn is_spoilt(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Who watches which key. Those who have ended stay in it until their key is touched or their
/// number has doubled.
#[derive(Debug, Default)]
pub(super) struct Watches {
    by_key: HashMap<Box<[u8]>, Vec<Weak<AtomicBool>>>,
    /// Keys after the last sweep.
    swept: usize,
}

impl Watches {
    fn add(&mut self, key: &[u8], watch: &Watch) {
        let is_live = |watch: &Weak<AtomicBool>| watch.strong_count() > 0;
        if self.by_key.len() >= SWEEP_MIN.max(2 * self.swept) {
            self.by_key.retain(|_, watches| watches.iter().any(is_live));
            self.swept = self.by_key.len();
        }
        let watches = self.by_key.entry(key.into()).or_default();
        if watches.len() == watches.capacity() {
            watches.retain(is_live);
        }
        watches.push(Arc::downgrade(&watch.0));
    }

    fn spoil(&mut self, key: &[u8]) {
        let watches = self.by_key.remove(key).unwrap_or_default();
        for watch in watches.iter().filter_map(Weak::upgrade) {
            watch.store(true, Ordering::Relaxed);
        }
    }
}

impl State {
    /// Spoils `watch` with the next change of `key`, which need not be there.
    pub(crate) fn watch(&mut self, key: &[u8], watch: &Watch) {
        self.watches.add(key, watch);
    }

    /// The counter, the hash or the deadline behind the name at `place` has changed.
    pub(super) fn touched(&mut self, place: u32) {
        if !self.watches.by_key.is_empty() {
            let key = self.keys.text(self.keys.names.at(place).name);
            self.watches.spoil(key);
        }
    }

    /// The log has changed.
    pub(super) fn touched_log(&mut self, id: LogId) {
        if !self.watches.by_key.is_empty() {
            let name = self.shown_name_of(id);
            self.watches.spoil(&name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watches_that_ended_do_not_pile_up() {
        let mut watches = Watches::default();
        let kept = Watch::default();
        watches.add(b"kept", &kept);
        for round in 0..100_000_u32 {
            let watch = Watch::default();
            watches.add(b"same", &watch);
            watches.add(&round.to_le_bytes(), &watch);
        }
        assert!(watches.by_key.len() <= SWEEP_MIN && watches.by_key[&b"same"[..]].len() < 10);
        assert!(!kept.is_spoilt());
        watches.spoil(b"kept");
        assert!(kept.is_spoilt());
    }
}
