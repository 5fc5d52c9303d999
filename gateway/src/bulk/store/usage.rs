//! How many bytes `bulk.dir` holds, and the cap on them.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};

use super::{Shared, StoreError};

/// Folders deeper than this are not counted: no path leads there.
const DEPTH_MAX: usize = crate::bulk::path::PATH_DEPTH_MAX + 1;

/// The bytes of all files, kept as transfers come and go.
#[derive(Debug)]
pub(super) struct Usage {
    bytes: AtomicU64,
    bytes_max: Option<u64>,
}

impl Usage {
    pub(super) fn new(bytes: u64, bytes_max: Option<u64>) -> Self {
        Self {
            bytes: AtomicU64::new(bytes),
            bytes_max,
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Takes room for `more` bytes. At the cap, files kept for a push to go on are given
    /// up, and the folder is counted again, since people remove files with ordinary tools.
    pub(super) fn reserve(&self, shared: &Shared, more: u64) -> Result<(), StoreError> {
        if self.try_reserve(more).is_ok() {
            return Ok(());
        }
        shared.make_room()?;
        self.try_reserve(more)
    }

    pub(super) fn count_again(&self, root: &OwnedFd) -> Result<(), StoreError> {
        self.bytes.store(count(root)?, Ordering::Relaxed);
        Ok(())
    }

    fn try_reserve(&self, more: u64) -> Result<(), StoreError> {
        let bytes = self
            .bytes
            .fetch_add(more, Ordering::Relaxed)
            .saturating_add(more);
        match self.bytes_max {
            Some(bytes_max) if bytes > bytes_max => {
                self.release(more);
                Err(StoreError::CapReached { bytes_max })
            }
            Some(_) | None => Ok(()),
        }
    }

    pub(super) fn release(&self, bytes: u64) {
        let less = |held: u64| Some(held.saturating_sub(bytes));
        // The closure never declines.
        self.bytes
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less)
            .ok();
    }
}

/// Adds up the regular files below a directory, links not followed.
pub(super) fn count(root: &OwnedFd) -> Result<u64, StoreError> {
    count_below(root, DEPTH_MAX).map_err(|errno| StoreError::io("measuring bulk.dir", errno))
}

fn count_below(folder: impl AsFd, depth: usize) -> rustix::io::Result<u64> {
    if depth == 0 {
        return Ok(0);
    }
    let mut bytes = 0u64;
    for item in Dir::read_from(&folder)? {
        let item = item?;
        let name = item.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        // What vanishes or may not be read while we count is not counted.
        let Ok(stat) = rustix::fs::statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW) else {
            continue;
        };
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind == FileType::RegularFile {
            bytes = bytes.saturating_add(u64::try_from(stat.st_size).unwrap_or(0));
        } else if kind == FileType::Directory {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            if let Ok(inner) = rustix::fs::openat(&folder, name, flags, Mode::empty()) {
                bytes = bytes.saturating_add(count_below(inner, depth - 1)?);
            }
        }
    }
    Ok(bytes)
}
