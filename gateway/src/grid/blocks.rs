//! Entries of a log, packed into blocks: ids as differences, fields and values as bytes.

use std::collections::VecDeque;

use super::EntryId;
use super::varint::{Reader, put, put_bytes};

/// A block takes no more entries beyond this; an entry that is longer has one to itself.
const BLOCK_BYTES: usize = 16 * 1024;
/// Ids and lengths of one entry take at most this.
const ENTRY_HEAD_BYTES_MAX: usize = 10 + 10 + 5;

#[derive(Debug)]
struct Block {
    first: EntryId,
    last: EntryId,
    count: u64,
    bytes: Vec<u8>,
}

impl Block {
    fn memory(&self) -> usize {
        size_of::<Self>() + self.bytes.capacity()
    }

    fn iter(&self) -> BlockIter<'_> {
        BlockIter {
            reader: Reader::new(&self.bytes),
            last: self.first,
        }
    }
}

/// Reads one block from its start.
struct BlockIter<'a> {
    reader: Reader<'a>,
    last: EntryId,
}

impl<'a> Iterator for BlockIter<'a> {
    type Item = (EntryId, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let ms = self.reader.varint().ok()?;
        let seq = self.reader.varint().ok()?;
        self.last = if ms == 0 {
            EntryId {
                ms: self.last.ms,
                seq: self.last.seq + seq,
            }
        } else {
            EntryId {
                ms: self.last.ms + ms,
                seq,
            }
        };
        Some((self.last, self.reader.bytes().ok()?))
    }
}

/// All entries of a log that are physically there.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    blocks: VecDeque<Block>,
    bytes: usize,
}

impl Blocks {
    /// Appends an entry; `id` must be above all others.
    pub(super) fn push(&mut self, id: EntryId, payload: &[u8]) {
        let needed = payload.len() + ENTRY_HEAD_BYTES_MAX;
        let fits = |block: &&mut Block| block.bytes.len() + needed <= BLOCK_BYTES;
        let block = match self.blocks.back_mut().filter(fits) {
            Some(block) => block,
            None => {
                self.blocks.push_back(Block {
                    first: id,
                    last: id,
                    count: 0,
                    bytes: Vec::new(),
                });
                self.bytes += size_of::<Block>();
                let place = self.blocks.len() - 1;
                &mut self.blocks[place]
            }
        };
        let before = block.bytes.capacity();
        let ms = id.ms - block.last.ms;
        put(&mut block.bytes, ms);
        put(
            &mut block.bytes,
            if ms == 0 {
                id.seq - block.last.seq
            } else {
                id.seq
            },
        );
        put_bytes(&mut block.bytes, payload);
        block.last = id;
        block.count += 1;
        self.bytes += block.bytes.capacity() - before;
    }

    /// Memory taken.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Entries from `start` on.
    pub(super) fn from(&self, start: EntryId) -> impl Iterator<Item = (EntryId, &[u8])> {
        let block = self.blocks.partition_point(|block| block.last < start);
        let entries = self.blocks.range(block..).flat_map(Block::iter);
        entries.skip_while(move |(id, _)| *id < start)
    }

    /// Entries from `end` on backwards.
    pub(super) fn back_from(&self, end: EntryId) -> impl Iterator<Item = (EntryId, &[u8])> {
        let blocks = self.blocks.partition_point(|block| block.first <= end);
        let entries = self.blocks.range(..blocks).rev().flat_map(|block| {
            let entries: Vec<_> = block.iter().collect();
            entries.into_iter().rev()
        });
        entries.skip_while(move |(id, _)| *id > end)
    }

    /// How many entries have ids above `after` and at most `to`.
    pub(super) fn count(&self, after: EntryId, to: EntryId) -> u64 {
        let start = self.blocks.partition_point(|block| block.last <= after);
        let blocks = self
            .blocks
            .range(start..)
            .take_while(|block| block.first <= to);
        let counts = blocks.map(|block| {
            if block.first > after && block.last <= to {
                block.count
            } else {
                let inside = |(id, _): &(EntryId, &[u8])| *id > after && *id <= to;
                block.iter().filter(inside).count() as u64
            }
        });
        counts.sum()
    }

