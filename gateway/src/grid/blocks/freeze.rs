//! Blocks that go to the disk, and come back.

use super::super::EntryId;
use super::super::cold::{Absent, Cold};
use super::super::varint::{Malformed, Reader, put};
use super::block::{Block, Body};
use super::{BLOCK_BYTES, Blocks, Span};

/// Blocks of a log that are on disk and in memory too, because commands look into them.
const THAWED_MAX: usize = 4;

/// Entries of a log beside each other: blocks in memory that can go to the disk as one, or one
/// there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::grid) struct Stretch {
    /// Id of the entry before its first: what is missing between two stretches shows.
    pub(in crate::grid) prev: EntryId,
    /// Id of its first entry.
    pub(in crate::grid) first: EntryId,
    /// Id of its last entry.
    pub(in crate::grid) last: EntryId,
    /// Number of its entries.
    pub(in crate::grid) count: u64,
    /// Memory that it takes.
    pub(in crate::grid) bytes_hot: u32,
}

/// Where the entries of a stretch are that is not in memory.
#[derive(Clone, Debug)]
pub(in crate::grid) enum Whereabouts {
    OnDisk(Cold),
    /// Nowhere.
    Lost,
    /// Nowhere, if there are any.
    Doubtful,
}

impl Stretch {
    /// Appends all of it.
    pub(in crate::grid) fn put(&self, out: &mut Vec<u8>) {
        for id in [self.prev, self.first, self.last] {
            id.put(out);
        }
        put(out, self.count);
        put(out, u64::from(self.bytes_hot));
    }

    /// Reads what [`Self::put`] wrote.
    pub(in crate::grid) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let stretch = Self {
            prev: EntryId::read(reader)?,
            first: EntryId::read(reader)?,
            last: EntryId::read(reader)?,
            count: reader.varint()?,
            bytes_hot: u32::try_from(reader.varint()?).map_err(|_| Malformed("too large"))?,
        };
        let rises = stretch.prev < stretch.first && stretch.first <= stretch.last;
        match rises && stretch.count > 0 {
            true => Ok(stretch),
            false => Err(Malformed("ids that do not rise")),
        }
    }
}

impl Blocks {
    /// Memory that is given back when everything in memory but what is written to has gone to
    /// the disk.
    pub(in crate::grid) fn spillable_bytes(&self) -> usize {
        let index = (self.len() + 1) * size_of::<Block>() + BLOCK_BYTES;
        self.bytes.saturating_sub(index)
    }

    /// The oldest blocks in memory above `after`, of at most `bytes_max` together, that are on
    /// disk in the journal (up to `durable`). All of it is trimmed, or nothing.
    pub(in crate::grid) fn stretch(
        &self,
        after: EntryId,
        durable: EntryId,
        trimmed_to: EntryId,
        bytes_max: usize,
    ) -> Option<Stretch> {
        let start = self.hot.partition_point(|block| block.last <= after);
        let prev = self.entry_before(self.old.len() + start);
        // The newest one is written to.
        let end = self.hot.len().saturating_sub(1).max(start);
        let mut blocks = self.hot.range(start..end);
        let first = blocks
            .next()
            .filter(|block| block.last <= durable && !block.is_lost())?;
        let mut stretch = Stretch {
            prev: prev.unwrap_or_default(),
            first: first.first,
            last: first.last,
            count: first.count,
            bytes_hot: first.memory() as u32,
        };
        if first.is_parted_by(trimmed_to) {
            return Some(stretch);
        }
        let mut bytes = first.bytes().map_or(0, <[u8]>::len);
        for block in blocks {
            bytes += block.bytes().map_or(0, <[u8]>::len);
            let alike = (block.last <= trimmed_to) == (first.last <= trimmed_to);
            if block.is_lost()
                || bytes > bytes_max
                || block.last > durable
                || !alike
                || block.is_parted_by(trimmed_to)
            {
                break;
            }
            stretch.last = block.last;
            stretch.count += block.count;
            stretch.bytes_hot += block.memory() as u32;
        }
        Some(stretch)
    }

