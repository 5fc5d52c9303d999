//! Takes snapshots of the counters on schedule, and lets old ones go.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tracing::{error, info, warn};

use crate::config::SnapshotSettings;
use crate::grid::{Grid, SnapshotFile, list_snapshots, now_ms};
use crate::observe::SnapshotReport;

/// The snapshots of a running gateway.
#[derive(Debug)]
pub(super) struct Snapshots {
    dir: PathBuf,
    settings: SnapshotSettings,
    last_ms: AtomicU64,
    taken: AtomicU64,
    failed: AtomicU64,
}

impl Snapshots {
    pub(super) fn new(dir: PathBuf, settings: SnapshotSettings) -> Self {
        Self {
            dir,
            settings,
            last_ms: AtomicU64::new(0),
            taken: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        }
    }

    pub(super) fn report(&self) -> SnapshotReport {
        let kept = list_snapshots(&self.dir).unwrap_or_default();
        let kept: Vec<_> = kept.into_iter().filter(|s| !s.unfinished).collect();
        SnapshotReport {
            kept: kept.len() as u64,
            bytes: kept.iter().map(|snapshot| snapshot.bytes).sum(),
            last_time_s: kept.last().map(|last| last.time_ms as f64 / 1000.0),
            taken: self.taken.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
        }
    }

    /// Takes one whenever it is due, for ever.
    pub(super) async fn run(self: Arc<Self>, grid: Arc<Grid>) {
        let Some(every) = self.settings.every else {
            return;
        };
        let begun = self.clone();
        drop(tokio::task::spawn_blocking(move || begun.begin()).await);
        loop {
            tokio::time::sleep(self.until_due(every, SystemTime::now())).await;
            let (own, grid) = (self.clone(), grid.clone());
            drop(tokio::task::spawn_blocking(move || own.take(&grid)).await);
        }
    }

    /// What was found at start: when the last one was taken, and any that a crash cut short.
    fn begin(&self) {
        for snapshot in self.found() {
            if snapshot.unfinished {
                warn!(path = %snapshot.path.display(), "removed a snapshot that was never finished");
                remove(&snapshot.path);
            } else {
                self.last_ms.store(snapshot.time_ms, Ordering::Relaxed);
            }
        }
    }

    fn until_due(&self, every: Duration, now: SystemTime) -> Duration {
        let last = UNIX_EPOCH + Duration::from_millis(self.last_ms.load(Ordering::Relaxed));
        // A clock that was set back waits one interval, not until it is where it was.
        let since = now.duration_since(last).unwrap_or_default();
        every.saturating_sub(since)
    }

    fn take(&self, grid: &Grid) {
        // Also after a failure: a full disk is not tried again and again.
        self.last_ms.store(now_ms(), Ordering::Relaxed);
        match grid.write_snapshot(&self.dir) {
            Ok(SnapshotFile { path, bytes, .. }) => {
                self.taken.fetch_add(1, Ordering::Relaxed);
                info!(path = %path.display(), bytes, "took a snapshot of the counters");
            }
            Err(error) => {
                self.failed.fetch_add(1, Ordering::Relaxed);
                error!(%error, "no snapshot of the counters: the earlier ones are kept");
                return;
            }
        }
        let whole = self.found().into_iter().filter(|s| !s.unfinished);
        let times: Vec<u64> = whole.map(|snapshot| snapshot.time_ms).collect();
        let gone = self.settings.keep.expired(&times, now_ms());
        let found = self.found().into_iter();
        for snapshot in found.filter(|snapshot| gone.contains(&snapshot.time_ms)) {
            remove(&snapshot.path);
        }
    }

    fn found(&self) -> Vec<SnapshotFile> {
        list_snapshots(&self.dir).unwrap_or_else(|error| {
            warn!(%error, dir = %self.dir.display(), "cannot list snapshots");
            Vec::new()
        })
    }
}

fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path) {
        warn!(%error, path = %path.display(), "cannot remove a snapshot");
    }
}
