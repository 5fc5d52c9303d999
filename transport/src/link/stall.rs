//! Notices a peer that takes what it is sent and acknowledges none of it.

use std::time::{Duration, Instant};

/// How long no batch was acknowledged while some waited for it.
#[derive(Debug)]
pub(super) struct Stall {
    /// How long is too long.
    after: Duration,
    acked: u64,
    since: Instant,
    is_told: bool,
}

impl Stall {
    pub(super) fn new(after: Duration, now: Instant) -> Self {
        Self {
            after,
            acked: 0,
            since: now,
            is_told: false,
        }
    }

    /// Batches that were acknowledged so far, and that are not. True once in each stall.
    pub(super) fn poll(&mut self, now: Instant, acked: u64, unacked: u64) -> bool {
        if unacked == 0 || acked != self.acked {
            *self = Self {
                acked,
                ..Self::new(self.after, now)
            };
        }
        let is_due = !self.is_told && now.saturating_duration_since(self.since) >= self.after;
        self.is_told |= is_due;
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stall_is_told_once() {
        let start = Instant::now();
        let mut stall = Stall::new(Duration::from_secs(60), start);
        let at = |s| start + Duration::from_secs(s);
        for s in 0..60 {
            assert!(!stall.poll(at(s), 0, 3), "{s}");
        }
        assert!(stall.poll(at(60), 0, 3));
        assert!(!stall.poll(at(200), 0, 3));
        // One acknowledgement, and it has not stalled.
        assert!(!stall.poll(at(201), 1, 2));
        assert!(!stall.poll(at(260), 1, 2));
        assert!(stall.poll(at(261), 1, 2));
        // With nothing under way there is nothing to acknowledge.
        assert!(!stall.poll(at(262), 3, 0));
        assert!(!stall.poll(at(1000), 3, 0));
        assert!(!stall.poll(at(1001), 3, 1));
        assert!(!stall.poll(at(1059), 3, 1));
        assert!(stall.poll(at(1060), 3, 1));
    }
}
