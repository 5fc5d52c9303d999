//! How hard to compress.
//!
//! A batch may take as long to compress as the link takes to drain what comes of it: the level falls
//! before it holds a fast link back, and rises on a slow one. A batch that became references to all
//! but a little leaves time to compress that little hard; a small one is never worth more than a
//! millisecond or two, and where others wait behind it, not more than its share of their time.

use crate::BATCH_BYTES_MAX;

/// How hard to compress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// As hard as the link's drain rate leaves time for.
    Adaptive,
    /// Always this zstd level, 1..=19.
    Fixed(i32),
}

/// What zstd does on one core at a level, in bytes per second: the slower of source text and JSON.
struct Speed {
    level: i32,
    literals: f64,
    /// Entering the prefix in the match finder's tables; from 11 on those are trees.
    prefix: f64,
}

const fn speed(level: i32, literals: f64, prefix: f64) -> Speed {
    Speed {
        level,
        literals,
        prefix,
    }
}

/// Levels between these cost as much as the next and bring less.
const SPEEDS: [Speed; 9] = [
    speed(1, 450e6, 1500e6),
    speed(3, 200e6, 1300e6),
    speed(4, 150e6, 1000e6),
    speed(7, 50e6, 340e6),
    speed(9, 40e6, 340e6),
    speed(10, 30e6, 340e6),
    speed(12, 18e6, 20e6),
    speed(15, 8e6, 20e6),
    speed(17, 5e6, 18e6),
];
/// Other cores are slower, and other threads run on this one.
const SLACK: f64 = 1.5;
/// What compressing any batch may take, in seconds; more for the little that is new in a full one,
/// of which then 250 MB/s go through.
const BATCH_S: f64 = 3e-3;
const FULL_BATCH_S: f64 = 4e-3;
/// The same where the link is slow: still more than a gigabit network brings.
const FULL_BATCH_SLOW_S: f64 = 7e-3;
/// A link that drains fewer bytes a second is slow.
const SLOW_BYTES_PER_S: f64 = 50e6;
/// Compressing a batch for longer, in seconds, would be felt by what is queued behind.
const BATCH_S_MAX: f64 = 0.1;
/// While nothing is known of the link, no batch is compressed at a lower level.
const LEVEL_UNKNOWN: i32 = 4;
/// Literals shrink to about this part of themselves.
const SHRUNK: f64 = 0.25;

/// A batch to be compressed, in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Task {
    /// All of it.
    pub(super) raw: usize,
    /// What of it is compressed, against `prefix`.
    pub(super) literals: usize,
    pub(super) prefix: usize,
    /// Others wait.
    pub(super) hurried: bool,
}

/// Chooses the level of each batch.
#[derive(Debug)]
pub(super) struct Leveller {
    level: Level,
    /// Bytes of batches that the link drains a second.
    drain_bytes_per_s: Option<f64>,
}

impl Default for Leveller {
    fn default() -> Self {
        Self {
            level: Level::Adaptive,
            drain_bytes_per_s: None,
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
        self.drain_bytes_per_s = bytes_per_s.filter(|rate| rate.is_finite() && *rate > 0.0);
    }

    /// The level for a batch.
    pub(super) fn choose(&self, task: Task) -> i32 {
        if let Level::Fixed(level) = self.level {
            return level;
        }
        let (literals, prefix) = (task.literals as f64, task.prefix as f64);
        let allowed = self.allowed_s(task) / SLACK;
        let cost = |speed: &Speed| literals / speed.literals + prefix / speed.prefix;
        let hardest = SPEEDS.iter().rev().find(|speed| cost(speed) <= allowed);
        let least = match self.drain_bytes_per_s {
            Some(_) => 1,
            None => LEVEL_UNKNOWN,
        };
        hardest.map_or(least, |speed| speed.level.max(least))
    }

    /// How long compressing a batch may take, in seconds.
    fn allowed_s(&self, task: Task) -> f64 {
        let literals = task.literals as f64;
        let (drain, full) = match self.drain_bytes_per_s {
            Some(rate) if rate < SLOW_BYTES_PER_S => (literals * SHRUNK / rate, FULL_BATCH_SLOW_S),
            Some(rate) => (literals * SHRUNK / rate, FULL_BATCH_S),
            None => (0.0, FULL_BATCH_S),
        };
        let share = task.raw as f64 / BATCH_BYTES_MAX as f64;
        let empty = if task.hurried { 0.0 } else { BATCH_S };
        let least = empty + (full - empty) * share;
        drain.max(least).min(BATCH_S_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: usize = 1 << 20;

    fn task(raw: usize, literals: usize, prefix: usize) -> Task {
        Task {
            raw,
            literals,
            prefix,
            hurried: false,
        }
    }

    #[test]
    fn less_to_compress_is_compressed_harder() {
        let leveller = Leveller::default();
        let levels = [FULL, 100 << 10, 30 << 10, 8 << 10, 2 << 10]
            .map(|n| leveller.choose(task(FULL, n, n)));
        assert!(levels.is_sorted(), "{levels:?}");
        assert_eq!((levels[0], levels[4]), (4, 17));
    }

    #[test]
    fn a_slow_link_leaves_time_and_a_fast_one_does_not() {
        let mut leveller = Leveller::default();
        let mut level_at = |bytes_per_s| {
            leveller.handle_drain(Some(bytes_per_s));
            leveller.choose(task(FULL, FULL, FULL))
        };
        let rates = [1e9, 12.5e6, 5e6, 1e6, 12.5e6, 1e9];
        assert_eq!(rates.map(&mut level_at), [1, 4, 9, 10, 4, 1]);
        leveller.set(Level::Fixed(99));
        assert_eq!(leveller.choose(task(1, 1, 0)), 19);
    }

    #[test]
    fn a_small_batch_is_not_worth_a_tree_of_its_prefix() {
        let mut leveller = Leveller::default();
        for rate in [None, Some(12.5e6), Some(1e6)] {
            leveller.handle_drain(rate);
            let level = leveller.choose(task(2 << 10, 2 << 10, 64 << 10));
            assert!((7..=10).contains(&level), "{level} at {rate:?}");
        }
    }

    #[test]
    fn a_small_batch_before_others_takes_its_share_of_the_time() {
        let mut leveller = Leveller::default();
        let small = task(10 << 10, 10 << 10, 0);
        let hurried = Task {
            hurried: true,
            ..small
        };
        for (rate, alone, among_others) in
            [(None, 15, 4), (Some(12.5e6), 15, 4), (Some(1e6), 15, 15)]
        {
            leveller.handle_drain(rate);
            let levels = (leveller.choose(small), leveller.choose(hurried));
            assert_eq!(levels, (alone, among_others), "{rate:?}");
        }
    }
}
