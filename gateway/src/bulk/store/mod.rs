//! Plain files under `bulk.dir`: written aside, checked, fsynced, then renamed into place.
//!
//! Everything here blocks: it runs on threads that may, never on tokio's own.

mod links;
mod list;
mod look;
mod meta;
mod partial;
mod retention;
mod tree;
mod unfinished;
mod usage;

use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;
use rustix::fs::{AtFlags, FileType, RenameFlags, Stat};
use rustix::io::Errno;

pub use self::list::{Entry, EntryKind, PAGE_ENTRIES_MAX, Page};
pub use self::look::{Look, Standing};
pub use self::meta::{FileMeta, Mtime};
pub use self::partial::Partial;
pub use self::retention::FileRule;
use self::tree::Tree;
pub use self::unfinished::RESUMED_BYTES_MIN;
use self::unfinished::Unfinished;
use self::usage::Usage;
use super::path::{PARTIAL_DIR, PathError, SitePath};
use crate::streams::TransferId;

/// Where files are kept and how many bytes of them.
#[derive(Clone, Debug)]
pub struct BulkConfig {
    /// Made if missing.
    pub dir: PathBuf,
    /// What is read under [`SNAPSHOTS_DIR`](super::path::SNAPSHOTS_DIR), if anything.
    pub snapshots: Option<PathBuf>,
    /// Cap on the bytes of all files below `dir`, unfinished ones included. A file
    /// that replaces another needs room beside it until it is whole.
    pub bytes_max: Option<u64>,
}

/// The files of this site. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    tree: Tree,
    snapshots: Option<PathBuf>,
    /// On the same file system, so that a rename is atomic.
    unfinished: Unfinished,
    usage: Usage,
    renames: Mutex<()>,
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

/// `bulk.dir` cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreOpenError {
    #[error("bulk.dir {dir}: {doing}: {source}")]
    Io {
        dir: PathBuf,
        doing: &'static str,
        source: io::Error,
    },
    #[error("bulk.dir {0} is in use by another gateway: give each its own")]
    InUse(PathBuf),
}

/// Why a file cannot be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error(transparent)]
    Path(#[from] PathError),
    #[error("no such file")]
    NotFound,
    #[error("a folder, not a file")]
    IsFolder,
    #[error("the path leads through something that is not a folder")]
    NotAFolder,
    #[error("not a plain file")]
    NotAFile,
    #[error("the disk is full ({bytes_free} bytes free)")]
    DiskFull { bytes_free: u64 },
    #[error("bulk.bytes_max ({bytes_max} bytes) is reached")]
    CapReached { bytes_max: u64 },
    #[error("{received} bytes arrived of a file of {declared}")]
    LengthDiffers { declared: u64, received: u64 },
    #[error("the bytes that arrived do not have the digest of the file")]
    DigestDiffers,
    #[error("nothing of that file is kept any more")]
    NothingKept,
    #[error("another file is there")]
    Exists,
    #[error("{doing}: {source}")]
    Io {
        doing: &'static str,
        source: io::Error,
    },
}

impl Store {
    /// Opens `bulk.dir`, locks it, and sweeps what crashed transfers left.
    pub fn open(config: &BulkConfig) -> Result<(Self, Recovery), StoreOpenError> {
        let at = |doing| {
            let dir = config.dir.clone();
            move |source| StoreOpenError::Io { dir, doing, source }
        };
        std::fs::create_dir_all(&config.dir).map_err(at("making it"))?;
        let root = File::open(&config.dir).map_err(at("opening it"))?;
        let unfinished = Unfinished::open(&root)
            .map_err(at("opening its folder of unfinished files"))?
            .ok_or_else(|| StoreOpenError::InUse(config.dir.clone()))?;
        let recovery = unfinished
            .sweep()
            .map_err(at("sweeping unfinished files"))?;
        let tree = Tree::new(root.into());
        let bytes = usage::count(tree.root())
            .map_err(|error| at("measuring it")(io::Error::other(error)))?;
        let shared = Shared {
            tree,
            snapshots: config.snapshots.clone(),
            unfinished,
            usage: Usage::new(bytes, config.bytes_max),
            renames: Mutex::new(()),
        };
        Ok((
            Self {
                shared: Arc::new(shared),
            },
            recovery,
        ))
    }

    /// Starts receiving a file, or goes on with what [`Store::kept`] told of.
    ///
    /// Fails at once if it can be known that it would fail at the end: the target is
    /// a folder, or the bytes do not fit.
    pub fn create(&self, new: NewFile) -> Result<Partial, StoreError> {
        new.target.check_writable()?;
        Partial::create(self.shared.clone(), new)
    }

    /// What an earlier push of the same file, unchanged, to the same path left here:
    /// its length so far, and the digest of that. Reads all of it.
    pub fn kept(&self, new: &NewFile) -> Result<Option<Trailer>, StoreError> {
        partial::kept(&self.shared, new)
    }

