//! Recent flushes, kept so that a peer that is up to date is fed without a scan.

use std::sync::Arc;

use super::state::State;
use super::{FlushNumber, Flushed};

const FLUSHES_MAX: usize = 1024;
/// Never more than an eighth of the memory there is.
const BYTES_MAX: usize = 16 << 20;

impl Flushed {
    fn bytes(&self) -> usize {
        let own = self.counters.iter().chain(&self.logs);
        let relayed = self.relayed.iter().map(|relayed| &relayed.record);
        own.chain(relayed).map(|record| record.len()).sum()
    }
}

impl State {
    /// Adds the newest flush and forgets the oldest ones, and the newest only where it would take a
    /// quarter of all memory: nothing would be written any more that could push it out.
    pub(super) fn remember(&mut self, flushed: Flushed) {
        self.flush_number = flushed.number;
        self.recent_bytes += flushed.bytes();
        self.recent.push_back(Arc::new(flushed));
        let memory = self.memory_bytes_max;
        while self.recent.len() > FLUSHES_MAX
            || (self.recent_bytes > BYTES_MAX.min(memory / 8) && self.recent.len() > 1)
            || (self.recent_bytes > memory / 4)
        {
            if let Some(old) = self.recent.pop_front() {
                self.recent_bytes -= old.bytes();
            }
        }
    }

    /// Forgets all of them, and one more that never was: whoever follows has to catch up.
    pub(super) fn forget_recent(&mut self) {
        self.recent.clear();
        self.recent_bytes = 0;
        self.flush_number = self.flush_number.next();
    }

    /// One of the recent flushes.
    pub(super) fn recall(&self, number: FlushNumber) -> Option<Arc<Flushed>> {
        let first = self.recent.front()?.number;
        let place = usize::try_from(number.0.checked_sub(first.0)?).ok()?;
        self.recent
            .get(place)
            .filter(|flushed| flushed.number == number)
            .cloned()
    }
}
