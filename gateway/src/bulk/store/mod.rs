//! Plain files under `bulk.dir`: written aside, checked, fsynced, then renamed into place.
//!
//! Everything here blocks: it runs on threads that may, never on tokio's own.

mod acl;
mod error;
mod links;
mod list;
mod look;
mod meta;
mod partial;
mod retention;
mod seen;
mod shared;
mod step;
mod tree;
mod unfinished;
mod usage;

use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use rustix::fs::{AtFlags, FileType, Stat};
use rustix::io::Errno;
use strait_transport::SiteName;

pub use self::error::{StoreError, StoreOpenError};
pub use self::list::{Entry, EntryKind, PAGE_ENTRIES_MAX, Page};
pub use self::look::{Look, Standing};
pub use self::meta::{FileMeta, Mtime};
pub use self::partial::{Kept, Partial};
pub use self::retention::FileRule;
use self::shared::Shared;
pub(super) use self::step::read_on;
use self::tree::Tree;
pub use self::unfinished::RESUMED_BYTES_MIN;
use self::unfinished::Unfinished;
pub use self::usage::Stored;
use self::usage::Usage;
use super::path::{PARTIAL_DIR, SitePath};
use crate::streams::TransferId;

/// Where files are kept and how many bytes of them.
#[derive(Clone, Debug)]
pub struct BulkConfig {
    /// Made if missing.
    pub dir: PathBuf,
    /// What is read under [`SNAPSHOTS_DIR`](super::path::SNAPSHOTS_DIR), if anything.
    pub snapshots: Option<PathBuf>,
    /// Notes that `dir` was there; one that is there no more is not made then.
    pub seen: Option<PathBuf>,
    /// Cap on what is stored below `dir`, unfinished files included. A file
    /// that replaces another needs room beside it until it is whole.
    pub bytes_max: u64,
    /// No file takes the disk's last so many bytes, of a small disk its last tenth.
    pub free_bytes_min: u64,
    /// Whether all peers read and write the same files. Otherwise each has the folder of its name.
    /// Where it is not said they share a directory that release 0.1.0 made, and no other.
    pub shared: Option<bool>,
    /// A push or pull of a peer that does not move for so long ends.
    pub idle_max: Duration,
}

/// The files of this site. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    shared: Arc<Shared>,
    /// Where paths begin.
    home: SitePath,
}

/// What an earlier run left unfinished.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Files that a push of the same file goes on with.
    pub kept: u64,
    /// Files that were of no use.
    pub removed: u64,
    /// The bytes of those.
    pub bytes_freed: u64,
}

/// A file that is to be received.
#[derive(Clone, Debug)]
pub struct NewFile {
    pub transfer: TransferId,
    pub target: SitePath,
    pub meta: FileMeta,
    /// Of the whole file, if its sender knows.
    pub length: Option<u64>,
    /// Where the bytes that come begin: what is before is kept here already.
    pub offset: u64,
    /// It takes the place of no other file.
    pub no_replace: bool,
}

/// What the sender of a file says it sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trailer {
    pub length: u64,
    pub digest: blake3::Hash,
}

/// A file opened to be sent.
#[derive(Debug)]
pub struct Source {
    pub file: File,
    pub length: u64,
    pub meta: FileMeta,
}

impl Store {
    /// Opens `bulk.dir`, locks it, and sweeps what crashed transfers left.
    pub fn open(config: &BulkConfig) -> Result<(Self, Recovery), StoreOpenError> {
        let at = |doing| {
            let dir = config.dir.clone();
            move |source| StoreOpenError::Io { dir, doing, source }
        };
        if let Some(note) = &config.seen {
            seen::check(note, &config.dir)?;
        }
        std::fs::create_dir_all(&config.dir).map_err(at("making it"))?;
        let root = File::open(&config.dir).map_err(at("opening it"))?;
        let unfinished = Unfinished::open(&root)
            .map_err(at("opening its folder of unfinished files"))?
            .ok_or_else(|| StoreOpenError::InUse(config.dir.clone()))?;
        if let Some(note) = &config.seen {
            seen::note(note, &config.dir);
        }
        let recovery = unfinished
            .sweep()
            .map_err(at("sweeping unfinished files"))?;
        let tree = Tree::new(root.into());
        let measuring = |error| at("measuring it")(io::Error::other(error));
        let stored = usage::count(tree.root()).map_err(measuring)?;
        let shared = Shared {
            peers_share: config
                .shared
                .unwrap_or_else(|| !unfinished.are_peers_apart()),
            tree,
            snapshots: config.snapshots.clone(),
            unfinished,
            usage: Usage::new(stored, config.bytes_max),
            free_bytes_min: config.free_bytes_min,
            renames: Mutex::new(()),
        };
        Ok((
            Self {
                shared: Arc::new(shared),
                home: SitePath::root(),
            },
            recovery,
        ))
    }

