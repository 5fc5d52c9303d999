//! `CLIENT PAUSE`: clients' commands wait, while everything else goes on.

use std::sync::atomic::{AtomicU64, Ordering};

/// Until when clients wait, in milliseconds since 1970, twice; and one if those that only read do
/// not. Read before each command, under the grid's lock.
#[derive(Debug, Default)]
pub(super) struct Pause(AtomicU64);

impl Pause {
    /// Holds up writes, or reads too, until that time; instead of what was said before.
    pub(super) fn set(&self, until_ms: u64, writes_only: bool) {
        let word = until_ms.min(u64::MAX >> 1) << 1 | u64::from(writes_only);
        self.0.store(word, Ordering::Relaxed);
    }

    /// Lets everybody go on.
    pub(super) fn end(&self) {
        self.set(0, false);
    }

    pub(super) fn is_on(&self, now_ms: u64) -> bool {
        self.0.load(Ordering::Relaxed) >> 1 > now_ms
    }

    /// Whether reads go on.
    pub(super) fn writes_only(&self) -> bool {
        self.0.load(Ordering::Relaxed) & 1 == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_ends_by_itself_or_when_told() {
        let pause = Pause::default();
        assert!(!pause.is_on(0));
        pause.set(5, true);
        assert!(pause.is_on(4) && pause.writes_only() && !pause.is_on(5));
        pause.set(u64::MAX, false);
        assert!(pause.is_on(1 << 62) && !pause.writes_only());
        pause.end();
        assert!(!pause.is_on(0));
    }
}