    /// Keeps blocks from `first` on until they have gone to the disk, or are not to any more.
    pub(in crate::grid) fn pin(&mut self, first: Option<EntryId>) {
        self.pinned = first;
    }

    /// `stretch` is on disk as `cold`: its memory is free, but for a block that `trimmed_to`
    /// parts.
    pub(in crate::grid) fn freeze(&mut self, stretch: &Stretch, cold: Cold, trimmed_to: EntryId) {
        let count = self.hot.partition_point(|block| block.last <= stretch.last);
        let mut parted = Block::new(stretch.first);
        let is_parted = stretch.first <= trimmed_to && trimmed_to < stretch.last;
        for block in self.hot.drain(..count) {
            self.bytes -= block.memory();
            if is_parted {
                for (id, payload) in block.iter().flatten() {
                    parted.push(id, payload);
                }
            }
        }
        let body = if is_parted {
            self.thawed.push(stretch.first);
            Body::Thawed(cold, parted.into_bytes())
        } else {
            Body::Cold(cold)
        };
        let whole = Block {
            first: stretch.first,
            last: stretch.last,
            count: stretch.count,
            body,
        };
        self.bytes += whole.memory();
        self.old.push_back(whole);
        self.settle_holes();
    }

    /// Adds a block that was found on disk; it must be above all others.
    pub(in crate::grid) fn push_cold(&mut self, stretch: &Stretch, whereabouts: Whereabouts) {
        let block = Block {
            first: stretch.first,
            last: stretch.last,
            count: stretch.count,
            body: match whereabouts {
                Whereabouts::OnDisk(cold) => Body::Cold(cold),
                Whereabouts::Lost => Body::Lost,
                Whereabouts::Doubtful => Body::Doubtful,
            },
        };
        self.bytes += block.memory();
        self.lost += usize::from(block.is_lost());
        self.old.push_back(block);
    }

    /// Notes that entries from `first` to `last`, after all that are here, are lost.
    pub(in crate::grid) fn push_hole(&mut self, first: EntryId, last: EntryId) {
        self.insert_hole(self.len(), Block::hole(first, last));
    }

    /// Notes that entries after the last one before `span`'s end, up to there, may be lost. Nothing is
    /// done where that would part a block on disk, or where it is noted already.
    pub(in crate::grid) fn doubt(&mut self, span: Span) {
        self.part(span.to);
        let place = self.partition_point(|block| block.first <= span.to);
        let before = place.checked_sub(1).and_then(|place| self.get(place));
        let after = before.map_or(span.after, |block| block.last.max(span.after));
        if let Some(first) = after.next().filter(|first| *first <= span.to) {
            self.insert_hole(place, Block::doubt(first, span.to));
        }
    }

    /// Nothing is doubtful any more.
    pub(in crate::grid) fn trust(&mut self) {
        for blocks in [&mut self.old, &mut self.hot] {
            blocks.retain(|block| {
                if block.is_doubtful() {
                    self.bytes -= block.memory();
                    self.lost -= 1;
                }
                !block.is_doubtful()
            });
        }
    }

    /// Puts a hole in at `place`.
    pub(super) fn insert_hole(&mut self, place: usize, hole: Block) {
        self.bytes += hole.memory();
        self.lost += 1;
        match place.checked_sub(self.old.len()) {
            None => self.old.insert(place, hole),
            Some(0) => self.old.push_back(hole),
            Some(place) => self.hot.insert(place, hole),
        }
    }

    /// Holes before all that is in memory are among the old blocks.
    pub(super) fn settle_holes(&mut self) {
        while let Some(hole) = self.hot.pop_front_if(|block| block.is_lost()) {
            self.old.push_back(hole);
        }
    }

    /// Notes that entries from `first` to `last`, before all that are here, are lost.
    pub(in crate::grid) fn push_hole_first(&mut self, first: EntryId, last: EntryId) {
        let hole = Block::hole(first, last);
        self.bytes += hole.memory();
        self.lost += 1;
        self.old.push_front(hole);
    }

