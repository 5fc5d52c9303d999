//! One direction's history: an append-only log of bytes by position, the newest in memory and all
//! of it on disk, where there is one.

mod ahead;
mod held;

use std::cell::Cell;
use std::collections::VecDeque;

use self::ahead::Ahead;
pub(crate) use self::ahead::Overlap;
pub(crate) use self::held::{Absent, Held};
use super::cold::Cold;
use super::disk::Disk;
use super::{ChunkNote, Extent, HistoryEvent, HistoryId, Position};
use crate::budget::Share;

/// Granularity of memory: the log grows and is evicted by blocks.
pub(super) const BLOCK_BYTES: usize = 1 << 20;
/// History is written to disk in stretches of this size, aligned.
pub(super) const WRITE_BYTES: u64 = 64 << 10;
/// A disk that is full or failing is tried again each time that so much was appended.
const RETRY_BYTES: usize = 16 << 20;
/// So many of the newest blocks are looked at by every stream that is sent; using them is no sign
/// that they will be used again.
const BLOCKS_FRESH: usize = 2;
/// This part of the memory is for what arrives ahead of a gap.
const AHEAD_PART: u64 = 4;

/// The bytes of one direction of a link.
///
/// The contiguous part, `oldest..tail`, lies in fixed-size blocks so that a position finds its bytes
/// by division. The newest blocks are in memory, `hot..tail`; older ones are read from disk, if
/// there is one. At a receiver, what arrives before its predecessors stands `ahead` until the gap
/// closes.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    identity: Option<(HistoryId, u64)>,
    /// Position of the first byte of the first block in memory: a multiple of the block's size.
    base: Position,
    /// From here on history is in memory; `base`, unless the disk could not give back all of the
    /// first block.
    hot: Position,
    oldest: Position,
    tail: Position,
    blocks: VecDeque<Block>,
    ahead: Ahead,
    bytes_max: u64,
    cold: Option<Cold>,
    /// What is below is on disk.
    written: Position,
    /// Before this much, a failing disk is not tried again.
    retry: Position,
}

#[derive(Debug, Default)]
struct Block {
    bytes: Vec<u8>,
    /// It was used when it was no longer fresh.
    used: Cell<bool>,
}

impl Ledger {
    /// A history in memory only.
    pub(crate) fn in_memory(share: Share) -> Self {
        let mut ledger = Self::default();
        ledger.bytes_max = share.memory_bytes_max;
        ledger.ahead = Ahead::with_room((share.memory_bytes_max / AHEAD_PART) as usize);
        ledger
    }

    /// The history on `disk`, the newest and the most used of it in memory.
    pub(crate) fn on_disk(disk: Disk, share: Share) -> Self {
        let (oldest, tail, identity) = (disk.oldest(), disk.tail(), disk.identity());
        let mut ledger = Self::in_memory(share);
        ledger.bytes_max = share.history_bytes_max;
        ledger.identity = (tail > oldest).then_some(identity);
        (ledger.oldest, ledger.tail, ledger.written) = (oldest, tail, tail);
        let memory_bytes_max = share.memory_bytes_max - share.memory_bytes_max / AHEAD_PART;
        ledger.cold = Some(Cold::new(disk, memory_bytes_max));
        ledger.warm_tail();
        ledger
    }

    /// The history's identity and epoch; `None` while there is none.
    pub(crate) fn identity(&self) -> Option<(HistoryId, u64)> {
        self.identity
    }

    pub(crate) fn oldest(&self) -> Position {
        self.oldest
    }

    /// End of the contiguous part.
    pub(crate) fn tail(&self) -> Position {
        self.tail
    }

    /// Most bytes of history that are to be held.
    pub(crate) fn bytes_max(&self) -> u64 {
        self.bytes_max
    }

    /// Whether `len` bytes at `at` would be more than may be held ahead of a gap.
    pub(crate) fn is_too_far_ahead(&self, at: Position, len: usize) -> bool {
        at > self.tail && !self.ahead.has_room(len)
    }

