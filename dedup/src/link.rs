//! A gateway's stored bytes and the links that share them.

use std::fmt;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::budget::{Budget, Share};
use crate::chunker::ChunkerKey;
use crate::encoder::TABLES_BYTES;
use crate::history::{Disk, Ledger, fill_random};
use crate::storage::{FileSystem, Storage, read_small, replace};
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
    /// Hard cap on history, indexes and tables in memory, in bytes: at least 16 MiB for each link.
    pub memory_bytes_max: u64,
    /// Hard cap on history kept on disk, in bytes: at least 128 MiB for each link.
    pub disk_bytes_max: u64,
    /// Links that there will be; the caps are divided among them.
    pub links: usize,
}

/// What opening a store and its links found, and what had to be put aside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// The store keeps nothing on disk.
    pub in_memory: bool,
    /// Bytes of history found whole.
    pub history_bytes: u64,
    /// Segments found whole.
    pub segments: u64,
    /// Segments put aside, because they could not be read or did not join.
    pub quarantined: u64,
    /// Bytes cut from the end of segments that a crash left unfinished.
    pub cut_bytes: u64,
    /// Directories that could not be used, and why: their history is in memory only.
    pub unusable: Vec<String>,
    /// The key that content is cut by could not be read, and another was drawn: what is held was
    /// cut elsewhere, so little of it is recognised when it is sent again.
    pub damaged_key: bool,
}

impl Recovery {
    /// Whether something that was held is lost, or is not used any more: what repeats it is sent
    /// in full again. Unfinished segments after a crash are no damage.
    pub fn is_damaged(&self) -> bool {
        self.quarantined > 0 || self.damaged_key || !self.unusable.is_empty()
    }
}

impl fmt::Display for Recovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.in_memory {
            return f.write_str("in memory only");
        }
        write!(
            f,
            "{} bytes in {} segments",
            self.history_bytes, self.segments
        )?;
        if self.quarantined > 0 {
            write!(f, "; put aside {} damaged segments", self.quarantined)?;
        }
        if self.cut_bytes > 0 {
            write!(f, "; cut {} bytes of unfinished segments", self.cut_bytes)?;
        }
        if self.damaged_key {
            f.write_str("; the chunker key was damaged, another is used")?;
        }
        for reason in &self.unusable {
            write!(f, "; in memory only: {reason}")?;
        }
        Ok(())
    }
}

/// What a store holds at one moment, all links together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreFigures {
    /// Content chunks that batches can refer to.
    pub chunks: u64,
    /// Bytes of history, indexes and tables in memory.
    pub memory_bytes: u64,
    /// Bytes that encoders keep between batches, beside that: buffers and what compressors know.
    pub codec_bytes: u64,
    /// Bytes set aside for indexes that are not in memory, as nothing was written to them yet.
    pub untouched_bytes: u64,
    /// Bytes of segments on disk.
    pub disk_bytes: u64,
    /// Records that failed their check since the start, and are not read again.
    pub quarantined: u64,
    /// Histories that are in memory only because their disk is full or failing.
    pub unwritable: u64,
}

impl Store {
    /// Opens the store on the operating system's files, repairing what it can: damaged history costs
    /// bytes on the link, and a directory that can't be used leaves it in memory, never without a
    /// start. [`Store::recovery`] says what was found.
    pub fn open(config: StoreConfig) -> Self {
        Self::open_on(config, Arc::new(FileSystem))
    }

    /// As [`Store::open`], on files of another kind.
    pub fn open_on(config: StoreConfig, storage: Arc<dyn Storage>) -> Self {
        let key = config.dir.as_ref().map(|dir| read_key(&*storage, dir));
        let damaged_key = matches!(&key, Some(Err(error)) if error.kind() != ErrorKind::NotFound);
        let key = key.and_then(Result::ok);
        let settled = key.is_some();
        let key = key.unwrap_or_else(|| {
            let mut key = [0; 32];
            fill_random(&mut key);
            ChunkerKey(key)
        });
        let recovery = Recovery {
            in_memory: config.dir.is_none(),
            damaged_key,
            ..Recovery::default()
        };
        let budget = Budget {
            memory_bytes_max: config.memory_bytes_max,
            disk_bytes_max: config.dir.is_some().then_some(config.disk_bytes_max),
            links: config.links,
            tables_bytes: TABLES_BYTES,
        };
        let shared = Arc::new(Shared {
            dir: config.dir,
            storage,
            share: budget.share(),
            key: Mutex::new(Key { key, settled }),
            recovery: Mutex::new(recovery),
            links: Mutex::default(),
        });
        Self { shared }
    }

    /// What was found when the store and its links were opened.
    pub fn recovery(&self) -> Recovery {
        lock(&self.shared.recovery).clone()
    }

    /// What the store holds. Waits for batches that are being encoded or decoded.
    pub fn figures(&self) -> StoreFigures {
        let links: Vec<_> = lock(&self.shared.links)
            .iter()
            .filter_map(Weak::upgrade)
            .collect();
        let mut figures = StoreFigures::default();
        for link in links {
            figures.chunks += link.chunks.load(Ordering::Relaxed);
            figures.memory_bytes += link.tables_bytes.load(Ordering::Relaxed);
            figures.untouched_bytes += link.untouched_bytes.load(Ordering::Relaxed);
            figures.codec_bytes += link.codec_bytes.load(Ordering::Relaxed);
            for ledger in [link.sent(), link.received()] {
                figures.memory_bytes += ledger.memory_bytes();
                figures.disk_bytes += ledger.disk_bytes();
                figures.quarantined += ledger.quarantined();
                figures.unwritable += u64::from(ledger.is_unwritable());
            }
        }
        figures
    }

