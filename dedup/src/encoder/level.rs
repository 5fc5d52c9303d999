//! How hard to compress.
//!
//! A batch that became references to all but a little leaves time to compress that little hard: the
//! level follows from what there is to compress, so that a batch takes about as long as one of fresh
//! data at the base level would. The base level follows the rate at which the link drains: it rises
//! while compressing is far faster than the link, and falls before it holds the link back.

use std::time::Duration;

use crate::BATCH_BYTES_MAX;

/// How hard to compress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// As hard as the link's drain rate leaves time for.
    Adaptive,
    /// Always this zstd level, 1..=19.
    Fixed(i32),
}

/// For each level about how many bytes a second zstd compresses on a slow core, literals and prefix
/// together; measured on mixed text and code, then halved.
const SPEEDS: [(i32, f64); 7] = [
    (1, 250e6),
    (3, 150e6),
    (6, 60e6),
    (9, 35e6),
    (12, 15e6),
    (15, 8e6),
    (19, 2e6),
];
/// Time that compressing one batch may take whatever the link does: 300 MB/s of repeated data.
const BATCH_TIME_MIN: Duration = Duration::from_millis(3);
/// Compressing longer than this would be felt by what is queued behind.
const BATCH_TIME_MAX: Duration = Duration::from_millis(100);
/// While nothing is known of the link, no batch is compressed at a lower level.
const LEVEL_UNKNOWN: i32 = 3;
/// And a full batch of fresh data may take so long.
const BATCH_TIME_UNKNOWN: Duration = Duration::from_millis(7);
/// Literals shrink to about this part of themselves.
const SHRUNK: f64 = 0.25;

/// Chooses the level of each batch.
#[derive(Debug)]
pub(super) struct Leveller {
    level: Level,
    /// Bytes of literals per second that must be compressed lest the link waits.
    needed_bytes_per_s: Option<f64>,
}

impl Default for Leveller {
    fn default() -> Self {
        Self {
            level: Level::Adaptive,
            needed_bytes_per_s: None,
        }
    }
}

impl Leveller {
    pub(super) fn set(&mut self, level: Level) {
        self.level = match level {
            Level::Adaptive => Level::Adaptive,
            Level::Fixed(level) => Level::Fixed(level.clamp(1, 19)),
        };
    }

    /// The link drains so many bytes of batches a second.
    pub(super) fn handle_drain(&mut self, bytes_per_s: Option<f64>) {
        self.needed_bytes_per_s = bytes_per_s.filter(|rate| rate.is_finite() && *rate >= 0.0);
    }

    /// The level for a batch with `literals` bytes to compress against `prefix` bytes.
    pub(super) fn choose(&self, literals: usize, prefix: usize) -> i32 {
        if let Level::Fixed(level) = self.level {
            return level;
        }
        let draining = self.needed_bytes_per_s.map_or(BATCH_TIME_UNKNOWN, |rate| {
            Duration::try_from_secs_f64(literals as f64 * SHRUNK / rate).unwrap_or(BATCH_TIME_MAX)
        });
        // Unknown, a batch of little else than references is not worth the time of a full one.
        let full = BATCH_BYTES_MAX as f64;
        let known = self.needed_bytes_per_s.is_some();
        let share = if known {
            1.0
        } else {
            (literals as f64 / full).min(1.0)
        };
        let time = draining
            .mul_f64(share)
            .clamp(BATCH_TIME_MIN, BATCH_TIME_MAX)
            .as_secs_f64();
        // A prefix is only entered in the match finder's tables.
        let bytes = literals as f64 + prefix as f64 / 4.0;
        let allowed = SPEEDS
            .into_iter()
            .rev()
            .find(|(_, speed)| bytes / speed <= time);
        let least = if known { 1 } else { LEVEL_UNKNOWN };
        allowed.map_or(least, |(level, _)| level.max(least))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn less_to_compress_is_compressed_harder() {
        let leveller = Leveller::default();
        let levels =
            [1 << 20, 300 << 10, 60 << 10, 8 << 10, 2 << 10].map(|n| leveller.choose(n, 0));
        assert!(levels.is_sorted(), "{levels:?}");
        assert_eq!((levels[0], levels[4]), (3, 19));
    }

    #[test]
    fn a_slow_link_leaves_time_and_a_fast_one_does_not() {
        let mut leveller = Leveller::default();
        let mut level_at = |bytes_per_s| {
            leveller.handle_drain(Some(bytes_per_s));
            leveller.choose(1 << 20, 0)
        };
        assert_eq!(level_at(1e9), 1);
        assert_eq!(level_at(12.5e6), 6);
        assert_eq!(level_at(1e5), 12);
        leveller.set(Level::Fixed(99));
        assert_eq!(leveller.choose(1, 0), 19);
    }
}
