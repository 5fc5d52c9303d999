//! A gateway's stored bytes and the links that share them.

use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::chunker::ChunkerKey;
use crate::history::{Ledger, fill_random};
use crate::{Decoder, Encoder};

/// All of a gateway's stored bytes, shared by the encoders and decoders of its links.
#[derive(Clone, Debug)]
pub struct Store {
    shared: Arc<Shared>,
}

/// Where a gateway stores its history and how much of it.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// The directory of the segments; `None` keeps the history in memory only.
    pub dir: Option<PathBuf>,
    /// Hard cap on history kept in memory, in bytes.
    pub memory_bytes_max: u64,
    /// Hard cap on history kept on disk, in bytes.
    pub disk_bytes_max: u64,
}

/// What opening a store found and repaired.
#[derive(Clone, Debug, Default)]
pub struct Recovery {}

impl fmt::Display for Recovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("history: empty, in memory")
    }
}

/// Why a store could not be opened at all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The history's directory can't be made or read.
    #[error("cannot use the history directory {}: {source}", dir.display())]
    Directory {
        /// The directory.
        dir: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
}

impl Store {
    /// Opens the store, repairing what it can: damaged history costs bytes on the link, never a
    /// start.
    ///
    /// # Errors
    /// The directory can't be made or read at all.
    pub fn open(config: StoreConfig) -> Result<(Self, Recovery), OpenError> {
        let mut key = [0; 32];
        fill_random(&mut key);
        let key = Mutex::new(Key {
            key: ChunkerKey(key),
            settled: false,
        });
        let shared = Arc::new(Shared {
            config,
            histories: AtomicU64::new(0),
            key,
        });
        Ok((Self { shared }, Recovery::default()))
    }

    /// The encoder and decoder of the link to `peer`, a stable name: its public key's text.
    pub fn link(&self, _peer: &str) -> (Encoder, Decoder) {
        self.shared.histories.fetch_add(2, Ordering::Relaxed);
        let link = Arc::new(Link {
            shared: self.shared.clone(),
            sent: Mutex::default(),
            received: Mutex::default(),
        });
        (Encoder::new(link.clone()), Decoder::new(link))
    }
}

/// What all links of a gateway share.
#[derive(Debug)]
struct Shared {
    config: StoreConfig,
    /// Histories among which the memory is divided.
    histories: AtomicU64,
    key: Mutex<Key>,
}

#[derive(Clone, Copy, Debug)]
struct Key {
    key: ChunkerKey,
    /// Some history has been cut by it.
    settled: bool,
}

/// One link's two histories: what we sent to the peer and what we received from it.
///
/// Nobody ever holds both locks at once.
#[derive(Debug)]
pub(crate) struct Link {
    shared: Arc<Shared>,
    sent: Mutex<Ledger>,
    received: Mutex<Ledger>,
}

impl Link {
    pub(crate) fn sent(&self) -> MutexGuard<'_, Ledger> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn received(&self) -> MutexGuard<'_, Ledger> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Most bytes that one history of a link may keep.
    pub(crate) fn history_bytes_max(&self) -> u64 {
        let histories = self.shared.histories.load(Ordering::Relaxed).max(1);
        self.shared.config.memory_bytes_max / histories
    }

    /// The gateway's chunker key, and whether it has been used yet.
    pub(crate) fn key(&self) -> (ChunkerKey, bool) {
        let key = self
            .shared
            .key
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        (key.key, key.settled)
    }

    /// Fixes the key at its first use.
    pub(crate) fn settle_key(&self) -> ChunkerKey {
        let mut key = self
            .shared
            .key
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        key.settled = true;
        key.key
    }

    /// A gateway without history takes its first peer's key; of two without, the smaller wins.
    pub(crate) fn meet_key(&self, theirs: ChunkerKey, theirs_settled: bool) {
        let mut key = self
            .shared
            .key
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if !key.settled && (theirs_settled || theirs < key.key) {
            key.key = theirs;
        }
    }
}
