//! The embedded grid: counters, hashes of counters and logs, kept in memory, journalled on disk.
//!
//! It knows what its data means and how two copies of it merge; it knows no network. What it
//! hands to a peer, what it takes from one and what its own journal holds are the same bytes:
//! records. Merging a record is idempotent, so records may be repeated and, for counters,
//! reordered.
//!
//! Local writes change memory at once. A *flush* (every [`GridConfig::flush_interval`]) gives all
//! that changed since the last one a version, the [`Epoch`], writes it to the journal, and only
//! then shows it to peers: a peer never knows more of us than our own disk does.

mod ids;
mod positions;
mod replication;
mod stats;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use strait_transport::SiteName;

pub use ids::{EntryId, Epoch, LogName, LogPosition, Origin, ParseEntryIdError, Ticket};
pub use positions::{Positions, PositionsError};
pub use replication::{Applied, ApplyError, CounterScan, Flushed};
pub use stats::{Digest, GridStats};

/// No record is longer: it fits a batch together with a small header.
pub const RECORD_BYTES_MAX: usize = (1 << 20) - 4096;

/// What [`Grid::open`] needs.
#[derive(Clone, Debug)]
pub struct GridConfig {
    /// Folder of the journal, made if absent. None: memory only, nothing survives.
    pub dir: Option<PathBuf>,
    /// Our own site.
    pub site: SiteName,
    /// Our data directory's incarnation.
    pub incarnation: u64,
    /// How long a write in memory waits for the disk at most, the fsync itself apart.
    pub flush_interval: Duration,
    /// Writes are refused above this many bytes.
    pub memory_bytes_max: u64,
    /// Keep entries that were trimmed until [`Grid::set_log_floor`] releases them.
    pub keep_trimmed_for_peers: bool,
}

/// Why the grid could not start.
#[derive(Debug, thiserror::Error)]
pub enum GridOpenError {
    #[error("cannot use {path}: {source}")]
    Io {
        path: PathBuf,
        source: std::io::Error,
    },
}

/// Why a flush did not reach the disk.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the grid's journal cannot be written: {reason}")]
pub struct FlushError {
    /// The system's words.
    pub reason: String,
}

/// What was found on disk at start, and what had to be mended. Shown in the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Records read back.
    pub records: u64,
    /// Bytes read back.
    pub bytes: u64,
    /// Bytes of a write that a crash cut short; never confirmed to anyone.
    pub torn_bytes: u64,
    /// Records that failed their check and were put aside, with their place.
    pub quarantined: Vec<String>,
}

impl fmt::Display for Recovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} records, {} bytes", self.records, self.bytes)?;
        if self.torn_bytes > 0 {
            write!(f, "; cut {} bytes of an unfinished write", self.torn_bytes)?;
        }
        for place in &self.quarantined {
            write!(f, "; put aside {place}")?;
        }
        Ok(())
    }
}

/// The grid of one site. Shared as `Arc<Grid>`.
#[derive(Debug)]
pub struct Grid {
    config: GridConfig,
}

impl Grid {
    /// Opens the grid and reads its journal back.
    pub fn open(config: GridConfig) -> Result<(Self, Recovery), GridOpenError> {
        Ok((Self { config }, Recovery::default()))
    }
}
