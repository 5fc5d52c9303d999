//! What all of a site's files share: the room that they take, and how one gets its name.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use parking_lot::Mutex;
use rustix::fs::{AtFlags, RenameFlags};
use rustix::io::Errno;

use super::error::StoreError;
use super::tree::{self, Tree};
use super::unfinished::Unfinished;
use super::usage::{Stored, Usage};
use crate::bulk::path::SitePath;

/// What stays free of a disk is at most this part of it.
const RESERVE_PART_MAX: u64 = 10;
/// As many bytes stay free for each inode that does: mke2fs makes one for as many.
const BYTES_AN_INODE: u64 = 16 << 10;

#[derive(Debug)]
pub(super) struct Shared {
    /// All of `bulk.dir`.
    pub(super) tree: Tree,
    /// All peers read and write the same files.
    pub(super) peers_share: bool,
    pub(super) snapshots: Option<PathBuf>,
    /// On the same file system, so that a rename is atomic.
    pub(super) unfinished: Unfinished,
    pub(super) usage: Usage,
    pub(super) free_bytes_min: u64,
    pub(super) renames: Mutex<()>,
}

impl Shared {
    /// Gives an unfinished file its name. Returns what was stored under it before.
    pub(super) fn rename(
        &self,
        unfinished: &str,
        folder: &OwnedFd,
        name: &str,
    ) -> Result<Stored, StoreError> {
        let _one_at_a_time = self.renames.lock();
        let replaced = tree::stat_at(folder, name)?;
        let replaced = replaced.as_ref().map(Stored::of).unwrap_or_default();
        rustix::fs::renameat(self.unfinished.folder(), unfinished, folder, name)
            .map_err(|errno| StoreError::io("renaming into place", errno))?;
        Ok(replaced)
    }

    /// Gives an unfinished file a name, and whatever has that name meanwhile stays: then it is
    /// [`StoreError::Exists`].
    pub(super) fn rename_new(
        &self,
        unfinished: &str,
        folder: &OwnedFd,
        name: &str,
    ) -> Result<(), StoreError> {
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
    pub(super) fn add_name(
        &self,
        unfinished: &str,
        folder: &OwnedFd,
        name: &str,
    ) -> Result<(), StoreError> {
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

    /// Opens a folder, making what is missing; each new entry is fsynced.
    pub(super) fn make_folder(&self, path: &SitePath) -> Result<OwnedFd, StoreError> {
        let mut folder = self.tree.open_folder(&SitePath::root())?;
        for name in path.names() {
            folder = match tree::open_folder_at(&folder, name) {
                Err(StoreError::NotFound) => self.make_folder_at(&folder, name)?,
                opened => opened?,
            };
        }
        Ok(folder)
    }

    fn make_folder_at(&self, folder: &OwnedFd, name: &str) -> Result<OwnedFd, StoreError> {
        self.take_room(Stored::ENTRY)?;
        if !tree::make_folder_at(folder, name)? {
            // Another transfer was faster.
            self.usage.release(Stored::ENTRY);
        }
        tree::open_folder_at(folder, name)
    }

    /// An error if a file of `length` more bytes certainly does not fit.
    pub(super) fn check_room(&self, length: u64) -> Result<(), StoreError> {
        if length > 0 {
            let more = Stored {
                bytes: length,
                entries: 0,
            };
            self.take_room(more)?;
            self.usage.release(more);
        }
        Ok(())
    }

    /// Takes room for `more`, within the cap and what stays free of the disk.
    pub(super) fn take_room(&self, more: Stored) -> Result<(), StoreError> {
        self.usage.reserve(self, more)?;
        let fits = self.check_disk(more).or_else(|_| {
            // What only waits for a push to go on is given up first.
            self.give_up_idle()?;
            self.check_disk(more)
        });
        fits.inspect_err(|_| self.usage.release(more))
    }

    /// An error if the disk has no room for `more` beside what stays free of it.
    fn check_disk(&self, more: Stored) -> Result<(), StoreError> {
        let Ok(disk) = rustix::fs::fstatvfs(self.unfinished.folder()) else {
            return Ok(());
        };
        let bytes_free = disk.f_bavail.saturating_mul(disk.f_frsize);
        if bytes_free < more.bytes {
            return Err(StoreError::DiskFull { bytes_free });
        }
        let disk_bytes = disk.f_blocks.saturating_mul(disk.f_frsize);
        let bytes_min = self.free_bytes_min.min(disk_bytes / RESERVE_PART_MAX);
        if bytes_free - more.bytes < bytes_min {
            return Err(StoreError::ReserveReached {
                bytes_free,
                bytes_min,
            });
        }
        // Some file systems count no inodes.
        let inodes_min = bytes_min / BYTES_AN_INODE;
        if disk.f_files > 0 && disk.f_favail < inodes_min.saturating_add(more.entries) {
            let doing = "keeping inodes free for what else is on the disk";
            return Err(StoreError::io(doing, Errno::NOSPC));
        }
        Ok(())
    }

    fn give_up_idle(&self) -> Result<(), StoreError> {
        let removing = |error| StoreError::io("removing unfinished files", error);
        let freed = self.unfinished.remove_idle(None).map_err(removing)?;
        self.usage.release(freed);
        Ok(())
    }

    /// Gives up what only waits for a push to go on, and counts again.
    pub(super) fn make_room(&self) -> Result<(), StoreError> {
        self.give_up_idle()?;
        self.usage.count_again(self.tree.root())
    }

    pub(super) fn write_failed(&self, source: io::Error) -> StoreError {
        match Errno::from_io_error(&source) {
            Some(errno) => self.writing("writing a file", errno),
            None => StoreError::Io {
                doing: "writing a file",
                source,
            },
        }
    }

    fn bytes_free(&self) -> u64 {
        match rustix::fs::fstatvfs(self.unfinished.folder()) {
            Ok(disk) => disk.f_bavail.saturating_mul(disk.f_frsize),
            Err(_) => 0,
        }
    }

    pub(super) fn writing(&self, doing: &'static str, errno: Errno) -> StoreError {
        match errno {
            Errno::NOSPC | Errno::DQUOT => StoreError::DiskFull {
                bytes_free: self.bytes_free(),
            },
            other => StoreError::io(doing, other),
        }
    }
}
