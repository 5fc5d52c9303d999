//! Entries of a log, packed into blocks: ids as differences, fields and values as bytes.
//!
//! The older blocks may be on disk only (see [`cold`](super::cold)); whoever comes upon one of
//! those is told where it is, and reads it when the lock is free.

mod block;
mod freeze;
mod swap;

use std::collections::VecDeque;
use std::collections::vec_deque::Iter;
use std::iter::Chain;

use super::EntryId;
use super::cold::Absent;
use block::{Block, ENTRY_HEAD_BYTES_MAX};

pub(super) use block::Entry;
pub(super) use freeze::{Stretch, Whereabouts};
pub(super) use swap::Hole;
pub use swap::Span;

/// A block takes no more entries beyond this; an entry that is longer has one to itself.
const BLOCK_BYTES: usize = 16 * 1024;

/// All entries of a log that are physically there.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    /// On disk, or lost.
    old: VecDeque<Block>,
    /// In memory, or lost after one that is there.
    hot: VecDeque<Block>,
    /// Memory taken by all of them.
    bytes: usize,
    /// How many are lost.
    lost: usize,
    /// First ids of blocks that are thawed, the one thawed last at the end.
    thawed: Vec<EntryId>,
    /// Blocks from this id on stay: they are being written to the disk.
    pinned: Option<EntryId>,
}

impl Blocks {
    /// Memory of the room that a list of blocks has beyond the first from the start: a list of one has
    /// room for four.
    pub(super) const SPARE_BYTES: usize = 3 * size_of::<Block>();

    fn len(&self) -> usize {
        self.old.len() + self.hot.len()
    }

    fn get(&self, place: usize) -> Option<&Block> {
        match place.checked_sub(self.old.len()) {
            None => self.old.get(place),
            Some(place) => self.hot.get(place),
        }
    }

    fn get_mut(&mut self, place: usize) -> Option<&mut Block> {
        match place.checked_sub(self.old.len()) {
            None => self.old.get_mut(place),
            Some(place) => self.hot.get_mut(place),
        }
    }

    fn range(&self, from: usize) -> Chain<Iter<'_, Block>, Iter<'_, Block>> {
        let old = self.old.range(from.min(self.old.len())..);
        let hot = from.saturating_sub(self.old.len()).min(self.hot.len());
        old.chain(self.hot.range(hot..))
    }

    fn range_to(&self, to: usize) -> Chain<Iter<'_, Block>, Iter<'_, Block>> {
        let old = self.old.range(..to.min(self.old.len()));
        let hot = to.saturating_sub(self.old.len()).min(self.hot.len());
        old.chain(self.hot.range(..hot))
    }

    fn partition_point(&self, below: impl Fn(&Block) -> bool) -> usize {
        match self.old.back() {
            Some(last) if !below(last) => self.old.partition_point(below),
            Some(_) | None => self.old.len() + self.hot.partition_point(below),
        }
    }

    /// Appends an entry; `id` must be above all others.
    pub(super) fn push(&mut self, id: EntryId, payload: &[u8]) {
        let needed = payload.len() + ENTRY_HEAD_BYTES_MAX;
        let fits = |block: &&mut Block| {
            let bytes = block.bytes();
            bytes.is_some_and(|bytes| bytes.len() + needed <= BLOCK_BYTES)
        };
        let block = match self.hot.back_mut().filter(fits) {
            Some(block) => block,
            None => {
                self.hot.push_back(Block::new(id));
                self.bytes += size_of::<Block>();
                let place = self.hot.len() - 1;
                &mut self.hot[place]
            }
        };
        let before = block.memory();
        block.push(id, payload);
        self.bytes += block.memory() - before;
    }

