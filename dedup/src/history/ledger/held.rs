//! Bytes of history as a reader gets them.

use std::ops::Deref;

/// Why bytes of history can't be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Absent {
    /// Before the oldest byte kept, or damaged on disk.
    Evicted,
    /// In a gap, or past the end: still in flight.
    InFlight,
}

/// Bytes of history: in memory, or just read from disk.
#[derive(Debug)]
pub(crate) enum Held<'a> {
    Hot(&'a [u8]),
    Cold(bytes::Bytes),
}

impl Deref for Held<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Hot(bytes) => bytes,
            Self::Cold(bytes) => bytes,
        }
    }
}

impl Held<'_> {
    /// At most the first `len` bytes.
    pub(crate) fn first(self, len: usize) -> Self {
        match self {
            Self::Hot(bytes) => Self::Hot(&bytes[..bytes.len().min(len)]),
            Self::Cold(bytes) => Self::Cold(bytes.slice(..bytes.len().min(len))),
        }
    }

    /// At most the last `len` bytes.
    pub(crate) fn last(self, len: usize) -> Self {
        let from = self.len() - self.len().min(len);
        match self {
            Self::Hot(bytes) => Self::Hot(&bytes[from..]),
            Self::Cold(bytes) => Self::Cold(bytes.slice(from..)),
        }
    }
}
