//! Lines of the log that a peer can cause: of each kind one in ten seconds, however often the peer links anew.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use strait_transport::LogPace;

/// The kind of a line.
#[derive(Clone, Copy, Debug)]
pub(super) enum About {
    /// A stream that this release does not know.
    Stream,
    /// A message of a comparison that cannot be read.
    Comparing,
    /// Positions that cannot be read.
    Positions,
    /// Records that are not taken.
    Records,
    /// Entries that are missing before what the peer sent.
    Gap,
    /// Records that wait for our disk or memory.
    Waiting,
    /// What the peer does not take of ours.
    NotTaken,
    /// What the peer lacks of ours.
    Lacking,
    /// Counters that our journal lost.
    Lost,
    /// Records of a comparison that are not merged.
    NotMerged,
    /// Stretches of logs that differ.
    Differing,
    /// Stretches of logs that are not mended.
    NotMended,
}

/// Of one link.
#[derive(Debug, Default)]
pub(super) struct Lines([Mutex<LogPace>; About::NotMended as usize + 1]);

impl Lines {
    /// How many lines of this kind went unlogged since the last one, if one may be written now.
    pub(super) fn is_due(&self, about: About) -> Option<u64> {
        self.0[about as usize].lock().is_due(Instant::now())
    }
}

/// Times that a link went down within [`FLAPS_EVERY`] which are all logged.
const FLAPS_MAX: u32 = 8;
const FLAPS_EVERY: Duration = Duration::from_secs(10);

/// Lines about a link that goes up and down. A peer that links anew without rest is not told of each time.
#[derive(Debug, Default)]
pub(super) struct Flaps {
    since: Option<Instant>,
    downs: u32,
    unlogged: u64,
}

impl Flaps {
    /// The link went down: how many times went unlogged before, if this one is to be logged.
    pub(super) fn down(&mut self, now: Instant) -> Option<u64> {
        if self.since.is_none_or(|since| now >= since + FLAPS_EVERY) {
            (self.since, self.downs) = (Some(now), 0);
        }
        self.downs += 1;
        if self.downs > FLAPS_MAX {
            self.unlogged += 1;
            return None;
        }
        Some(std::mem::take(&mut self.unlogged))
    }

    /// Whether the link's coming up is logged: when its last going down was.
    pub(super) fn tells_up(&self) -> bool {
        self.downs <= FLAPS_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_that_flaps_is_told_of_a_few_times() {
        let (mut flaps, start) = (Flaps::default(), Instant::now());
        assert!(flaps.tells_up());
        for _ in 0..FLAPS_MAX {
            assert_eq!(flaps.down(start), Some(0));
            assert!(flaps.tells_up());
        }
        for _ in 0..100 {
            assert_eq!(flaps.down(start), None);
            assert!(!flaps.tells_up());
        }
        assert_eq!(flaps.down(start + FLAPS_EVERY), Some(100));
        assert!(flaps.tells_up());
    }

    #[test]
    fn each_kind_has_a_pace_of_its_own() {
        let lines = Lines::default();
        assert_eq!(lines.is_due(About::Gap), Some(0));
        assert_eq!(lines.is_due(About::Gap), None);
        assert_eq!(lines.is_due(About::NotMended), Some(0));
    }
}
