//! How far back in its own stream a fresh batch is compressed against.
//!
//! Sources and programs go on referring to what stood a megabyte before. Records do not: there a far
//! window costs a fifth of the time of compressing to enter in zstd's tables, and even 1 to 3 % of
//! the bytes, for what is entered displaces what is near. So it is tried on a piece of a batch now
//! and then, and left away while it makes that larger.

use super::EncodeStats;
use super::draft::Draft;
use crate::wire::{Compressor, body};

/// As far as every batch looks.
pub(super) const NEAR_BYTES: usize = 128 << 10;
/// What is tried: the first bytes of a batch, which gain the most, but so many that zstd takes the
/// same tables for them with either window.
const TRIED_BYTES: usize = 208 << 10;
/// The cheapest level at which sources and programs gain by the far window while records lose.
const TRIED_LEVEL: i32 = 2;
/// A window that is not this much longer is not tried.
const FAR_BYTES_MIN: usize = 4 * NEAR_BYTES;
/// The far window goes when what is tried is larger with it by more than this part.
const LOSS: usize = 200;
/// Batches until it is tried again, if they compress alike.
const TRIED_AGAIN: u32 = 32;
/// Batches compress alike that shrink to the same part of themselves, give or take this.
const ALIKE: f64 = 0.1;

/// Whether the batches of a stream look far, and for how long that is settled.
#[derive(Debug, Default)]
pub(crate) struct Reach {
    near: bool,
    /// What the last trial said: two that agree settle it.
    last: Option<bool>,
    /// Batches for which it is settled.
    settled: u32,
    /// What the first of them shrank to.
    shrank_to: Option<f64>,
}

impl Reach {
    /// Most bytes of the stream's tail that the next batch is compressed against.
    pub(super) fn bytes(&self) -> usize {
        match self.near && self.settled > 0 {
            true => NEAR_BYTES,
            false => usize::MAX,
        }
    }

    /// Tries what the far part of the tail is worth to a fresh batch, unless that is settled.
    pub(super) fn settle(&mut self, draft: &Draft<'_>, compressor: &mut Compressor) {
        let fresh = draft.plan.runs.is_empty() && draft.literals().len() >= TRIED_BYTES;
        if self.settled > 0 || !fresh || draft.prefix_len < FAR_BYTES_MIN {
            return;
        }
        let end = draft.prefix_len + TRIED_BYTES;
        let mut tried = |window: usize| {
            let piece = &draft.body[draft.prefix_len - window..end];
            let frame = body::compress(compressor, piece, window, TRIED_LEVEL);
            frame.map_or(TRIED_BYTES, <[u8]>::len)
        };
        let near = tried(NEAR_BYTES);
        let loses = near + near / LOSS < tried(draft.prefix_len);
        if self.last.replace(loses) == Some(loses) {
            (self.near, self.settled, self.shrank_to) = (loses, TRIED_AGAIN, None);
        }
    }

    /// Counts a batch that was compressed; one that shrank otherwise than those before unsettles.
    pub(super) fn met(&mut self, stats: EncodeStats) {
        if stats.literal_bytes < TRIED_BYTES as u64 || stats.level == 0 {
            return;
        }
        let shrank_to = stats.wire_bytes as f64 / stats.literal_bytes as f64;
        let first = *self.shrank_to.get_or_insert(shrank_to);
        self.settled = match (shrank_to / first - 1.0).abs() <= ALIKE {
            true => self.settled.saturating_sub(1),
            false => 0,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Position;
    use crate::noise::noise;
    use crate::wire::plan::Plan;

    /// Whether batches that go on from `window` look far after two of them.
    fn looks_far(reach: &mut Reach, window: &[u8], batch: &[u8]) -> bool {
        let draft = Draft {
            start: Position(0),
            plan: Plan::default(),
            named: Vec::new(),
            body: &[window, batch].concat(),
            prefix_len: window.len(),
            sources: Vec::new(),
        };
        let mut compressor = Compressor::default();
        reach.settle(&draft, &mut compressor);
        reach.settle(&draft, &mut compressor);
        reach.bytes() > NEAR_BYTES
    }

    fn shrank(to: u64) -> EncodeStats {
        EncodeStats {
            literal_bytes: 1 << 20,
            wire_bytes: to << 10,
            level: 3,
            ..EncodeStats::default()
        }
    }

    fn records(numbers: std::ops::Range<u64>) -> Vec<u8> {
        let line = |n: u64| {
            let hash = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let (user, ms) = (hash >> 48, hash >> 32 & 0x3ff);
            format!("{{\"at\":{n},\"user\":{user},\"ms\":{ms},\"id\":\"{hash:016x}\"}}\n")
        };
        numbers.flat_map(|n| line(n).into_bytes()).collect()
    }

    #[test]
    fn records_look_near_and_what_recurs_far_looks_far() {
        let all = records(0..30_000);
        let (window, batch) = all.split_at(1 << 20);
        let mut reach = Reach::default();
        assert!(reach.bytes() > NEAR_BYTES, "before anything is known");
        assert!(!looks_far(&mut reach, window, batch));
        assert!(
            !looks_far(&mut reach, &noise(1, 1 << 20), &noise(1, 1 << 20)),
            "settled"
        );

        let far = noise(2, 1 << 20);
        assert!(looks_far(&mut Reach::default(), &far, &far[..300_000]));
        assert!(
            looks_far(&mut Reach::default(), &window[..NEAR_BYTES], batch),
            "no window to try"
        );
    }

    #[test]
    fn other_batches_unsettle_and_so_does_time() {
        let all = records(0..30_000);
        let (window, batch) = all.split_at(1 << 20);
        for (batches, to) in [(1, 400), (TRIED_AGAIN - 1, 300)] {
            let mut reach = Reach::default();
            assert!(!looks_far(&mut reach, window, batch));
            reach.met(shrank(300));
            for _ in 1..batches {
                assert_eq!(reach.bytes(), NEAR_BYTES);
                reach.met(shrank(310));
            }
            assert_eq!(reach.bytes(), NEAR_BYTES);
            reach.met(shrank(to));
            assert!(reach.bytes() > NEAR_BYTES);
        }
    }
}
