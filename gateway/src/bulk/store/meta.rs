//! What a file carries beside its bytes.

use std::fs::{File, Metadata};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime};

use rustix::fs::{Mode, Stat, Timespec, Timestamps, UTIME_OMIT};
use serde::{Deserialize, Serialize};

/// Permission bits that a transfer may set: no set-user-id, set-group-id or sticky bit.
const MODE_MASK: u32 = 0o777;
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
    /// Permission bits; only `0o777` of them count.
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
    pub(super) fn of_stat(stat: &Stat) -> Self {
        Self {
            mode: Some(stat.st_mode & MODE_MASK),
            mtime: Some(Mtime::of(stat)),
        }
    }

    pub fn of(metadata: &Metadata) -> Self {
        Self {
            mode: Some(metadata.mode() & MODE_MASK),
            mtime: Some(Mtime {
                seconds: metadata.mtime(),
                nanos: u32::try_from(metadata.mtime_nsec()).unwrap_or(0),
            }),
        }
    }

    /// Gives a folder this mode and time, as far as they are known; its owner may always work in it.
    pub fn apply_to_folder(&self, folder: impl AsFd) -> io::Result<()> {
        if let Some(mode) = self.mode {
            let mode = Mode::from_raw_mode(mode & MODE_MASK) | Mode::RWXU;
            rustix::fs::fchmod(&folder, mode)?;
        }
        match self.mtime {
            Some(mtime) => Ok(rustix::fs::futimens(folder, &mtime.timestamps())?),
            None => Ok(()),
        }
    }

    /// Gives a file this mode, or a common one, and this time, if it is known.
    pub fn apply(&self, file: &File) -> io::Result<()> {
        let mode = self.mode.unwrap_or(MODE_DEFAULT) & MODE_MASK;
        rustix::fs::fchmod(file, Mode::from_raw_mode(mode))?;
        match self.mtime {
            Some(mtime) => Ok(rustix::fs::futimens(file, &mtime.timestamps())?),
            None => Ok(()),
        }
    }
}
