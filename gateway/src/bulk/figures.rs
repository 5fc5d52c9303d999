//! Counts of what moved, for status and metrics.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

/// Transfers of files since the gateway started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BulkFigures {
    /// Files on their way to peers now.
    pub sending: u64,
    /// Files on their way here now.
    pub receiving: u64,
    /// Files that arrived whole at peers.
    pub sent_files: u64,
    /// File bytes handed to links, also of transfers that failed.
    pub sent_bytes: u64,
    /// Files that arrived whole here.
    pub received_files: u64,
    /// File bytes that came from links, also of transfers that failed.
    pub received_bytes: u64,
    /// Transfers that failed, either way.
    pub failed: u64,
    /// Bytes of all files under `bulk.dir`, unfinished ones included.
    pub stored_bytes: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    sending: AtomicU64,
    receiving: AtomicU64,
    sent_files: AtomicU64,
    sent_bytes: AtomicU64,
    received_files: AtomicU64,
    received_bytes: AtomicU64,
    failed: AtomicU64,
}

/// Which way a file goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Out,
    In,
}

/// One transfer, counted while it lasts. Dropped without success, it has failed.
#[derive(Debug)]
pub(super) struct Counted<'a> {
    counters: &'a Counters,
    direction: Direction,
    succeeded: bool,
}

impl Counters {
    pub(super) fn begin(&self, direction: Direction) -> Counted<'_> {
        self.active(direction).fetch_add(1, Ordering::Relaxed);
        Counted {
            counters: self,
            direction,
            succeeded: false,
        }
    }

    fn active(&self, direction: Direction) -> &AtomicU64 {
        match direction {
            Direction::Out => &self.sending,
            Direction::In => &self.receiving,
        }
    }

    pub(super) fn read(&self, stored_bytes: u64) -> BulkFigures {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        BulkFigures {
            sending: read(&self.sending),
            receiving: read(&self.receiving),
            sent_files: read(&self.sent_files),
            sent_bytes: read(&self.sent_bytes),
            received_files: read(&self.received_files),
            received_bytes: read(&self.received_bytes),
            failed: read(&self.failed),
            stored_bytes,
        }
    }
}

impl Counted<'_> {
    pub(super) fn moved(&self, bytes: usize) {
        let counter = match self.direction {
            Direction::Out => &self.counters.sent_bytes,
            Direction::In => &self.counters.received_bytes,
        };
        counter.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn succeeded(mut self) {
        self.succeeded = true;
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        let Self {
            counters,
            direction,
            succeeded,
        } = self;
        counters.active(*direction).fetch_sub(1, Ordering::Relaxed);
        let counter = match (*succeeded, *direction) {
            (true, Direction::Out) => &counters.sent_files,
            (true, Direction::In) => &counters.received_files,
            (false, _) => &counters.failed,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}
