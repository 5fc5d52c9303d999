//! Counts of what moved, for status and metrics.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use super::store::Stored;
use super::sync::SyncSettings;

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
    /// Transfers that failed, either way. One of a file that is not there is none.
    pub failed: u64,
    /// Messages and headers of peers that could not be read.
    pub malformed: u64,
    /// Bytes of all files under `bulk.dir`, unfinished ones included.
    pub stored_bytes: u64,
    /// Files, folders and links under `bulk.dir`.
    pub stored_entries: u64,
}

/// One watched folder since the gateway started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SyncReport {
    /// The folder here.
    pub dir: String,
    /// The site that it goes to.
    pub peer: String,
    /// Files that the peer has taken.
    pub shipped_files: u64,
    /// Attempts that failed.
    pub failed: u64,
    /// Files that are whole and not yet there, as of the last look.
    pub waiting_files: u64,
}

/// Counts of watched folders, in the order of the configuration.
#[derive(Clone, Debug)]
pub struct SyncFigures(Vec<Arc<SyncCounters>>);

#[derive(Debug)]
pub(super) struct SyncCounters {
    dir: String,
    peer: String,
    pub(super) shipped_files: AtomicU64,
    pub(super) failed: AtomicU64,
    waiting_files: AtomicU64,
}

impl SyncCounters {
    pub(super) fn set_waiting(&self, files: usize) {
        self.waiting_files.store(files as u64, Ordering::Relaxed);
    }
}

impl SyncFigures {
    /// Nothing has happened yet.
    pub fn new(syncs: &[SyncSettings]) -> Self {
        let counters = |sync: &SyncSettings| SyncCounters {
            dir: sync.dir.display().to_string(),
            peer: sync.to.site.to_string(),
            shipped_files: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            waiting_files: AtomicU64::new(0),
        };
        Self(syncs.iter().map(counters).map(Arc::new).collect())
    }

    /// Each folder's counts.
    pub fn report(&self) -> Vec<SyncReport> {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let report = |counters: &Arc<SyncCounters>| SyncReport {
            dir: counters.dir.clone(),
            peer: counters.peer.clone(),
            shipped_files: read(&counters.shipped_files),
            failed: read(&counters.failed),
            waiting_files: read(&counters.waiting_files),
        };
        self.0.iter().map(report).collect()
    }

    /// Of each folder, for the thread that watches it.
    pub(super) fn counters(&self) -> impl Iterator<Item = Arc<SyncCounters>> {
        self.0.iter().cloned()
    }
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
    malformed: AtomicU64,
}

/// Which way a file goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Out,
    In,
}

/// One transfer, counted while it lasts. Dropped before it is known how it ended, it has failed.
#[derive(Debug)]
pub(super) struct Counted<'a> {
    counters: &'a Counters,
    direction: Direction,
    outcome: Outcome,
}

#[derive(Clone, Copy, Debug)]
enum Outcome {
    Failed,
    Succeeded,
    /// The answer was that there is no such file: no transfer at all.
    Absent,
}

impl Counters {
    pub(super) fn begin(&self, direction: Direction) -> Counted<'_> {
        self.active(direction).fetch_add(1, Ordering::Relaxed);
        Counted {
            counters: self,
            direction,
            outcome: Outcome::Failed,
        }
    }

    fn active(&self, direction: Direction) -> &AtomicU64 {
        match direction {
            Direction::Out => &self.sending,
            Direction::In => &self.receiving,
        }
    }

    pub(super) fn malformed(&self) {
        self.malformed.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn read(&self, stored: Stored) -> BulkFigures {
        let read = |counter: &AtomicU64| counter.load(Ordering::Acquire);
        BulkFigures {
            sending: read(&self.sending),
            receiving: read(&self.receiving),
            sent_files: read(&self.sent_files),
            sent_bytes: read(&self.sent_bytes),
            received_files: read(&self.received_files),
            received_bytes: read(&self.received_bytes),
            failed: read(&self.failed),
            malformed: read(&self.malformed),
            stored_bytes: stored.bytes,
            stored_entries: stored.entries,
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
        self.outcome = Outcome::Succeeded;
    }

    /// There is no such file to be transferred. Programs ask for files to learn whether they
    /// are there, PostgreSQL every few seconds.
    pub(super) fn absent(mut self) {
        self.outcome = Outcome::Absent;
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        let Self {
            counters,
            direction,
            outcome,
        } = self;
        let counter = match (*outcome, *direction) {
            (Outcome::Succeeded, Direction::Out) => Some(&counters.sent_files),
            (Outcome::Succeeded, Direction::In) => Some(&counters.received_files),
            (Outcome::Failed, _) => Some(&counters.failed),
            (Outcome::Absent, _) => None,
        };
        // Whoever sees that nothing is under way sees how it ended, too.
        if let Some(counter) = counter {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        counters.active(*direction).fetch_sub(1, Ordering::Release);
    }
}