    /// Takes the block that begins with `first` into memory, as its `entries` were read; another
    /// that was, and that `trimmed_to` does not part, goes out.
    pub(in crate::grid) fn thaw(
        &mut self,
        first: EntryId,
        entries: &[(EntryId, &[u8])],
        trimmed_to: EntryId,
    ) {
        let mut whole = Block::new(first);
        for (id, payload) in entries {
            whole.push(*id, payload);
        }
        let bytes = whole.into_bytes();
        self.change(first, |body| match body {
            Body::Cold(cold) => Body::Thawed(cold, bytes),
            body @ (Body::Hot(_) | Body::Thawed(..) | Body::Lost | Body::Doubtful) => body,
        });
        // Some may have been trimmed away since.
        let mut thawed = std::mem::take(&mut self.thawed);
        thawed.retain(|known| *known != first && self.thawed_block(*known).is_some());
        if thawed.len() >= THAWED_MAX {
            let parted = |known: &EntryId| {
                let block = self.thawed_block(*known);
                block.is_some_and(|block| block.is_parted_by(trimmed_to))
            };
            if let Some(place) = thawed.iter().position(|known| !parted(known)) {
                let gone = thawed.remove(place);
                self.change(gone, |body| match body {
                    Body::Thawed(cold, _) => Body::Cold(cold),
                    body @ (Body::Hot(_) | Body::Cold(_) | Body::Lost | Body::Doubtful) => body,
                });
            }
        }
        thawed.push(first);
        self.thawed = thawed;
    }

    /// The block that begins with `first`, if it is there and thawed.
    fn thawed_block(&self, first: EntryId) -> Option<&Block> {
        let block = self.get(self.partition_point(|block| block.first < first))?;
        (block.first == first && matches!(block.body, Body::Thawed(..))).then_some(block)
    }

    /// The block that begins with `first` cannot be read: it stays in its place, without entries.
    /// Whether that is new.
    pub(in crate::grid) fn lose(&mut self, first: EntryId) -> bool {
        let before = self.lost;
        self.change(first, |body| match body {
            Body::Cold(_) => Body::Lost,
            body @ (Body::Hot(_) | Body::Thawed(..) | Body::Lost | Body::Doubtful) => body,
        });
        self.lost > before
    }

    fn change(&mut self, first: EntryId, change: impl FnOnce(Body) -> Body) {
        let place = self.old.partition_point(|block| block.first < first);
        if let Some(block) = self.old.get_mut(place).filter(|block| block.first == first) {
            let before = (block.memory(), usize::from(block.is_lost()));
            block.body = change(std::mem::replace(&mut block.body, Body::Lost));
            let now = (block.memory(), usize::from(block.is_lost()));
            self.bytes = self.bytes + now.0 - before.0;
            self.lost = self.lost + now.1 - before.1;
        }
    }

    /// Id of the last entry that is on disk outside the journal, or known to be lost, if any is.
    pub(in crate::grid) fn cold_to(&self) -> Option<EntryId> {
        self.entry_before(self.old.len())
    }

    /// Blocks on disk.
    pub(in crate::grid) fn cold(&self) -> usize {
        self.old.len()
    }

    /// Number of blocks that are lost.
    pub(in crate::grid) fn lost(&self) -> usize {
        self.lost
    }

    /// The first block on disk that begins above `id`.
    pub(in crate::grid) fn cold_after(&self, id: EntryId) -> Option<Absent> {
        let place = self.old.partition_point(|block| block.first <= id);
        let mut absent = self.old.range(place..).map(Block::absent);
        absent.find(|absent| absent.cold.is_some())
    }

    /// An id before the block at `place`, and after the one before it.
    pub(in crate::grid) fn before_cold(&self, place: usize) -> EntryId {
        let block = self.old.get(place);
        let before = block.and_then(|block| block.first.previous());
        before.unwrap_or_default()
    }
}