    /// What a peer reads and writes: all, or the folder of its name, which is made as far as the
    /// disk takes it.
    pub fn of_peer(&self, peer: &SiteName) -> Self {
        if self.shared.peers_share {
            return self.clone();
        }
        let home = SitePath::of_site(peer);
        if let Err(error) = self.shared.make_folder(&home) {
            tracing::debug!(%peer, %error, "the folder of a peer is made when a file comes");
        }
        Self {
            shared: self.shared.clone(),
            home,
        }
    }

    /// Whether all peers read and write the same files.
    pub fn peers_share(&self) -> bool {
        self.shared.peers_share
    }

    fn open_folder(&self, path: &SitePath) -> Result<OwnedFd, StoreError> {
        self.shared.tree.open_folder(&self.place(path)?)
    }

    /// The same path from `bulk.dir` on.
    fn place(&self, path: &SitePath) -> Result<SitePath, StoreError> {
        match (self.home.is_root(), path.is_root()) {
            (true, _) => Ok(path.clone()),
            (false, true) => Ok(self.home.clone()),
            (false, false) => Ok(self.home.join(path.as_str())?),
        }
    }

    /// Starts receiving a file, or goes on with what [`Store::kept`] told of.
    ///
    /// Fails at once if it can be known that it would fail at the end: the target is
    /// a folder, or the bytes do not fit.
    pub fn create(&self, new: NewFile) -> Result<Partial, StoreError> {
        Partial::create(&self.shared, self.placed(new)?)
    }

    /// What an earlier push of the same file, unchanged, to the same path left here: it is yet to be
    /// read.
    pub fn open_kept(&self, new: &NewFile) -> Result<Option<Kept>, StoreError> {
        Kept::open(&self.shared, &self.placed(new.clone())?)
    }

    /// The same file, under its path from `bulk.dir` on.
    fn placed(&self, new: NewFile) -> Result<NewFile, StoreError> {
        new.target.check_writable()?;
        // The folder of a peer is no name for a file.
        new.target.split_last()?;
        let target = self.place(&new.target)?;
        Ok(NewFile { target, ..new })
    }

    /// Opens a plain file for reading.
    pub fn open_file(&self, path: &SitePath) -> Result<Source, StoreError> {
        let (file, stat) = self.read(path, Tree::open_file)?;
        Ok(Source {
            length: u64::try_from(stat.st_size).unwrap_or(0),
            meta: FileMeta::of_stat(&stat, &file),
            file: file.into(),
        })
    }

    /// Makes a symbolic link, for good once this returns, in place of a file or link that has the
    /// name. One that leads out of `bulk.dir` is refused.
    pub fn link(
        &self,
        path: &SitePath,
        target: &str,
        mtime: Option<Mtime>,
    ) -> Result<(), StoreError> {
        path.check_writable()?;
        links::make(self, path, target, mtime)
    }

    /// The same, in place of nothing but such a link.
    pub fn link_new(
        &self,
        path: &SitePath,
        target: &str,
        mtime: Option<Mtime>,
    ) -> Result<(), StoreError> {
        path.check_writable()?;
        links::make_new(self, path, target, mtime)
    }