    /// Bytes of history held, wherever.
    pub(crate) fn held_bytes(&self) -> u64 {
        (self.tail.since(self.oldest) + self.ahead.bytes()) as u64
    }

    /// Bytes of history in memory.
    pub(crate) fn memory_bytes(&self) -> u64 {
        let cached = self.cold.as_ref().map_or(0, Cold::cached_bytes);
        (self.blocks.len() * BLOCK_BYTES + self.ahead.bytes() + cached) as u64
    }

    /// Bytes of the files on disk.
    pub(crate) fn disk_bytes(&self) -> u64 {
        self.cold.as_ref().map_or(0, |cold| cold.disk.bytes())
    }

    /// Records that were found damaged since the start.
    pub(crate) fn quarantined(&self) -> u64 {
        self.cold.as_ref().map_or(0, |cold| cold.disk.quarantined())
    }

    /// Whether the history should be on disk, and is in memory only because the disk fails.
    pub(crate) fn is_unwritable(&self) -> bool {
        self.cold
            .as_ref()
            .is_some_and(|cold| cold.disk.has_failed())
    }

    /// What befell the disk.
    pub(crate) fn poll_event(&mut self) -> Option<HistoryEvent> {
        self.cold.as_mut()?.disk.poll_event()
    }

    /// Visits the chunks that the disk knows, and returns the stretches whose chunks it does not.
    pub(crate) fn visit_chunks(&self, visit: impl FnMut(ChunkNote)) -> Vec<Extent> {
        let cold = self.cold.as_ref();
        cold.map_or_else(Vec::new, |cold| cold.disk.visit_chunks(visit))
    }

    /// Remembers a chunk for the next start.
    pub(crate) fn note(&mut self, chunk: ChunkNote) {
        if let Some(cold) = &mut self.cold {
            cold.disk.note(chunk);
        }
    }

    /// Begins a new history at position 0.
    pub(crate) fn reset(&mut self, id: HistoryId, epoch: u64) {
        let mut cold = self.cold.take();
        if let Some(cold) = &mut cold {
            cold.forget();
            cold.disk.reset(id, epoch);
        }
        let mut fresh = Self::default();
        (fresh.bytes_max, fresh.ahead) = (self.bytes_max, self.ahead.emptied());
        (fresh.identity, fresh.cold) = (Some((id, epoch)), cold);
        *self = fresh;
    }

    /// Goes on with the same bytes up to `fork` under a new epoch.
    pub(crate) fn fork(&mut self, epoch: u64, fork: Position) {
        self.truncate(fork);
        if let Some((id, _)) = self.identity {
            self.identity = Some((id, epoch));
        }
        if let Some(cold) = &mut self.cold {
            cold.disk.set_epoch(epoch);
        }
    }

    /// Appends at the tail.
    pub(crate) fn append(&mut self, mut bytes: &[u8]) -> Position {
        let at = self.tail;
        while !bytes.is_empty() {
            let room = BLOCK_BYTES - self.tail.since(self.base) % BLOCK_BYTES;
            if room == BLOCK_BYTES || self.blocks.is_empty() {
                self.open_block();
            }
            let (now, rest) = bytes.split_at(room.min(bytes.len()));
            if let Some(block) = self.blocks.back_mut() {
                block.bytes.extend_from_slice(now);
            }
            self.tail = self.tail.after(now.len());
            bytes = rest;
        }
        self.write_down(Position(self.tail.0 - self.tail.0 % WRITE_BYTES));
        at
    }

    fn open_block(&mut self) {
        if self.blocks.is_empty() {
            (self.base, self.hot) = (self.tail, self.tail);
        }
        self.blocks.push_back(Block::default());
    }

    /// Writes what is in memory to disk, up to `to`, and lets go of the oldest blocks.
    fn write_down(&mut self, to: Position) {
        let Some(mut cold) = self.cold.take() else {
            return;
        };
        while self.written < to {
            let held = self.hot_after(self.written);
            let now = &held[..held.len().min(to.since(self.written))];
            if now.is_empty() || !cold.disk.append(self.written, now) {
                break;
            }
            self.written = self.written.after(now.len());
        }
        while self.blocks.len() > cold.hot_blocks() {
            let begin = self.hot;
            let block = self.pop_block();
            let used = block.filter(|block| block.used.get() && self.base <= self.written);
            if let Some(block) = used.filter(|block| block.bytes.len() == self.base.since(begin)) {
                cold.keep(begin, &block.bytes);
            }
        }
        self.leave_gap(&mut cold);
        self.cold = Some(cold);
    }

