//! Why `bulk.dir` cannot be used, and why a file cannot be kept or read.

use std::io;
use std::path::PathBuf;

use crate::bulk::path::PathError;

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
    #[error(
        "bulk.dir {dir} holds no files of strait any more: is its disk mounted? Mount it and restart \
         the gateway; to begin with an empty one, remove {note} first"
    )]
    Missing { dir: PathBuf, note: PathBuf },
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
    #[error("the disk has {bytes_free} bytes left, and {bytes_min} stay free")]
    ReserveReached { bytes_free: u64, bytes_min: u64 },
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

impl StoreError {
    pub(super) fn io(doing: &'static str, source: impl Into<io::Error>) -> Self {
        let source = source.into();
        Self::Io { doing, source }
    }
}
