//! A gateway's stored bytes and the links that share them.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::chunker::ChunkerKey;
use crate::history::{Disk, Ledger, Repairs, SEGMENT_BYTES, fill_random, replace};
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
#[derive(Clone, Copy, Debug, Default)]
pub struct Recovery {
    /// The store keeps nothing on disk.
    pub in_memory: bool,
    /// A chunker key was found: there may be history cut by it.
    pub key_found: bool,
}

impl fmt::Display for Recovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self {
                in_memory: true, ..
            } => "history: in memory only",
            Self {
                key_found: true, ..
            } => "history: found, each link's is checked as it is opened",
            Self { .. } => "history: begun anew",
        })
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
        let mut recovery = Recovery {
            in_memory: config.dir.is_none(),
            key_found: false,
        };
        let mut found = None;
        if let Some(dir) = &config.dir {
            let made = std::fs::create_dir_all(dir);
            made.map_err(|source| OpenError::Directory {
                dir: dir.clone(),
                source,
            })?;
            found = read_key(dir);
            recovery.key_found = found.is_some();
        }
        let key = found.unwrap_or_else(|| {
            let mut key = [0; 32];
            fill_random(&mut key);
            ChunkerKey(key)
        });
        let key = Mutex::new(Key {
            key,
            settled: recovery.key_found,
        });
        let shared = Arc::new(Shared {
            config,
            histories: AtomicU64::new(0),
            key,
        });
        Ok((Self { shared }, recovery))
    }

    /// The encoder and decoder of the link to `peer`, a stable name: its public key's text.
    ///
    /// To be called once per peer while the store is open: the link owns its histories. What of them
    /// can't be read from disk is put aside, and begun anew.
    pub fn link(&self, peer: &str) -> (Encoder, Decoder) {
        self.shared.histories.fetch_add(2, Ordering::Relaxed);
        let name = blake3::hash(peer.as_bytes()).to_hex();
        let ledger = |side: &str| Mutex::new(self.ledger(&format!("{}-{side}", &name[..16])));
        let (sent, received) = (ledger("sent"), ledger("received"));
        let link = Arc::new(Link {
            shared: self.shared.clone(),
            sent,
            received,
        });
        (Encoder::new(link.clone()), Decoder::new(link))
    }

    fn ledger(&self, name: &str) -> Ledger {
        let config = &self.shared.config;
        let histories = self.shared.histories.load(Ordering::Relaxed).max(1);
        // A directory that can't be used leaves the history in memory.
        let disk = config
            .dir
            .as_ref()
            .and_then(|dir| Disk::open(&dir.join(name), &mut Repairs::default()).ok());
        disk.map_or_else(Ledger::default, |disk| {
            Ledger::on_disk(disk, config.memory_bytes_max / histories)
        })
    }
}

const KEY_FILE: &str = "chunker-key";

/// The key with its checksum; one that is damaged is replaced, at the cost of the old history's use.
fn read_key(dir: &Path) -> Option<ChunkerKey> {
    let bytes: [u8; 36] = std::fs::read(dir.join(KEY_FILE)).ok()?.try_into().ok()?;
    let (key, crc) = bytes.split_first_chunk::<32>()?;
    (crc32c::crc32c(key).to_le_bytes() == *crc).then_some(ChunkerKey(*key))
}

fn write_key(dir: &Path, key: ChunkerKey) -> std::io::Result<()> {
    let crc = crc32c::crc32c(&key.0).to_le_bytes();
    replace(&dir.join(KEY_FILE), &[key.0.as_slice(), &crc].concat())
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
/// Whoever holds both locks took that of `sent` first.
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
        let config = &self.shared.config;
        if config.dir.is_none() {
            return config.memory_bytes_max / histories;
        }
        // Segments are deleted whole, and the newest is there before the oldest goes.
        let share = config.disk_bytes_max / histories;
        share - (share / 2).min(2 * SEGMENT_BYTES)
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
        if let Some(dir) = self.shared.config.dir.as_ref().filter(|_| !key.settled) {
            // Unwritten, the next start draws another and cuts differently for a while.
            write_key(dir, key.key).unwrap_or_default();
        }
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
