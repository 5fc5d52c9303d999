//! A file being received: hidden until it is whole, checked and on disk.

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT};

use super::{FileMeta, Shared, StoreError, Trailer};
use crate::bulk::path::SitePath;
use crate::streams::TransferId;

/// Permission bits that a transfer may set: no set-user-id, set-group-id or sticky bit.
const MODE_MASK: u32 = 0o777;
const MODE_DEFAULT: u32 = 0o644;

/// A file that grows in the folder of partial files. Dropped uncommitted, it is removed.
#[derive(Debug)]
pub struct Partial {
    shared: Arc<Shared>,
    file: File,
    name: String,
    target: SitePath,
    meta: FileMeta,
    hasher: blake3::Hasher,
    length: u64,
    committed: bool,
}

impl Partial {
    /// Starts a file that will be `target`. `length_hint` bytes must fit now.
    pub(super) fn create(
        shared: Arc<Shared>,
        transfer: TransferId,
        target: SitePath,
        meta: FileMeta,
        length_hint: Option<u64>,
    ) -> Result<Self, StoreError> {
        check_target(&shared, &target)?;
        shared.check_room(length_hint.unwrap_or(0))?;
        let name = format!("{:032x}", transfer.0);
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&shared.partials, &name, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|errno| shared.writing("starting a file", errno))?;
        Ok(Self {
            shared,
            file: File::from(file),
            name,
            target,
            meta,
            hasher: blake3::Hasher::new(),
            length: 0,
            committed: false,
        })
    }

    /// Appends bytes. After an error the file is good for nothing but dropping.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.shared
            .usage
            .reserve(&self.shared, bytes.len() as u64)?;
        self.length += bytes.len() as u64;
        self.hasher.update(bytes);
        self.file
            .write_all(bytes)
            .map_err(|source| self.shared.write_failed(source))
    }

    /// Compares with what the sender says it sent, makes the file durable and gives
    /// it its name, all or nothing. What had that name before is replaced.
    pub fn commit(mut self, trailer: &Trailer) -> Result<(), StoreError> {
        if self.length != trailer.length {
            let (declared, received) = (trailer.length, self.length);
            return Err(StoreError::LengthDiffers { declared, received });
        }
        if self.hasher.finalize() != trailer.digest {
            return Err(StoreError::DigestDiffers);
        }
        self.set_meta()?;
        self.file
            .sync_all()
            .map_err(|source| self.shared.write_failed(source))?;
        let (folder, name) = self.target.split_last()?;
        let folder = self.shared.tree.make_folder(&folder)?;
        let replaced = self.rename(&folder, name)?;
        self.committed = true;
        self.shared.usage.release(replaced);
        rustix::fs::fsync(&folder).map_err(|errno| StoreError::io("flushing a folder", errno))
    }

    fn set_meta(&self) -> Result<(), StoreError> {
        let mode = Mode::from_raw_mode(self.meta.mode.unwrap_or(MODE_DEFAULT) & MODE_MASK);
        rustix::fs::fchmod(&self.file, mode)
            .map_err(|errno| StoreError::io("setting permissions", errno))?;
        let Some(mtime) = self.meta.mtime else {
            return Ok(());
        };
        let times = Timestamps {
            last_access: Timespec {
                tv_sec: 0,
                tv_nsec: UTIME_OMIT,
            },
            last_modification: Timespec {
                tv_sec: mtime.seconds,
                tv_nsec: mtime.nanos.min(999_999_999).into(),
            },
        };
        rustix::fs::futimens(&self.file, &times)
            .map_err(|errno| StoreError::io("setting the time", errno))
    }

    /// Returns the bytes of the file that was replaced.
    fn rename(&self, folder: &OwnedFd, name: &str) -> Result<u64, StoreError> {
        let _one_at_a_time = self.shared.renames.lock();
        let replaced = match super::tree::stat_at(folder, name)? {
            Some(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile => {
                u64::try_from(stat.st_size).unwrap_or(0)
            }
            Some(_) | None => 0,
        };
        rustix::fs::renameat(&self.shared.partials, &self.name, folder, name)
            .map_err(|errno| StoreError::io("renaming into place", errno))?;
        Ok(replaced)
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if self.committed {
            return;
        }
        self.shared.usage.release(self.length);
        if let Err(error) =
            rustix::fs::unlinkat(&self.shared.partials, &self.name, AtFlags::empty())
        {
            // The next start sweeps it.
            tracing::warn!(file = self.name, %error, "an unfinished file could not be removed");
        }
    }
}

/// Finds out before a long transfer what would stop its last step.
fn check_target(shared: &Shared, target: &SitePath) -> Result<(), StoreError> {
    target.split_last()?;
    match shared.tree.stat(target)? {
        Some(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
            Err(StoreError::IsFolder)
        }
        Some(_) | None => Ok(()),
    }
}
