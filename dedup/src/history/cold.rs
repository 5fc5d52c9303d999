//! The part of a history that is read from disk, with the stretches read last kept in memory.

use std::cell::RefCell;
use std::num::NonZeroUsize;

use bytes::Bytes;
use lru::LruCache;

use super::Position;
use super::disk::Disk;
use super::ledger::{BLOCK_BYTES, WRITE_BYTES};

/// However small the budget, so many blocks of new history are in memory, and so many stretches.
const BLOCKS_MIN: usize = 2;
const STRETCHES_MIN: usize = 16;

/// A disk and the stretches that were read from it last.
#[derive(Debug)]
pub(super) struct Cold {
    pub(super) disk: Disk,
    cache: RefCell<Cache>,
    blocks_max: usize,
}

/// By the stretch's first position. One that can't be read is kept as an empty one.
#[derive(Debug)]
struct Cache {
    stretches: LruCache<Position, Bytes>,
    bytes: usize,
}

impl Cold {
    /// Half of the memory is for the newest blocks, half for what was used again.
    pub(super) fn new(disk: Disk, memory_bytes_max: u64) -> Self {
        let half = (memory_bytes_max / 2) as usize;
        let stretches = (half / WRITE_BYTES as usize).max(STRETCHES_MIN);
        let capacity = NonZeroUsize::new(stretches).unwrap_or(NonZeroUsize::MIN);
        let cache = Cache {
            stretches: LruCache::new(capacity),
            bytes: 0,
        };
        Self {
            disk,
            cache: RefCell::new(cache),
            blocks_max: (half / BLOCK_BYTES).max(BLOCKS_MIN),
        }
    }

    /// Most blocks of new history kept in memory.
    pub(super) fn hot_blocks(&self) -> usize {
        self.blocks_max
    }

    /// Bytes that were used again and are kept.
    pub(super) fn cached_bytes(&self) -> usize {
        self.cache.borrow().bytes
    }

    /// The stretch `begin..end`, checked; empty when it can't be read.
    pub(super) fn stretch(&self, begin: Position, end: Position) -> Bytes {
        let mut cache = self.cache.borrow_mut();
        let wanted = end.since(begin);
        let held = cache.stretches.get(&begin);
        if let Some(held) = held.filter(|held| held.is_empty() || held.len() >= wanted) {
            return held.clone();
        }
        let mut bytes = Vec::with_capacity(wanted);
        if !self.disk.read(begin, end, &mut bytes) {
            bytes.clear();
        }
        let stretch = Bytes::from(bytes);
        cache.put(begin, stretch.clone());
        stretch
    }

    /// Keeps a block that leaves the newest, because it was used again there.
    pub(super) fn keep(&self, mut begin: Position, block: &[u8]) {
        let mut cache = self.cache.borrow_mut();
        for stretch in block.chunks(WRITE_BYTES as usize) {
            cache.put(begin, Bytes::copy_from_slice(stretch));
            begin = begin.after(stretch.len());
        }
    }

    /// Forgets what was read: positions are about to be assigned anew.
    pub(super) fn forget(&mut self) {
        let cache = self.cache.get_mut();
        cache.stretches.clear();
        cache.bytes = 0;
    }
}

impl Cache {
    fn put(&mut self, begin: Position, stretch: Bytes) {
        self.bytes += stretch.len();
        if let Some((_, old)) = self.stretches.push(begin, stretch) {
            self.bytes -= old.len();
        }
    }
}
