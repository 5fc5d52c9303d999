//! The embedded grid: counters, hashes of counters and logs, kept in memory, journalled on disk.
//!
//! It knows what its data means and how two copies of it merge; it knows no network. What it
//! hands to a peer, what it takes from one and what its own journal holds are the same:
//! records (which a link packs, see [`Sent`]). Merging a record is idempotent, so records may be repeated
//! and, for counters, reordered.
//!
//! Local writes change memory at once. A *flush* (every [`GridConfig::flush_interval`]) gives all
//! that changed since the last one a version, the [`Epoch`], writes it to the journal, and only
//! then shows it to peers: a peer never knows more of us than our own disk does.

mod acked;
mod arena;
mod blocks;
mod claims;
mod clock;
mod cold;
mod compare;
mod counter;
mod counters;
mod digest;
mod disk_fault;
mod doubts;
mod expiry;
mod flush;
mod flusher;
mod fold;
mod forget;
mod ids;
mod image;
mod index;
mod journal;
mod keyspace;
mod log;
mod logs;
mod marks;
mod merge;
mod origins;
mod packed;
mod positions;
mod recent;
mod record;
mod recovery;
mod relay;
mod renew;
mod replication;
mod retention;
mod runs;
mod scan;
mod seal;
mod shares;
mod slots;
mod snapshot;
mod state;
mod stats;
mod unwritten;
mod varint;
mod watches;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use strait_transport::SiteName;
use tokio::sync::watch;

pub(crate) use acked::Acked;
pub use arena::NAME_BYTES_MAX;
pub use blocks::Span;
pub use cold::{ColdConfig, MendError, Mended, Spiller, Told};
pub use compare::{ComparisonBegun, Difference, Fingerprints, RANGES, RangeScan, Ranges};
pub use digest::{Digest, Scope};
pub use flusher::Flusher;
pub use forget::{Statement, StatementError};
pub use ids::{
    EntryId, Epoch, FlushNumber, LogName, LogPosition, Origin, ParseEntryIdError, Ticket,
};
pub use image::Image;
pub use marks::{LOG_MARKS_MAX, LogDepth, LogMark, LogMarks};
pub use packed::{Heard, Sent, UnpackError, Unpacked, known_bytes_max};
pub use positions::{Positions, PositionsError};
pub use recent::{Feed, Flushed};
pub use recovery::Recovery;
pub use relay::Relayed;
pub use renew::{Renewed, renew};
pub use replication::{Applied, ApplyError, CounterScan};
pub use retention::LogLimits;
pub use snapshot::{SnapshotError, SnapshotFile, SnapshotHead, SnapshotRules, list_snapshots};
pub use stats::GridStats;

pub(crate) use clock::now_ms;
pub(crate) use cold::{Absent, ColdError, IdRange, ReadAhead};
pub(crate) use counters::SetIf;
use forget::Members;
pub(crate) use keyspace::LOOK_AHEAD_MAX;
pub(crate) use log::{Keep, Log, Trim};
pub(crate) use logs::NewId;
pub(crate) use record::{pack_values, values_of};
pub(crate) use state::{Kind, LogId, OpError, State};
use unwritten::Unwritten;
pub(crate) use watches::Watch;

/// No record is longer: it fits a batch together with a small header.
pub const RECORD_BYTES_MAX: usize = (1 << 20) - 4096;

/// Rows of a record looked up or merged under the lock at a time.
const MERGE_SLICE: usize = 512;

/// What [`Grid::open`] needs.
#[derive(Clone, Debug)]
pub struct GridConfig {
    /// Folder of the journal, made if absent. None: memory only, nothing survives.
    pub dir: Option<PathBuf>,
    /// Our own site.
    pub site: SiteName,
    /// Our data directory's incarnation.
    pub incarnation: u64,
    /// Time between two flushes.
    pub flush_interval: Duration,
    /// While the disk is further behind than this, writes in memory wait for it.
    pub loss_window: Duration,
    /// Writes are refused above this many bytes; those to logs when they take three quarters of it.
    pub memory_bytes_max: u64,
    /// Those that the grid is replicated to. Where there are some, entries that were trimmed are kept
    /// until [`Grid::set_log_floor`] releases them.
    pub peers: BTreeSet<SiteName>,
    /// When older entries of logs go to files of their own. None: they stay in memory, but those
    /// that went there before are read all the same.
    pub cold: Option<ColdConfig>,
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

/// The grid of one site. Shared as `Arc<Grid>`.
///
/// Locks are taken in the order `cold`, `writer`, `state`; `state` only for bounded work, and never
/// during I/O.
#[derive(Debug)]
pub struct Grid {
    config: GridConfig,
    state: Mutex<State>,
    writer: Mutex<flush::Writer>,
    figures: Mutex<flush::FlushFigures>,
    /// None: memory only.
    cold: Mutex<Option<cold::Spill>>,
    cold_figures: Mutex<cold::SpillFigures>,
    cold_cache: cold::ReadCache,
    wake: flusher::Wake,
    /// The last durable epoch.
    epochs: watch::Sender<Epoch>,
    /// The last durable flush that had something for peers.
    flushes: watch::Sender<FlushNumber>,
    /// The last flushes that ended.
    progress: watch::Sender<flush::Progress>,
    /// How often something was found to be lost of a log.
    holes_found: watch::Sender<u64>,
    /// How often something that was lost came back.
    mended: watch::Sender<u64>,
    acked: watch::Sender<BTreeMap<SiteName, Acked>>,
}

impl Grid {
    /// Opens the grid and reads its journal back. Nothing is flushed by itself until
    /// [`Flusher::spawn`].
    pub fn open(config: GridConfig) -> Result<(Self, Recovery), GridOpenError> {
        let own = Origin {
            site: config.site.clone(),
            incarnation: config.incarnation,
        };
        let memory_bytes_max = usize::try_from(config.memory_bytes_max).unwrap_or(usize::MAX);
        let mut state = State::new(own, memory_bytes_max, !config.peers.is_empty());
        state.unwritten = Unwritten::new(config.loss_window);
        state.members = Members::new(config.peers.clone(), now_ms());
        let (journal, store, recovery) = match &config.dir {
            Some(dir) => {
                let (journal, store, recovery) = recovery::recover(dir, &mut state)?;
                state.begin_run(config.peers.clone());
                // What may be lost was confirmed no longer before the end than this.
                state.resume_ids(now_ms(), config.loss_window + config.flush_interval);
                state.begin_doubts(&config.peers, recovery.is_doubtful);
                (Some(journal), Some(store), recovery)
            }
            None => (None, None, Recovery::default()),
        };
        let damaged = !recovery.quarantined.is_empty();
        let grid = Self {
            epochs: watch::channel(state.durable_epoch).0,
            flushes: watch::channel(state.flush_number).0,
            progress: watch::channel(flush::Progress::default()).0,
            holes_found: watch::channel(0).0,
            mended: watch::channel(0).0,
            acked: watch::channel(BTreeMap::new()).0,
            state: Mutex::new(state),
            writer: Mutex::new(flush::Writer::new(journal, damaged)),
            figures: Mutex::default(),
            cold: Mutex::new(store.map(cold::Spill::new)),
            cold_figures: Mutex::default(),
            cold_cache: cold::ReadCache::default(),
            wake: flusher::Wake::default(),
            config,
        };
        Ok((grid, recovery))
    }

    /// The lock under which clients' commands run; hold it for bounded work only.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

#[cfg(test)]
mod tests;
