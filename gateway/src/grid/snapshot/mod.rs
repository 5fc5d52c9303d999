//! Snapshots: the counters as they were at a time, each a file of its own.
//!
//! Logs need none: their entries carry their time. A file appears under its name only when it
//! is whole and fsynced. Drawn in `docs/STORE.md`, section "Snapshots".

mod read;
mod retention;
mod write;

use std::io;
use std::path::{Path, PathBuf};

use super::journal::entries;

pub(super) use read::SnapshotReader;
pub use read::{SnapshotError, SnapshotHead};
pub use retention::SnapshotRules;

/// What stands behind the time in a snapshot's name.
const SUFFIX: &str = ".snapshot";
/// What stands behind that while it is written.
const PART: &str = ".part";

/// A snapshot in a folder, by its name alone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SnapshotFile {
    /// When it was begun: milliseconds since 1970.
    pub time_ms: u64,
    pub path: PathBuf,
    pub bytes: u64,
    /// It was never finished: a crash or a full disk came in between.
    pub unfinished: bool,
}

impl SnapshotFile {
    /// What a file of this name is a snapshot of: when it was begun, in milliseconds since 1970, and
    /// whether it was never finished. None if it is no snapshot.
    pub fn parse_name(name: &str) -> Option<(u64, bool)> {
        let (name, unfinished) = match name.strip_suffix(PART) {
            Some(name) => (name, true),
            None => (name, false),
        };
        let time_ms = name.strip_suffix(SUFFIX)?.parse().ok()?;
        Some((time_ms, unfinished))
    }
}

/// The snapshots in `dir`, oldest first; none when there is no such folder.
pub fn list_snapshots(dir: &Path) -> io::Result<Vec<SnapshotFile>> {
    let mut found = Vec::new();
    for entry in entries(dir)? {
        let name = entry.file_name();
        let named = name.to_str().and_then(SnapshotFile::parse_name);
        let Some((time_ms, unfinished)) = named else {
            continue;
        };
        found.push(SnapshotFile {
            time_ms,
            path: entry.path(),
            bytes: entry.metadata()?.len(),
            unfinished,
        });
    }
    found.sort();
    Ok(found)
}

fn file_name(time_ms: u64) -> String {
    format!("{time_ms:013}{SUFFIX}")
}