    /// Where the disk failed, and memory has let go of what should follow on disk, the disk's part is
    /// no use any more: it is deleted, which may make room, and begun anew.
    fn leave_gap(&mut self, cold: &mut Cold) {
        if self.written >= self.base {
            return;
        }
        self.oldest = self.oldest.max(self.hot);
        if !cold.disk.has_failed() || self.base >= self.retry {
            self.retry = self.base.after(RETRY_BYTES);
            cold.forget();
            cold.disk.clear();
            self.written = self.hot;
        }
    }

    fn pop_block(&mut self) -> Option<Block> {
        let block = self.blocks.pop_front();
        self.base = self.base.after(BLOCK_BYTES);
        self.hot = self.hot.max(self.base);
        block
    }

    /// Writes all that is in memory to disk.
    pub(crate) fn flush(&mut self) {
        self.write_down(self.tail);
    }

    /// Puts `bytes` at a position the sender assigned, which may lie ahead of the tail.
    pub(crate) fn insert(&mut self, at: Position, bytes: &[u8]) -> Result<(), Overlap> {
        if at < self.tail {
            return self.confirm(at, bytes);
        }
        if bytes.is_empty() {
            return Ok(());
        }
        if at > self.tail {
            return self.ahead.insert(at, bytes);
        }
        if self.ahead.begins_before(at.after(bytes.len())) {
            return Err(Overlap);
        }
        self.append(bytes);
        while let Some(bytes) = self.ahead.take(self.tail) {
            self.append(&bytes);
        }
        Ok(())
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

    /// The bytes from `at` to the end of its block or stretch; empty outside the contiguous part, and where the
    /// disk can't be read.
    pub(crate) fn following(&self, at: Position) -> Held<'_> {
        if at < self.oldest || at >= self.tail {
            return Held::Hot(&[]);
        }
        if at < self.hot {
            return self
                .cold_stretch(at)
                .map_or(Held::Hot(&[]), |(begin, stretch)| {
                    Held::Cold(stretch.slice(stretch.len().min(at.since(begin))..))
                });
        }
        self.touch(at);
        Held::Hot(self.hot_after(at))
    }

    /// Remembers that a block in memory was used.
    fn touch(&self, at: Position) {
        let index = at.since(self.base) / BLOCK_BYTES;
        let block = self
            .blocks
            .get(index)
            .filter(|_| index + BLOCKS_FRESH < self.blocks.len());
        if let Some(block) = block {
            block.used.set(true);
        }
    }

    fn hot_after(&self, at: Position) -> &[u8] {
        let offset = at.since(self.base);
        let block = self.blocks.get(offset / BLOCK_BYTES);
        block
            .and_then(|block| block.bytes.get(offset % BLOCK_BYTES..))
            .unwrap_or(&[])
    }

