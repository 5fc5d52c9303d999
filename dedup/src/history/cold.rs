//! The part of a history that is read from disk, with the blocks read last kept in memory.

use std::cell::RefCell;
use std::num::NonZeroUsize;

use bytes::Bytes;
use lru::LruCache;

use super::disk::Disk;
use super::ledger::BLOCK_BYTES;
use super::{HistoryId, Position};

/// However small the budget, so many blocks are kept on either tier.
const BLOCKS_MIN: usize = 2;

/// A disk and the blocks that were read from it last.
#[derive(Debug)]
pub(super) struct Cold {
    pub(super) disk: Disk,
    /// By the block's first position. A block that can't be read is kept as an empty one.
    cache: RefCell<LruCache<Position, Bytes>>,
    blocks_max: usize,
}

impl Cold {
    /// Half of the memory is for the newest blocks, half for those read again.
    pub(super) fn new(disk: Disk, memory_bytes_max: u64) -> Self {
        let blocks = (memory_bytes_max / 2 / BLOCK_BYTES as u64) as usize;
        let blocks_max = blocks.max(BLOCKS_MIN);
        let capacity = NonZeroUsize::new(blocks_max).unwrap_or(NonZeroUsize::MIN);
        Self {
            disk,
            cache: RefCell::new(LruCache::new(capacity)),
            blocks_max,
        }
    }

    /// Most blocks of new history kept in memory.
    pub(super) fn hot_blocks(&self) -> usize {
        self.blocks_max
    }

    /// Bytes of blocks that were read again and are kept.
    pub(super) fn cached_bytes(&self) -> usize {
        self.cache
            .borrow()
            .iter()
            .map(|(_, block)| block.len())
            .sum()
    }

    /// The block `begin..end`, checked; empty when it can't be read.
    pub(super) fn block(&self, begin: Position, end: Position) -> Bytes {
        let mut cache = self.cache.borrow_mut();
        let wanted = end.since(begin);
        if let Some(block) = cache
            .get(&begin)
            .filter(|block| block.is_empty() || block.len() >= wanted)
        {
            return block.clone();
        }
        let mut bytes = Vec::with_capacity(wanted);
        if !self.disk.read(begin, end, &mut bytes) {
            bytes.clear();
        }
        let block = Bytes::from(bytes);
        cache.put(begin, block.clone());
        block
    }

    pub(super) fn evict_below(&mut self, floor: Position) {
        self.disk.evict_below(floor);
    }

    /// Cuts back to a record's end at `tail` or before, and returns where that is.
    pub(super) fn truncate(&mut self, tail: Position) -> Position {
        self.cache.borrow_mut().clear();
        self.disk.truncate(tail)
    }

    pub(super) fn reset(&mut self, id: HistoryId, epoch: u64) {
        self.cache.borrow_mut().clear();
        self.disk.reset(id, epoch);
    }
}