    /// Memory taken.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Entries from `start` on.
    pub(super) fn from(&self, start: EntryId) -> impl Iterator<Item = Entry<'_>> {
        let block = self.partition_point(|block| block.last < start);
        let entries = self.range(block).flat_map(Block::iter);
        entries.skip_while(move |entry| matches!(entry, Ok((id, _)) if *id < start))
    }

    /// Entries from `end` on backwards.
    pub(super) fn back_from(&self, end: EntryId) -> impl Iterator<Item = Entry<'_>> {
        let blocks = self.partition_point(|block| block.first <= end);
        let entries = self.range_to(blocks).rev().flat_map(|block| {
            let entries: Vec<_> = block.iter().collect();
            entries.into_iter().rev()
        });
        entries.skip_while(move |entry| matches!(entry, Ok((id, _)) if *id > end))
    }

    /// How many entries have ids above `after` and at most `to`.
    pub(super) fn count(&self, after: EntryId, to: EntryId) -> Result<u64, Absent> {
        let start = self.partition_point(|block| block.last <= after);
        let blocks = self.range(start).take_while(|block| block.first <= to);
        blocks.map(|block| block.count(after, to)).sum()
    }

    /// Id of the `count`th entry above `after`, counted from 1; with `whole_blocks`, of the last
    /// entry of a block before or at that. None if there is none.
    pub(super) fn nth(
        &self,
        after: EntryId,
        count: u64,
        whole_blocks: bool,
    ) -> Result<Option<EntryId>, Absent> {
        let start = self.partition_point(|block| block.last <= after);
        let (mut left, mut found) = (count, None);
        for block in self.range(start) {
            let visible = block.count(after, block.last)?;
            if visible > left {
                if left > 0 && !whole_blocks && !block.is_lost() {
                    for entry in block.iter() {
                        let (id, _) = entry?;
                        left -= u64::from(id > after);
                        if left == 0 {
                            return Ok(Some(id));
                        }
                    }
                }
                return Ok(found);
            }
            left -= visible;
            found = Some(block.last);
        }
        Ok(found)
    }

    /// Id of the last entry of the last block that lies wholly below `id`.
    pub(super) fn block_end_before(&self, id: EntryId) -> Option<EntryId> {
        let blocks = self.partition_point(|block| block.last < id);
        Some(self.get(blocks.checked_sub(1)?)?.last)
    }

    /// Memory of blocks that lie wholly at or below `id`.
    pub(super) fn bytes_to(&self, id: EntryId) -> usize {
        let blocks = self.range(0).take_while(|block| block.last <= id);
        blocks.map(Block::memory).sum()
    }

    /// The first id of the newest blocks that together take at most `bytes`, as if all were in
    /// memory; none if all do.
    pub(super) fn first_within(&self, bytes: u64) -> Option<EntryId> {
        let mut left = bytes;
        for (place, block) in (0..self.len())
            .rev()
            .filter_map(|i| Some((i, self.get(i)?)))
        {
            match left.checked_sub(block.bytes_hot()) {
                Some(rest) => left = rest,
                // The block that is written to stays.
                None => return Some(self.get(place + 1).unwrap_or(block).first),
            }
        }
        None
    }

    /// Frees blocks that lie wholly at or below `id`; the last id that went.
    pub(super) fn free_to(&mut self, id: EntryId) -> Option<EntryId> {
        let mut gone = None;
        while let Some(block) = self.get(0) {
            let pinned = self.pinned.is_some_and(|pinned| block.first >= pinned);
            if pinned || block.last > id {
                break;
            }
            gone = Some(block.last);
            let (bytes, lost) = (block.memory(), usize::from(block.is_lost()));
            (self.bytes, self.lost) = (self.bytes - bytes, self.lost - lost);
            if self.old.pop_front().is_none() {
                self.hot.pop_front();
            }
        }
        self.settle_holes();
        gone
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(n: u64) -> EntryId {
        EntryId {
            ms: n / 3,
            seq: n % 3,
        }
    }

    #[test]
    fn entries_of_every_length_take_little_more_memory_than_their_bytes() {
        for len in (50..2000).step_by(50) {
            let (mut blocks, payload) = (Blocks::default(), vec![7; len]);
            for ms in 1..=100_000 / len as u64 {
                blocks.push(EntryId { ms, seq: 0 }, &payload);
            }
            let most = 120_000 + BLOCK_BYTES;
            assert!(blocks.bytes() < most, "{} for {len}", blocks.bytes());
        }
    }

    proptest! {
        #[test]
        fn blocks_answer_as_a_list_does(
            steps in proptest::collection::vec((1..4_u64, 0..3000_usize), 0..60),
            from in 0..130_u64, to in 0..130_u64, nth in 1..70_u64,
        ) {
            let mut blocks = Blocks::default();
            let (mut list, mut n) = (Vec::new(), 0);
            for (step, len) in steps {
                n += step;
                blocks.push(id(n), &vec![n as u8; len]);
                list.push((id(n), vec![n as u8; len]));
            }
            let own = |entry: Entry<'_>| entry.map(|(id, payload)| (id, payload.to_vec())).unwrap();
            let (from, to) = (id(from), id(to));
            let expected: Vec<_> = list.iter().filter(|e| e.0 >= from).cloned().collect();
            prop_assert_eq!(blocks.from(from).map(own).collect::<Vec<_>>(), expected);
            let expected: Vec<_> = list.iter().rev().filter(|e| e.0 <= to).cloned().collect();
            prop_assert_eq!(blocks.back_from(to).map(own).collect::<Vec<_>>(), expected);
            let above: Vec<_> = list.iter().map(|e| e.0).filter(|id| *id > from).collect();
            let expected = above.iter().filter(|id| **id <= to).count() as u64;
            prop_assert_eq!(blocks.count(from, to).unwrap(), expected);
            let expected = above.get(nth as usize - 1).or(above.last()).copied();
            prop_assert_eq!(blocks.nth(from, nth, false).unwrap(), expected);
            prop_assert!(blocks.nth(from, nth, true).unwrap() <= expected);
            if let Some(gone) = blocks.free_to(to) {
                prop_assert!(gone <= to);
                list.retain(|e| e.0 > gone);
            }
            prop_assert_eq!(blocks.from(EntryId::MIN).map(own).collect::<Vec<_>>(), list);
        }
    }
}
