//! One direction's history in memory: an append-only log of bytes by position.

use std::collections::{BTreeMap, VecDeque};

use super::{Extent, Position};

/// Granularity of memory: the log grows and is evicted by segments.
const SEGMENT_BYTES: usize = 1 << 20;

/// The bytes of one direction of a link.
///
/// The contiguous part, `oldest..tail`, lies in fixed-size segments so that a position finds its
/// bytes by division. At a receiver, what arrives before its predecessors stands `ahead` until the
/// gap closes.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// Position of the first byte of the first segment: a multiple of the segment's size.
    base: Position,
    oldest: Position,
    tail: Position,
    segments: VecDeque<Vec<u8>>,
    ahead: BTreeMap<Position, Vec<u8>>,
    ahead_bytes: usize,
}

/// Why bytes of history can't be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Absent {
    /// Before the oldest byte kept.
    Evicted,
    /// In a gap, or past the end: still in flight.
    InFlight,
}

/// The peer appends where something else already stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Overlap;

impl Ledger {
    pub(crate) fn oldest(&self) -> Position {
        self.oldest
    }

    /// End of the contiguous part.
    pub(crate) fn tail(&self) -> Position {
        self.tail
    }

    /// Bytes of memory held.
    pub(crate) fn memory_bytes(&self) -> u64 {
        let segments = self.segments.iter().map(Vec::capacity).sum::<usize>();
        (segments + self.ahead_bytes) as u64
    }

    /// Appends at the tail.
    pub(crate) fn append(&mut self, mut bytes: &[u8]) -> Position {
        let at = self.tail;
        while !bytes.is_empty() {
            let room = SEGMENT_BYTES - self.tail.since(self.base) % SEGMENT_BYTES;
            if room == SEGMENT_BYTES || self.segments.is_empty() {
                self.open_segment();
            }
            let (now, rest) = bytes.split_at(room.min(bytes.len()));
            if let Some(segment) = self.segments.back_mut() {
                segment.extend_from_slice(now);
            }
            self.tail = self.tail.after(now.len());
            bytes = rest;
        }
        at
    }

    fn open_segment(&mut self) {
        if self.segments.is_empty() {
            let offset = self.tail.0 % SEGMENT_BYTES as u64;
            self.base = Position(self.tail.0 - offset);
            // Positions below the tail in this segment are gone; zeros keep the division true.
            self.segments.push_back(vec![0; offset as usize]);
            self.oldest = self.oldest.max(self.tail);
        } else {
            self.segments.push_back(Vec::new());
        }
    }

    /// Puts `bytes` at a position the sender assigned, which may lie ahead of the tail.
    pub(crate) fn insert(&mut self, at: Position, bytes: &[u8]) -> Result<(), Overlap> {
        if at < self.tail {
            return self.confirm(at, bytes);
        }
        if bytes.is_empty() {
            return Ok(());
        }
        if at == self.tail {
            if self
                .ahead
                .first_key_value()
                .is_some_and(|(next, _)| *next < at.after(bytes.len()))
            {
                return Err(Overlap);
            }
            self.append(bytes);
            self.close_gap();
            return Ok(());
        }
        let end = at.after(bytes.len());
        let before = self.ahead.range(..end).next_back();
        match before {
            Some((start, held)) if *start == at && held == bytes => Ok(()),
            Some((start, held)) if start.after(held.len()) > at => Err(Overlap),
            Some(_) | None => {
                self.ahead_bytes += bytes.len();
                self.ahead.insert(at, bytes.to_vec());
                Ok(())
            }
        }
    }

    /// A batch sent again appends what is there already, and only that.
    fn confirm(&self, at: Position, bytes: &[u8]) -> Result<(), Overlap> {
        let mut held = Vec::new();
        match self.read(
            Extent {
                at,
                len: bytes.len(),
            },
            &mut held,
        ) {
            Ok(()) if held == bytes => Ok(()),
            Err(Absent::Evicted) => Ok(()),
            Ok(()) | Err(Absent::InFlight) => Err(Overlap),
        }
    }

    fn close_gap(&mut self) {
        while let Some(entry) = self.ahead.first_entry() {
            if *entry.key() != self.tail {
                return;
            }
            let bytes = entry.remove();
            self.ahead_bytes -= bytes.len();
            self.append(&bytes);
        }
    }

    /// The bytes from `at` to the end of its segment; empty outside the contiguous part.
    pub(crate) fn following(&self, at: Position) -> &[u8] {
        if at < self.oldest || at >= self.tail {
            return &[];
        }
        let offset = at.since(self.base);
        let segment = self.segments.get(offset / SEGMENT_BYTES);
        segment
            .and_then(|bytes| bytes.get(offset % SEGMENT_BYTES..))
            .unwrap_or(&[])
    }

    /// The bytes of one segment that end just before `at`; empty outside the contiguous part.
    pub(crate) fn preceding(&self, at: Position) -> &[u8] {
        if at <= self.oldest || at > self.tail {
            return &[];
        }
        let last = at.before(1).since(self.base);
        let begin = self.oldest.since(Position(
            self.base.0 + (last / SEGMENT_BYTES * SEGMENT_BYTES) as u64,
        ));
        let segment = self.segments.get(last / SEGMENT_BYTES);
        segment
            .and_then(|bytes| bytes.get(begin..=last % SEGMENT_BYTES))
            .unwrap_or(&[])
    }