    /// The encoder and decoder of the link to `peer`, a stable name.
    ///
    /// To be called once per peer while the store is open, for as many peers as the configuration
    /// said: the link owns its histories. What of them can't be read from disk is put aside, and
    /// begun anew.
    pub fn link(&self, peer: &str) -> (Encoder, Decoder) {
        let name = blake3::hash(peer.as_bytes()).to_hex();
        let ledger = |side: &str| Mutex::new(self.ledger(&format!("{}-{side}", &name[..16])));
        let (sent, received) = (ledger("sent"), ledger("received"));
        let link = Arc::new(Link {
            shared: self.shared.clone(),
            sent,
            received,
            chunks: AtomicU64::new(0),
            tables_bytes: AtomicU64::new(0),
            untouched_bytes: AtomicU64::new(0),
            codec_bytes: AtomicU64::new(0),
        });
        lock(&self.shared.links).push(Arc::downgrade(&link));
        (Encoder::new(link.clone()), Decoder::new(link))
    }

    fn ledger(&self, name: &str) -> Ledger {
        let shared = &self.shared;
        let disk = shared.dir.as_ref().and_then(|dir| {
            let dir = dir.join(name);
            let mut recovery = lock(&shared.recovery);
            let opened = Disk::open(shared.storage.clone(), &dir, &mut recovery);
            // A directory that can't be used leaves the history in memory.
            opened
                .map_err(|error| {
                    recovery
                        .unusable
                        .push(format!("{}: {error}", dir.display()))
                })
                .ok()
        });
        match disk {
            Some(disk) => Ledger::on_disk(disk, shared.share),
            None => Ledger::in_memory(shared.share),
        }
    }
}

const KEY_FILE: &str = "chunker-key";

/// The key with its checksum; one that is damaged is replaced, at the cost of the old history's use.
fn read_key(storage: &dyn Storage, dir: &Path) -> io::Result<ChunkerKey> {
    let bytes: [u8; 36] = read_small(storage, &dir.join(KEY_FILE))?;
    match bytes.split_first_chunk::<32>() {
        Some((key, crc)) if crc32c::crc32c(key).to_le_bytes() == *crc => Ok(ChunkerKey(*key)),
        Some(_) | None => Err(ErrorKind::InvalidData.into()),
    }
}

fn write_key(storage: &dyn Storage, dir: &Path, key: ChunkerKey) -> io::Result<()> {
    let crc = crc32c::crc32c(&key.0).to_le_bytes();
    let bytes = [key.0.as_slice(), &crc].concat();
    replace(storage, &dir.join(KEY_FILE), &bytes)
}

/// What all links of a gateway share.
#[derive(Debug)]
struct Shared {
    dir: Option<PathBuf>,
    storage: Arc<dyn Storage>,
    /// What each history may take.
    share: Share,
    key: Mutex<Key>,
    recovery: Mutex<Recovery>,
    links: Mutex<Vec<Weak<Link>>>,
}

/// Nothing that is guarded here is left half-changed by a panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
    /// Chunks in the encoder's index.
    chunks: AtomicU64,
    /// Memory of the encoder's indexes and tables.
    tables_bytes: AtomicU64,
    /// What of the indexes nothing was written to yet.
    untouched_bytes: AtomicU64,
    /// Memory of the encoder's buffers and of its compressor.
    codec_bytes: AtomicU64,
}

impl Link {
    /// For [`Store::figures`].
    pub(crate) fn note_chunks(&self, chunks: usize) {
        self.chunks.store(chunks as u64, Ordering::Relaxed);
    }

    /// For [`Store::figures`].
    pub(crate) fn note_tables(&self, bytes: u64, untouched: u64) {
        self.tables_bytes.store(bytes, Ordering::Relaxed);
        self.untouched_bytes.store(untouched, Ordering::Relaxed);
    }

    /// For [`Store::figures`].
    pub(crate) fn note_codec(&self, bytes: usize) {
        self.codec_bytes.store(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn sent(&self) -> MutexGuard<'_, Ledger> {
        lock(&self.sent)
    }

    pub(crate) fn received(&self) -> MutexGuard<'_, Ledger> {
        lock(&self.received)
    }

    /// What each history of a link may take.
    pub(crate) fn share(&self) -> Share {
        self.shared.share
    }

    /// The gateway's chunker key, and whether it has been used yet.
    pub(crate) fn key(&self) -> (ChunkerKey, bool) {
        let key = lock(&self.shared.key);
        (key.key, key.settled)
    }

    /// Fixes the key at its first use.
    pub(crate) fn settle_key(&self) -> ChunkerKey {
        let mut key = lock(&self.shared.key);
        if let Some(dir) = self.shared.dir.as_ref().filter(|_| !key.settled) {
            // Unwritten, the next start draws another and cuts differently for a while.
            write_key(&*self.shared.storage, dir, key.key).unwrap_or_default();
        }
        key.settled = true;
        key.key
    }

    /// A gateway without history takes its first peer's key; of two without, the smaller wins.
    pub(crate) fn meet_key(&self, theirs: ChunkerKey, theirs_settled: bool) {
        let mut key = lock(&self.shared.key);
        if !key.settled && (theirs_settled || theirs < key.key) {
            key.key = theirs;
        }
    }
}