    /// The bytes of one block or stretch that end just before `at`; empty outside the contiguous part.
    pub(crate) fn preceding(&self, at: Position) -> Held<'_> {
        if at <= self.oldest || at > self.tail {
            return Held::Hot(&[]);
        }
        let last = at.before(1);
        if last < self.hot {
            return self
                .cold_stretch(last)
                .map_or(Held::Hot(&[]), |(begin, stretch)| {
                    Held::Cold(stretch.slice(..stretch.len().min(at.since(begin))))
                });
        }
        self.touch(last);
        let last = last.since(self.base);
        let block_base = self.base.after(last / BLOCK_BYTES * BLOCK_BYTES);
        let begin = self.oldest.max(self.hot).since(block_base);
        let block = self.blocks.get(last / BLOCK_BYTES);
        Held::Hot(
            block
                .and_then(|block| block.bytes.get(begin..=last % BLOCK_BYTES))
                .unwrap_or(&[]),
        )
    }

    /// The stretch on disk in which `at` lies, and where what is held of it begins.
    fn cold_stretch(&self, at: Position) -> Option<(Position, bytes::Bytes)> {
        let begin = Position(at.0 - at.0 % WRITE_BYTES);
        let end = Position(begin.0 + WRITE_BYTES).min(self.written);
        let begin = begin.max(self.oldest);
        let stretch = self.cold.as_ref()?.stretch(begin, end);
        Some((begin, stretch))
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
            let within = at < self.tail;
            let held = if within {
                self.following(at)
            } else {
                Held::Hot(self.ahead.following(at))
            };
            let take = held.len().min(end.since(at));
            if take == 0 {
                return Err(if within {
                    Absent::Evicted
                } else {
                    Absent::InFlight
                });
            }
            out.extend_from_slice(&held[..take]);
            at = at.after(take);
        }
        Ok(())
    }

    /// Lets go of everything below `floor`.
    pub(crate) fn evict_below(&mut self, floor: Position) {
        self.oldest = self.oldest.max(floor.min(self.tail));
        while self.blocks.len() > 1 && self.oldest.since(self.base) >= BLOCK_BYTES {
            self.pop_block();
        }
        if let Some(cold) = &mut self.cold {
            cold.disk.evict_below(self.oldest);
        }
    }

    /// Evicts the oldest until no more is held than may be, whatever the sender thinks.
    pub(crate) fn shrink(&mut self) {
        let over = self.held_bytes().saturating_sub(self.bytes_max);
        if over > 0 {
            self.evict_below(Position(self.oldest.0.saturating_add(over)));
        }
    }

    /// Cuts back to `tail`, as the handshake after a broken connection asks.
    pub(crate) fn truncate(&mut self, tail: Position) {
        self.ahead = self.ahead.emptied();
        if tail >= self.tail {
            return;
        }
        self.tail = tail;
        self.oldest = self.oldest.min(tail);
        self.hot = self.hot.min(tail);
        if tail > self.base {
            let keep = tail.since(self.base);
            self.blocks.truncate(keep.div_ceil(BLOCK_BYTES));
            if let Some(last) = self.blocks.back_mut() {
                last.bytes.truncate((keep - 1) % BLOCK_BYTES + 1);
            }
        } else {
            self.blocks.clear();
            self.warm_tail();
        }
        if let Some(mut cold) = self.cold.take() {
            cold.forget();
            // Where the record that is cut off can't be read, zeros take its place: a batch that
            // refers to them fails its digest.
            self.written = self.written.min(cold.disk.truncate(tail));
            self.leave_gap(&mut cold);
            self.cold = Some(cold);
        }
    }

    /// Brings the block in which the tail lies into memory, where it is appended to: as much of its
    /// end as the disk gives back. The rest is read from disk like all that is older.
    fn warm_tail(&mut self) {
        self.base = Position(self.tail.0 - self.tail.0 % BLOCK_BYTES as u64);
        self.hot = self.tail;
        if self.cold.is_none() {
            self.oldest = self.tail;
        }
        if self.base == self.tail {
            return;
        }
        let mut block = vec![0; self.tail.since(self.base)];
        // What was evicted too: a stretch that was cut is written anew, whole.
        let oldest = self
            .cold
            .as_ref()
            .map_or(self.hot, |cold| cold.disk.oldest());
        let begin = self.base.max(oldest);
        while let Some(cold) = self.cold.as_ref().filter(|_| self.hot > begin) {
            let from = Position((self.hot.0 - 1) / WRITE_BYTES * WRITE_BYTES).max(begin);
            let mut stretch = Vec::new();
            if !cold.disk.read(from, self.hot, &mut stretch) {
                break;
            }
            let offset = from.since(self.base);
            block[offset..offset + stretch.len()].copy_from_slice(&stretch);
            self.hot = from;
        }
        // What was not read is zeros: they keep the division true.
        self.blocks.push_back(Block {
            bytes: block,
            used: Cell::new(false),
        });
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        self.flush();
    }
}

#[cfg(test)]
mod tests;