    /// Makes a folder where it is missing, and gives it mode and time where they are known, for
    /// good once this returns. Its owner, the gateway, can always work in it.
    pub fn make_folder(&self, path: &SitePath, meta: FileMeta) -> Result<(), StoreError> {
        path.check_writable()?;
        path.split_last()?;
        let folder = self.shared.make_folder(&self.place(path)?)?;
        meta.apply_to_folder(&folder)
            .map_err(|error| StoreError::io("setting permissions and time", error))?;
        rustix::fs::fsync(&folder).map_err(|errno| StoreError::io("flushing a folder", errno))
    }

    /// Mode and time of a folder.
    pub fn folder_meta(&self, path: &SitePath) -> Result<FileMeta, StoreError> {
        let folder = self.read(path, Tree::open_folder)?;
        let stat = rustix::fs::fstat(&folder);
        let stat = stat.map_err(|errno| StoreError::io("looking at a folder", errno))?;
        Ok(FileMeta::of_stat(&stat, &folder))
    }

    /// To look at many paths.
    pub fn look(&self) -> Look<'_> {
        Look::new(self)
    }

    /// Removes a file or an empty folder, for good once this returns. A link is removed,
    /// not what it leads to.
    pub fn remove(&self, path: &SitePath) -> Result<(), StoreError> {
        self.remove_if(path, |_| true).map(drop)
    }

    /// Removes what has the name if `unwanted` says so, and nothing that a transfer puts there
    /// meanwhile. Returns whether it did.
    fn remove_if(
        &self,
        path: &SitePath,
        unwanted: impl FnOnce(&Stat) -> bool,
    ) -> Result<bool, StoreError> {
        path.check_writable()?;
        let (folder, name) = path.split_last()?;
        let folder = self.open_folder(&folder)?;
        let _one_at_a_time = self.shared.renames.lock();
        let stat = tree::stat_at(&folder, name)?.ok_or(StoreError::NotFound)?;
        if !unwanted(&stat) {
            return Ok(false);
        }
        let kind = FileType::from_raw_mode(stat.st_mode);
        let flags = match kind == FileType::Directory {
            true => AtFlags::REMOVEDIR,
            false => AtFlags::empty(),
        };
        rustix::fs::unlinkat(&folder, name, flags).map_err(|errno| match errno {
            Errno::NOTEMPTY | Errno::EXIST => StoreError::IsFolder,
            errno => StoreError::io("removing", errno),
        })?;
        self.shared.usage.release(Stored::of(&stat));
        rustix::fs::fsync(&folder).map_err(|errno| StoreError::io("flushing a folder", errno))?;
        Ok(true)
    }

    /// The next page of a listing, after the name `after` (`""` for the first).
    pub fn list(&self, path: &SitePath, after: &str) -> Result<Page, StoreError> {
        self.read(path, |tree, path| list::list(tree, path, after))
    }

    /// Reads `path` in the tree that it belongs to.
    fn read<T>(
        &self,
        path: &SitePath,
        read: impl FnOnce(&Tree, &SitePath) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let Some(inner) = path.in_snapshots() else {
            return read(&self.shared.tree, &self.place(path)?);
        };
        let dir = self.shared.snapshots.as_ref().ok_or(StoreError::NotFound)?;
        // Anew each time: it is made when there is a first one.
        let root =
            File::open(dir).map_err(|error| match error.kind() == io::ErrorKind::NotFound {
                true => StoreError::NotFound,
                false => StoreError::io("opening the folder of snapshots", error),
            })?;
        read(&Tree::new(root.into()), &inner)
    }

    /// Removes the files that a rule is about and does not keep. Returns how many.
    pub fn retain(&self, rules: &[FileRule], now: SystemTime) -> u64 {
        retention::retain(self, rules, now)
    }

    /// All files, folders and links of all peers, unfinished files included.
    pub fn stored(&self) -> Stored {
        self.shared.usage.stored()
    }
}

impl fmt::Display for Recovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            kept,
            removed,
            bytes_freed,
        } = self;
        match (kept, removed) {
            (0, 0) => f.write_str("no unfinished files"),
            _ => write!(
                f,
                "{kept} unfinished file(s) kept for the same push to go on, {removed} removed \
                 ({bytes_freed} bytes)"
            ),
        }
    }
}

#[cfg(test)]
mod tests;
