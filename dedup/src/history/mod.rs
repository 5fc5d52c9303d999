//! The bytes that both ends of a link hold, addressed by position.

mod cold;
mod disk;
mod event;
mod files;
mod footer;
mod gone;
mod identity;
mod index;
mod ledger;
mod segment;
mod threads;
mod view;

pub(crate) use disk::Disk;
pub use event::HistoryEvent;
pub(crate) use gone::Gone;
pub(crate) use identity::{HistoryId, fill_random};
pub(crate) use index::Index;
pub(crate) use ledger::{Absent, Held, Ledger};
pub(crate) use segment::{ChunkNote, SEGMENT_BYTES};
pub(crate) use threads::Threads;
pub(crate) use view::View;

/// A byte's place in a history, counted from the history's beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Position(pub(crate) u64);

impl Position {
    pub(crate) fn after(self, bytes: usize) -> Self {
        Self(self.0.saturating_add(bytes as u64))
    }

    pub(crate) fn before(self, bytes: usize) -> Self {
        Self(self.0.saturating_sub(bytes as u64))
    }

    /// Bytes from `earlier` to here; 0 if it is later.
    pub(crate) fn since(self, earlier: Self) -> usize {
        usize::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(usize::MAX)
    }
}

/// A range of history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) at: Position,
    pub(crate) len: usize,
}

impl Extent {
    pub(crate) fn end(self) -> Position {
        self.at.after(self.len)
    }
}