    /// Opens a plain file for reading.
    pub fn open_file(&self, path: &SitePath) -> Result<Source, StoreError> {
        let (file, stat) = self.read(path, Tree::open_file)?;
        Ok(Source {
            file: file.into(),
            length: u64::try_from(stat.st_size).unwrap_or(0),
            meta: FileMeta::of_stat(&stat),
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
        links::make(&self.shared, path, target, mtime)
    }

    /// The same, in place of nothing but such a link.
    pub fn link_new(
        &self,
        path: &SitePath,
        target: &str,
        mtime: Option<Mtime>,
    ) -> Result<(), StoreError> {
        path.check_writable()?;
        links::make_new(&self.shared, path, target, mtime)
    }

    /// Makes a folder where it is missing, and gives it mode and time where they are known, for
    /// good once this returns. Its owner, the gateway, can always work in it.
    pub fn make_folder(&self, path: &SitePath, meta: FileMeta) -> Result<(), StoreError> {
        path.check_writable()?;
        path.split_last()?;
        let folder = self.shared.tree.make_folder(path)?;
        meta.apply_to_folder(&folder)
            .map_err(|error| StoreError::io("setting permissions and time", error))?;
        rustix::fs::fsync(&folder).map_err(|errno| StoreError::io("flushing a folder", errno))
    }

    /// Mode and time of a folder.
    pub fn folder_meta(&self, path: &SitePath) -> Result<FileMeta, StoreError> {
        let folder = self.read(path, Tree::open_folder)?;
        let stat = rustix::fs::fstat(&folder);
        let stat = stat.map_err(|errno| StoreError::io("looking at a folder", errno))?;
        Ok(FileMeta::of_stat(&stat))
    }

    /// To look at many paths.
    pub fn look(&self) -> Look<'_> {
        Look::new(&self.shared.tree)
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
        let folder = self.shared.tree.open_folder(&folder)?;
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
        if kind == FileType::RegularFile {
            self.shared
                .usage
                .release(u64::try_from(stat.st_size).unwrap_or(0));
        }
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
            return read(&self.shared.tree, path);
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

    /// Bytes of all files, unfinished ones included.
    pub fn bytes(&self) -> u64 {
        self.shared.usage.bytes()
    }
}

impl Shared {
    /// Gives an unfinished file its name. Returns the bytes of the file that had it.
    fn rename(&self, unfinished: &str, folder: &OwnedFd, name: &str) -> Result<u64, StoreError> {
        let _one_at_a_time = self.renames.lock();
        let replaced = match tree::stat_at(folder, name)? {
            Some(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile => {
                u64::try_from(stat.st_size).unwrap_or(0)
            }
            Some(_) | None => 0,
        };
        rustix::fs::renameat(self.unfinished.folder(), unfinished, folder, name)
            .map_err(|errno| StoreError::io("renaming into place", errno))?;
        Ok(replaced)
    }

    /// Gives an unfinished file a name, and whatever has that name meanwhile stays: then it is
    /// [`StoreError::Exists`].
    fn rename_new(&self, unfinished: &str, folder: &OwnedFd, name: &str) -> Result<(), StoreError> {
        let _one_at_a_time = self.renames.lock();
        let (from, flags) = (self.unfinished.folder(), RenameFlags::NOREPLACE);
        match rustix::fs::renameat_with(from, unfinished, folder, name, flags) {
            Ok(()) => Ok(()),
            Err(Errno::EXIST) => Err(StoreError::Exists),
            // This file system does not know the flag.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                self.add_name(unfinished, folder, name)
            }
            Err(errno) => Err(StoreError::io("renaming into place", errno)),
        }
    }

    /// The same in two steps. After a crash between them the next start takes the first name.
    fn add_name(&self, unfinished: &str, folder: &OwnedFd, name: &str) -> Result<(), StoreError> {
        let from = self.unfinished.folder();
        match rustix::fs::linkat(from, unfinished, folder, name, AtFlags::empty()) {
            Ok(()) => self
                .unfinished
                .remove(unfinished)
                .map_err(|errno| StoreError::io("taking its first name from a file", errno)),
            Err(Errno::EXIST) => Err(StoreError::Exists),
            Err(errno) => Err(StoreError::io("naming a file", errno)),
        }
    }

    fn bytes_free(&self) -> u64 {
        match rustix::fs::fstatvfs(self.unfinished.folder()) {
            Ok(fs) => fs.f_bavail.saturating_mul(fs.f_frsize),
            Err(_) => 0,
        }
    }

    /// An error if `length` bytes certainly do not fit.
    fn check_room(&self, length: u64) -> Result<(), StoreError> {
        if length == 0 {
            return Ok(());
        }
        self.usage.reserve(self, length)?;
        self.usage.release(length);
        if self.bytes_free() < length {
            self.make_room()?;
        }
        let bytes_free = self.bytes_free();
        if bytes_free < length {
            return Err(StoreError::DiskFull { bytes_free });
        }
        Ok(())
    }

    /// Gives up what only waits for a push to go on, and counts again.
    fn make_room(&self) -> Result<(), StoreError> {
        let removing = |error| StoreError::io("removing unfinished files", error);
        self.unfinished.remove_idle(None).map_err(removing)?;
        self.usage.count_again(self.tree.root())
    }

    fn write_failed(&self, source: io::Error) -> StoreError {
        match Errno::from_io_error(&source) {
            Some(errno) => self.writing("writing a file", errno),
            None => StoreError::Io {
                doing: "writing a file",
                source,
            },
        }
    }

    fn writing(&self, doing: &'static str, errno: Errno) -> StoreError {
        match errno {
            Errno::NOSPC | Errno::DQUOT => StoreError::DiskFull {
                bytes_free: self.bytes_free(),
            },
            other => StoreError::io(doing, other),
        }
    }
}

impl StoreError {
    fn io(doing: &'static str, source: impl Into<io::Error>) -> Self {
        let source = source.into();
        Self::Io { doing, source }
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
