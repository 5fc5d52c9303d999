//! How much is stored below `bulk.dir`, and its cap.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};

use super::StoreError;
use super::shared::Shared;

/// Folders deeper than this are not counted: no path leads there.
const DEPTH_MAX: usize = crate::bulk::path::PATH_DEPTH_MAX + 2;
/// A file, folder or link counts as so many bytes beside its own: an inode, a name and the half of a
/// block that is lost at the end of it.
const ENTRY_BYTES: u64 = 4096;
/// A count that takes longer is not repeated at once.
const COUNT_SHORT: Duration = Duration::from_millis(10);
/// Counting again takes at most this part of the time.
const COUNT_PART: u32 = 20;

/// Files, folders and links.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// Of files.
    pub bytes: u64,
    pub entries: u64,
}

/// What is stored, kept as transfers come and go.
#[derive(Debug)]
pub(super) struct Usage {
    books: Mutex<Books>,
    bytes_max: u64,
}

#[derive(Debug)]
struct Books {
    stored: Stored,
    /// When the last count ended, and how long it took.
    counted: Option<(Instant, Duration)>,
}

impl Stored {
    /// One without bytes.
    pub(super) const ENTRY: Self = Self {
        bytes: 0,
        entries: 1,
    };

    pub(super) fn of(stat: &Stat) -> Self {
        let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        let bytes = u64::try_from(stat.st_size).ok().filter(|_| is_file);
        Self {
            bytes: bytes.unwrap_or(0),
            entries: 1,
        }
    }

    /// What counts against the cap.
    fn charged(self) -> u64 {
        let entries = self.entries.saturating_mul(ENTRY_BYTES);
        self.bytes.saturating_add(entries)
    }

    #[must_use]
    pub(super) fn and(self, more: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_add(more.bytes),
            entries: self.entries.saturating_add(more.entries),
        }
    }

    #[must_use]
    fn without(self, less: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_sub(less.bytes),
            entries: self.entries.saturating_sub(less.entries),
        }
    }
}

impl Usage {
    pub(super) fn new(stored: Stored, bytes_max: u64) -> Self {
        if stored.charged() > bytes_max {
            tracing::warn!(
                bytes = stored.bytes,
                entries = stored.entries,
                bytes_max,
                "bulk.dir holds more than bulk.bytes_max: files in it are served, new ones are refused"
            );
        }
        let counted = None;
        Self {
            books: Mutex::new(Books { stored, counted }),
            bytes_max,
        }
    }

    pub(super) fn stored(&self) -> Stored {
        self.books.lock().stored
    }

    /// Takes room for `more`. At the cap, files kept for a push to go on are given
    /// up, and the folder is counted again, since people remove files with ordinary tools.
    pub(super) fn reserve(&self, shared: &Shared, more: Stored) -> Result<(), StoreError> {
        if self.try_reserve(more).is_ok() {
            return Ok(());
        }
        shared.make_room()?;
        self.try_reserve(more)
    }

    /// Not while the last count was long and is not long ago.
    pub(super) fn count_again(&self, root: &OwnedFd) -> Result<(), StoreError> {
        let began = Instant::now();
        let counted = self.books.lock().counted;
        if counted.is_some_and(|(at, took)| took > COUNT_SHORT && began < at + took * COUNT_PART) {
            return Ok(());
        }
        let stored = count(root)?;
        let now = Instant::now();
        *self.books.lock() = Books {
            stored,
            counted: Some((now, now - began)),
        };
        Ok(())
    }

    fn try_reserve(&self, more: Stored) -> Result<(), StoreError> {
        let mut books = self.books.lock();
        let stored = books.stored.and(more);
        if stored.charged() > self.bytes_max {
            let bytes_max = self.bytes_max;
            return Err(StoreError::CapReached { bytes_max });
        }
        books.stored = stored;
        Ok(())
    }

    pub(super) fn release(&self, less: Stored) {
        let mut books = self.books.lock();
        books.stored = books.stored.without(less);
    }
}

/// Adds up all below a directory, links not followed.
pub(super) fn count(root: &OwnedFd) -> Result<Stored, StoreError> {
    count_below(root, DEPTH_MAX).map_err(|errno| StoreError::io("measuring bulk.dir", errno))
}

fn count_below(folder: impl AsFd, depth: usize) -> rustix::io::Result<Stored> {
    let mut stored = Stored::default();
    if depth == 0 {
        return Ok(stored);
    }
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
        stored = stored.and(Stored::of(&stat));
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            if let Ok(inner) = rustix::fs::openat(&folder, name, flags, Mode::empty()) {
                stored = stored.and(count_below(inner, depth - 1)?);
            }
        }
    }
    Ok(stored)
}
