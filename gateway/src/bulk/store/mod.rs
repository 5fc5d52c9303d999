//! Plain files under `bulk.dir`: written aside, checked, fsynced, then renamed into place.
//!
//! Everything here blocks: it runs on threads that may, never on tokio's own.

mod list;
mod partial;
mod tree;
mod usage;

use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags, Stat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

pub use self::list::{Entry, EntryKind, PAGE_ENTRIES_MAX, Page};
pub use self::partial::Partial;
use self::tree::Tree;
use self::usage::Usage;
use super::path::{PARTIAL_DIR, PathError, SitePath};
use crate::streams::TransferId;

/// Where files are kept and how many bytes of them.
#[derive(Clone, Debug)]
pub struct BulkConfig {
    /// Made if missing.
    pub dir: PathBuf,
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
    /// On the same file system, so that a rename is atomic. Its lock keeps other gateways out.
    partials: OwnedFd,
    usage: Usage,
    renames: Mutex<()>,
}

/// What an earlier run left behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    pub partials_removed: u64,
    pub bytes_freed: u64,
}

/// When a file was last changed, since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mtime {
    pub seconds: i64,
    pub nanos: u32,
}

/// What a file carries beside its bytes, where the sender knows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileMeta {
    /// Permission bits; only `0o777` of them count.
    pub mode: Option<u32>,
    pub mtime: Option<Mtime>,
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
        let partials =
            open_partials(&root).map_err(at("opening its folder of unfinished files"))?;
        match rustix::fs::flock(&partials, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Err(StoreOpenError::InUse(config.dir.clone())),
            Err(errno) => return Err(at("locking it")(errno.into())),
        }
        let recovery = sweep(&partials).map_err(at("removing unfinished files"))?;
        let tree = Tree::new(root.into());
        let bytes = usage::count(tree.root())
            .map_err(|error| at("measuring it")(io::Error::other(error)))?;
        let shared = Shared {
            tree,
            partials,
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

    /// Starts receiving a file that will be `target`.
    ///
    /// Fails at once if it can be known that it would fail at the end: `target` is
    /// a folder, or `length_hint` bytes do not fit.
    pub fn create(
        &self,
        transfer: TransferId,
        target: SitePath,
        meta: FileMeta,
        length_hint: Option<u64>,
    ) -> Result<Partial, StoreError> {
        Partial::create(self.shared.clone(), transfer, target, meta, length_hint)
    }

    /// Opens a plain file for reading.
    pub fn open_file(&self, path: &SitePath) -> Result<Source, StoreError> {
        let (file, stat) = self.shared.tree.open_file(path)?;
        Ok(Source {
            file: file.into(),
            length: u64::try_from(stat.st_size).unwrap_or(0),
            meta: FileMeta {
                mode: Some(stat.st_mode & 0o777),
                mtime: Some(Mtime::of(&stat)),
            },
        })
    }

    /// Removes a file, for good once this returns. A link is removed, not what it leads to.
    pub fn remove(&self, path: &SitePath) -> Result<(), StoreError> {
        let (folder, name) = path.split_last()?;
        let folder = self.shared.tree.open_folder(&folder)?;
        let _one_at_a_time = self.shared.renames.lock();
        let stat = tree::stat_at(&folder, name)?.ok_or(StoreError::NotFound)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind == FileType::Directory {
            return Err(StoreError::IsFolder);
        }
        rustix::fs::unlinkat(&folder, name, AtFlags::empty())
            .map_err(|errno| StoreError::io("removing", errno))?;
        if kind == FileType::RegularFile {
            self.shared
                .usage
                .release(u64::try_from(stat.st_size).unwrap_or(0));
        }
        rustix::fs::fsync(&folder).map_err(|errno| StoreError::io("flushing a folder", errno))
    }

    /// The next page of a listing, after the name `after` (`""` for the first).
    pub fn list(&self, path: &SitePath, after: &str) -> Result<Page, StoreError> {
        list::list(&self.shared.tree, path, after)
    }

    /// Bytes of all files, unfinished ones included.
    pub fn bytes(&self) -> u64 {
        self.shared.usage.bytes()
    }
}

impl Shared {
    fn bytes_free(&self) -> u64 {
        match rustix::fs::fstatvfs(&self.partials) {
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
        let bytes_free = self.bytes_free();
        if bytes_free < length {
            return Err(StoreError::DiskFull { bytes_free });
        }
        Ok(())
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

impl Mtime {
    fn of(stat: &Stat) -> Self {
        Self {
            seconds: stat.st_mtime,
            nanos: u32::try_from(stat.st_mtime_nsec).unwrap_or(0),
        }
    }
}

impl fmt::Display for Recovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.partials_removed {
            0 => f.write_str("no unfinished files"),
            count => write!(
                f,
                "removed {count} unfinished file(s), {} bytes: run those transfers again",
                self.bytes_freed
            ),
        }
    }
}

fn open_partials(root: &File) -> io::Result<OwnedFd> {
    match rustix::fs::mkdirat(root, PARTIAL_DIR, Mode::RWXU) {
        Ok(()) => rustix::fs::fsync(root)?,
        Err(Errno::EXIST) => {}
        Err(errno) => return Err(errno.into()),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(root, PARTIAL_DIR, flags, Mode::empty())?)
}

fn sweep(partials: &OwnedFd) -> io::Result<Recovery> {
    let mut recovery = Recovery::default();
    for item in rustix::fs::Dir::read_from(partials)? {
        let item = item?;
        let name = item.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let stat = rustix::fs::statat(partials, name, AtFlags::SYMLINK_NOFOLLOW)?;
        rustix::fs::unlinkat(partials, name, AtFlags::empty())?;
        recovery.partials_removed += 1;
        recovery.bytes_freed += u64::try_from(stat.st_size).unwrap_or(0);
    }
    Ok(recovery)
}

#[cfg(test)]
mod tests;
