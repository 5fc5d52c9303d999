//! What a file carries beside its bytes.

use std::fs::{File, Metadata};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use rustix::fs::{FileType, Mode, Stat, Timespec, Timestamps, UTIME_OMIT};
use serde::{Deserialize, Serialize};

use super::acl;

/// Permission bits of a file that a transfer may set: no set-user-id, set-group-id or sticky bit.
const FILE_MASK: u32 = 0o777;
/// Those of a folder: there set-group-id says which group new files belong to, and the sticky bit
/// protects files from others.
const FOLDER_MASK: u32 = 0o3777;
const MODE_DEFAULT: u32 = 0o644;

/// When a file was last changed, since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Mtime {
    pub seconds: i64,
    pub nanos: u32,
}

/// Mode and time, where the sender knows them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileMeta {
    /// Permission bits; only `0o777` of a file and `0o3777` of a folder count.
    pub mode: Option<u32>,
    pub mtime: Option<Mtime>,
}

impl Mtime {
    pub(super) fn of(stat: &Stat) -> Self {
        Self {
            seconds: stat.st_mtime,
            nanos: u32::try_from(stat.st_mtime_nsec).unwrap_or(0),
        }
    }

    pub fn of_metadata(metadata: &Metadata) -> Self {
        Self {
            seconds: metadata.mtime(),
            nanos: u32::try_from(metadata.mtime_nsec()).unwrap_or(0),
        }
    }

    /// As a file is told; the time of its last access stays.
    pub fn timestamps(self) -> Timestamps {
        Timestamps {
            last_access: Timespec {
                tv_sec: 0,
                tv_nsec: UTIME_OMIT,
            },
            last_modification: Timespec {
                tv_sec: self.seconds,
                tv_nsec: self.nanos.min(999_999_999).into(),
            },
        }
    }

    /// How long ago that was, to the second; no time at all if it is still to come.
    pub(super) fn age(self, now: SystemTime) -> Duration {
        let now = now.duration_since(SystemTime::UNIX_EPOCH);
        let now = now.map_or(0, |now| i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
        let seconds = now.saturating_sub(self.seconds);
        Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
    }
}

impl FileMeta {
    /// Of an open file or folder.
    pub(super) fn of_stat(stat: &Stat, opened: impl AsFd) -> Self {
        let mode = acl::mode(permissions(stat.st_mode), |acl| {
            rustix::fs::fgetxattr(opened, acl::NAME, acl)
        });
        Self {
            mode: Some(mode),
            mtime: Some(Mtime::of(stat)),
        }
    }

    /// Of what has this name in a folder.
    pub(super) fn of_stat_at(stat: &Stat, folder: impl AsFd, name: &str) -> Self {
        let mode = acl::mode(permissions(stat.st_mode), |acl| {
            let path = format!("/proc/self/fd/{}/{name}", folder.as_fd().as_raw_fd());
            rustix::fs::lgetxattr(path, acl::NAME, acl)
        });
        Self {
            mode: Some(mode),
            mtime: Some(Mtime::of(stat)),
        }
    }

    /// Of the file or folder at `path`, as it was looked at.
    pub fn of(metadata: &Metadata, path: &Path) -> Self {
        let mode = acl::mode(permissions(metadata.mode()), |acl| {
            rustix::fs::getxattr(path, acl::NAME, acl)
        });
        Self {
            mode: Some(mode),
            mtime: Some(Mtime::of_metadata(metadata)),
        }
    }

    /// The same of an open one.
    pub fn of_opened(metadata: &Metadata, opened: impl AsFd) -> Self {
        let mode = acl::mode(permissions(metadata.mode()), |acl| {
            rustix::fs::fgetxattr(opened, acl::NAME, acl)
        });
        Self {
            mode: Some(mode),
            mtime: Some(Mtime::of_metadata(metadata)),
        }
    }

    /// Gives a folder this mode and time, as far as they are known; its owner may always work in it.
    pub fn apply_to_folder(&self, folder: impl AsFd) -> io::Result<()> {
        if let Some(mode) = self.mode {
            let mode = Mode::from_raw_mode(mode & FOLDER_MASK) | Mode::RWXU;
            rustix::fs::fchmod(&folder, mode)?;
        }
        match self.mtime {
            Some(mtime) => Ok(rustix::fs::futimens(folder, &mtime.timestamps())?),
            None => Ok(()),
        }
    }

    /// Gives a file this mode, or a common one, and this time, if it is known.
    pub fn apply(&self, file: &File) -> io::Result<()> {
        let mode = self.mode.unwrap_or(MODE_DEFAULT) & FILE_MASK;
        rustix::fs::fchmod(file, Mode::from_raw_mode(mode))?;
        match self.mtime {
            Some(mtime) => Ok(rustix::fs::futimens(file, &mtime.timestamps())?),
            None => Ok(()),
        }
    }
}

/// What crosses of a mode.
fn permissions(mode: u32) -> u32 {
    match FileType::from_raw_mode(mode) == FileType::Directory {
        true => mode & FOLDER_MASK,
        false => mode & FILE_MASK,
    }
}
