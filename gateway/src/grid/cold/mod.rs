//! Older entries of logs on disk: compressed blocks in files of their own.
//!
//! When logs take more memory than [`ColdConfig::memory_bytes_max`], their oldest blocks go to
//! the disk and memory keeps where they are. The order is always: the block is written and
//! fsynced, then its memory is given back, then the journal may be rewritten without it. So at
//! any moment every entry is in the journal, or in a block, or in both. Drawn in `docs/STORE.md`,
//! section "Cold logs".

mod ahead;
mod block;
mod cache;
mod load;
mod mend;
mod read;
mod scrub;
mod segment;
mod spill;
mod store;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::EntryId;

pub(crate) use ahead::ReadAhead;
pub(super) use block::Loaded;
#[cfg(test)]
pub(super) use block::decode;
pub(super) use cache::ReadCache;
pub(super) use load::{ColdFound, load};
pub use mend::{MendError, Mended, Told};
pub(crate) use read::IdRange;
#[cfg(test)]
pub(super) use scrub::Scrub;
pub(super) use segment::Segment;
#[cfg(test)]
pub(super) use segment::blocks_of_index;
pub use spill::Spiller;
pub(super) use spill::{Spill, SpillFigures};
pub(super) use store::ColdStore;

/// Caps on what logs take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ColdConfig {
    /// Memory for entries of logs; beyond it the oldest go to the disk.
    pub memory_bytes_max: u64,
    /// Disk for those; when it is full, entries stay in memory.
    pub disk_bytes_max: u64,
}

/// Where a block of entries is on disk.
#[derive(Clone, Debug)]
pub(super) struct Cold {
    segment: Arc<Segment>,
    /// Where its frame begins in the file.
    offset: u64,
    /// How far before that the first block of its group begins.
    since: u32,
    /// Memory that its entries took.
    pub(super) bytes_hot: u32,
}

impl Cold {
    /// Its file and where it begins there: rises with the time at which it was written.
    fn place(&self) -> (u64, u64) {
        (self.segment.number.0, self.offset)
    }
}

/// Entries that are not in memory.
#[derive(Clone, Debug)]
pub(crate) struct Absent {
    /// Id of the first of them.
    pub(in crate::grid) first: EntryId,
    /// Id of the last.
    pub(super) last: EntryId,
    /// None: they could not be read, and are lost unless a peer has them.
    pub(super) cold: Option<Cold>,
    /// Nobody knows whether there are any.
    pub(super) is_doubtful: bool,
}

impl Absent {
    /// Whether nobody knows if there are any.
    pub(super) fn is_doubtful(&self) -> bool {
        self.is_doubtful
    }

    /// Whether they are nowhere.
    pub(super) fn is_lost(&self) -> bool {
        self.cold.is_none() && !self.is_doubtful
    }
}

/// Why entries on disk were not read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ColdError {
    #[error("cannot read {path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("the block at {offset} of {path} is damaged: {what}")]
    Damaged {
        path: PathBuf,
        offset: u64,
        what: &'static str,
    },
    #[error("the entries {first} to {last} are lost: they were damaged on disk")]
    Lost { first: EntryId, last: EntryId },
    #[error(
        "entries between {first} and {last} may be lost: the disk was damaged, and not every peer \
         was compared since"
    )]
    Doubtful { first: EntryId, last: EntryId },
}