    /// Appends the extent's bytes to `out`; on an error `out` may have grown.
    pub(crate) fn read(&self, extent: Extent, out: &mut Vec<u8>) -> Result<(), Absent> {
        let (mut at, end) = (extent.at, extent.end());
        if extent.len == 0 {
            return Ok(());
        }
        if at < self.oldest {
            return Err(Absent::Evicted);
        }
        while at < end {
            let held = if at < self.tail {
                self.following(at)
            } else {
                self.following_ahead(at)
            };
            let take = held.len().min(end.since(at));
            if take == 0 {
                return Err(Absent::InFlight);
            }
            out.extend_from_slice(&held[..take]);
            at = at.after(take);
        }
        Ok(())
    }

    fn following_ahead(&self, at: Position) -> &[u8] {
        let before = self.ahead.range(..=at).next_back();
        before
            .and_then(|(start, bytes)| bytes.get(at.since(*start)..))
            .unwrap_or(&[])
    }

    /// Lets go of everything below `floor`.
    pub(crate) fn evict_below(&mut self, floor: Position) {
        self.oldest = self.oldest.max(floor.min(self.tail));
        while self.segments.len() > 1 && self.oldest.since(self.base) >= SEGMENT_BYTES {
            self.segments.pop_front();
            self.base = self.base.after(SEGMENT_BYTES);
        }
    }

    /// Evicts the oldest until at most `bytes_max` of memory are held, whatever the sender thinks.
    pub(crate) fn shrink_to(&mut self, bytes_max: u64) {
        let over = self
            .memory_bytes()
            .saturating_sub(bytes_max)
            .div_ceil(SEGMENT_BYTES as u64);
        if over > 0 {
            let floor = self.base.after(over as usize * SEGMENT_BYTES);
            self.evict_below(floor);
        }
    }

    /// Cuts back to `tail`, as the handshake after a broken connection asks.
    pub(crate) fn truncate(&mut self, tail: Position) {
        self.ahead.clear();
        self.ahead_bytes = 0;
        if tail >= self.tail {
            return;
        }
        self.tail = tail;
        self.oldest = self.oldest.min(tail);
        if tail <= self.base {
            self.segments.clear();
            self.oldest = tail;
            return;
        }
        let keep = tail.since(self.base);
        self.segments.truncate(keep.div_ceil(SEGMENT_BYTES));
        if let Some(last) = self.segments.back_mut() {
            last.truncate((keep - 1) % SEGMENT_BYTES + 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes(at: u64, len: usize) -> Vec<u8> {
        (at..at + len as u64)
            .map(|p| (p * 31 % 251) as u8)
            .collect()
    }

    fn check(ledger: &Ledger, from: u64, to: u64) {
        let extent = Extent {
            at: Position(from),
            len: (to - from) as usize,
        };
        let mut out = Vec::new();
        assert_eq!(ledger.read(extent, &mut out), Ok(()));
        assert_eq!(out, bytes(from, extent.len));
    }

    #[test]
    fn appends_evicts_and_truncates() {
        let mut ledger = Ledger::default();
        ledger.append(&bytes(0, 5 << 20));
        check(&ledger, 0, 5 << 20);
        ledger.evict_below(Position(2_500_000));
        check(&ledger, 2_500_000, 5 << 20);
        assert!(ledger.memory_bytes() < 4 << 20);
        let gone = Extent {
            at: Position(2_499_999),
            len: 1,
        };
        assert_eq!(ledger.read(gone, &mut Vec::new()), Err(Absent::Evicted));
        assert!(ledger.preceding(Position(2_500_000)).is_empty());
        assert_eq!(ledger.preceding(Position(2_500_002)), bytes(2_500_000, 2));
        ledger.truncate(Position(3 << 20));
        check(&ledger, 2_500_000, 3 << 20);
        ledger.append(&bytes(3 << 20, 100));
        check(&ledger, 2_500_000, (3 << 20) + 100);
        ledger.truncate(Position(100));
        ledger.append(&bytes(100, 100));
        check(&ledger, 100, 200);
    }

    #[test]
    fn overlaps_are_refused_and_repeats_are_not() {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.insert(Position(10), &bytes(10, 10)), Ok(()));
        assert_eq!(ledger.insert(Position(10), &bytes(10, 10)), Ok(()));
        assert_eq!(ledger.insert(Position(5), &bytes(5, 6)), Err(Overlap));
        assert_eq!(ledger.insert(Position(0), &bytes(0, 11)), Err(Overlap));
        assert_eq!(ledger.insert(Position(0), &bytes(0, 10)), Ok(()));
        assert_eq!(ledger.tail(), Position(20));
        assert_eq!(ledger.insert(Position(3), &bytes(3, 9)), Ok(()));
        assert_eq!(ledger.insert(Position(3), &bytes(4, 9)), Err(Overlap));
    }

    proptest! {
        #[test]
        fn any_order_of_arrival_gives_the_same_log(lens in prop::collection::vec(1usize..300_000, 1..12), seed in any::<u64>()) {
            let mut starts: Vec<(u64, usize)> = lens.iter().scan(0, |at, &len| {
                let start = *at;
                *at += len as u64;
                Some((start, len))
            }).collect();
            let end = starts.last().map_or(0, |(at, len)| at + *len as u64);
            starts.sort_by_key(|(at, _)| blake3::hash(&(at ^ seed).to_le_bytes()).as_bytes()[0]);
            let mut ledger = Ledger::default();
            for (at, len) in starts {
                prop_assert_eq!(ledger.insert(Position(at), &bytes(at, len)), Ok(()));
                check(&ledger, at, at + len as u64);
            }
            prop_assert_eq!(ledger.tail(), Position(end));
            check(&ledger, 0, end);
        }
    }
}