    /// Id of the `count`th entry above `after`, counted from 1; with `whole_blocks`, of the last
    /// entry of a block before or at that. None if there is none.
    pub(super) fn nth(&self, after: EntryId, count: u64, whole_blocks: bool) -> Option<EntryId> {
        let start = self.blocks.partition_point(|block| block.last <= after);
        let (mut left, mut found) = (count, None);
        for block in self.blocks.range(start..) {
            let inside = block.iter().filter(|(id, _)| *id > after);
            let visible = if block.first > after {
                block.count
            } else {
                inside.count() as u64
            };
            if visible > left {
                if left > 0 && !whole_blocks {
                    let mut inside = block.iter().filter(|(id, _)| *id > after);
                    found = inside.nth(left as usize - 1).map(|(id, _)| id);
                }
                return found;
            }
            left -= visible;
            found = Some(block.last);
        }
        found
    }

    /// Id of the last entry of the last block that lies wholly below `id`.
    pub(super) fn block_end_before(&self, id: EntryId) -> Option<EntryId> {
        let blocks = self.blocks.partition_point(|block| block.last < id);
        Some(self.blocks.get(blocks.checked_sub(1)?)?.last)
    }

    /// Memory of blocks that lie wholly at or below `id`.
    pub(super) fn bytes_to(&self, id: EntryId) -> usize {
        let blocks = self.blocks.iter().take_while(|block| block.last <= id);
        blocks.map(Block::memory).sum()
    }

    /// The first id of the newest blocks that together take at most `bytes`; none if all do.
    pub(super) fn first_within(&self, bytes: u64) -> Option<EntryId> {
        let mut left = bytes;
        for (place, block) in self.blocks.iter().enumerate().rev() {
            match left.checked_sub(block.memory() as u64) {
                Some(rest) => left = rest,
                // The block that is written to stays.
                None => return Some(self.blocks.get(place + 1).unwrap_or(block).first),
            }
        }
        None
    }

    /// Frees blocks that lie wholly at or below `id`; the last id that went.
    pub(super) fn free_to(&mut self, id: EntryId) -> Option<EntryId> {
        let mut gone = None;
        while let Some(block) = self.blocks.front().filter(|block| block.last <= id) {
            self.bytes -= block.memory();
            gone = Some(block.last);
            self.blocks.pop_front();
        }
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
            let own = |(id, payload): (EntryId, &[u8])| (id, payload.to_vec());
            let (from, to) = (id(from), id(to));
            let expected: Vec<_> = list.iter().filter(|e| e.0 >= from).cloned().collect();
            prop_assert_eq!(blocks.from(from).map(own).collect::<Vec<_>>(), expected);
            let expected: Vec<_> = list.iter().rev().filter(|e| e.0 <= to).cloned().collect();
            prop_assert_eq!(blocks.back_from(to).map(own).collect::<Vec<_>>(), expected);
            let above: Vec<_> = list.iter().map(|e| e.0).filter(|id| *id > from).collect();
            let expected = above.iter().filter(|id| **id <= to).count() as u64;
            prop_assert_eq!(blocks.count(from, to), expected);
            let expected = above.get(nth as usize - 1).or(above.last()).copied();
            prop_assert_eq!(blocks.nth(from, nth, false), expected);
            prop_assert!(blocks.nth(from, nth, true) <= expected);
            if let Some(gone) = blocks.free_to(to) {
                prop_assert!(gone <= to);
                list.retain(|e| e.0 > gone);
            }
            prop_assert_eq!(blocks.from(EntryId::MIN).map(own).collect::<Vec<_>>(), list);
        }
    }
}
