//! How long what is in memory has not been on disk: the window of loss of what was confirmed from
//! memory. While it is too long, such writes are confirmed only once they are on disk.

use std::time::{Duration, Instant};

/// When the oldest changes were made that are not on disk.
#[derive(Debug)]
pub(super) struct Unwritten {
    /// Of those that no flush has taken.
    changed: Option<Instant>,
    /// Of those that one has.
    taken: Option<Instant>,
    /// The longest that a write may be confirmed and not on disk.
    window: Duration,
}

impl Unwritten {
    pub(super) fn new(window: Duration) -> Self {
        Self {
            changed: None,
            taken: None,
            window,
        }
    }

    /// Something has changed.
    pub(super) fn note_change(&mut self) {
        if self.changed.is_none() {
            self.changed = Some(Instant::now());
        }
    }

    /// A flush takes all that has changed.
    pub(super) fn take(&mut self) {
        let changed = self.changed.take();
        // After a flush that failed the older ones are still to be written.
        self.taken = self.taken.or(changed);
    }

    /// All that was taken is on disk.
    pub(super) fn settle(&mut self) {
        self.taken = None;
    }

    /// Age of the oldest change that is not on disk; 0 if all is.
    pub(super) fn age(&self) -> Duration {
        let oldest = self.taken.or(self.changed);
        oldest.map_or(Duration::ZERO, |oldest| oldest.elapsed())
    }

    /// Whether that is more than may be lost.
    pub(super) fn is_late(&self) -> bool {
        self.age() > self.window
    }
}
