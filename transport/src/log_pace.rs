//! How often one kind of line is logged when somebody else decides how often it happens.

use std::time::{Duration, Instant};

const EVERY: Duration = Duration::from_secs(10);

/// Lets one line of a kind through in ten seconds, and counts the others.
#[derive(Clone, Copy, Debug, Default)]
pub struct LogPace {
    last: Option<Instant>,
    unlogged: u64,
}

impl LogPace {
    /// How many lines went unlogged since the last one, if one may be written now.
    pub fn is_due(&mut self, now: Instant) -> Option<u64> {
        if self.last.is_some_and(|last| now < last + EVERY) {
            self.unlogged += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.unlogged))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_in_ten_seconds() {
        let mut pace = LogPace::default();
        let start = Instant::now();
        assert_eq!(pace.is_due(start), Some(0));
        for ms in 1..100 {
            assert_eq!(pace.is_due(start + Duration::from_millis(ms)), None);
        }
        assert_eq!(pace.is_due(start + EVERY), Some(99));
    }
}
