//! The folder of unfinished files: those that grow, and those kept so that the same
//! push can go on where it broke off.

use std::collections::HashSet;
use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use rustix::fs::{AtFlags, Dir, FlockOperation, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::{NewFile, PARTIAL_DIR, Recovery, Stored};
use crate::streams::TransferId;

/// Shorter files are sent again whole: asking first would cost as much.
pub const RESUMED_BYTES_MIN: u64 = 16 << 20;
/// How long a file waits for the push that goes on with it.
const KEPT_SECONDS_MAX: i64 = 7 * 24 * 3600;

/// What a new folder is made under, until it is whole.
const NEW_DIR: &str = ".strait-partial.new";
/// Lies in folders that this release made: without a word in the configuration peers share nothing.
const APART: &str = ".apart";

const FOLDER: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// The folder, locked against other gateways.
#[derive(Debug)]
pub(super) struct Unfinished {
    folder: OwnedFd,
    /// Names that a transfer is writing to.
    active: Mutex<HashSet<String>>,
    peers_apart: bool,
}

/// Names a push: the same file, unchanged, to the same path. In hex.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PushKey(String);

impl PushKey {
    /// `None` for what cannot be recognised, or is too short to matter.
    pub(super) fn of(new: &NewFile) -> Option<Self> {
        let (length, mtime) = (new.length?, new.meta.mtime?);
        if length < RESUMED_BYTES_MIN {
            return None;
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update(&length.to_le_bytes());
        hasher.update(&mtime.seconds.to_le_bytes());
        hasher.update(&mtime.nanos.to_le_bytes());
        hasher.update(new.target.as_str().as_bytes());
        let hex = hasher.finalize().to_hex();
        hex.get(..32).map(|hex| Self(hex.to_owned()))
    }

    fn name(&self, transfer: TransferId) -> String {
        format!("{}-{:032x}", self.0, transfer.0)
    }

    fn is_of(&self, name: &str) -> bool {
        name.strip_prefix(&self.0)
            .is_some_and(|rest| rest.starts_with('-'))
    }
}

impl Unfinished {
    /// `Ok(None)` if another gateway holds the folder.
    pub(super) fn open(root: &File) -> io::Result<Option<Self>> {
        let there = rustix::fs::statat(root, PARTIAL_DIR, AtFlags::SYMLINK_NOFOLLOW);
        if there.is_err_and(|errno| errno == Errno::NOENT) {
            make(root)?;
        }
        let folder = rustix::fs::openat(root, PARTIAL_DIR, FOLDER, Mode::empty())?;
        match rustix::fs::flock(&folder, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        }
        let mark = rustix::fs::statat(&folder, APART, AtFlags::SYMLINK_NOFOLLOW);
        Ok(Some(Self {
            peers_apart: mark.is_ok(),
            folder,
            active: Mutex::default(),
        }))
    }

    /// Whether this release made it.
    pub(super) fn are_peers_apart(&self) -> bool {
        self.peers_apart
    }

    pub(super) fn folder(&self) -> &OwnedFd {
        &self.folder
    }

    /// Removes what no push can go on with.
    pub(super) fn sweep(&self) -> io::Result<Recovery> {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let mut recovery = Recovery::default();
        for (name, stat) in self.names()? {
            let length = u64::try_from(stat.st_size).unwrap_or(0);
            // It had just got its other name.
            let has_other_name = stat.st_nlink > 1;
            let fresh = now.saturating_sub(stat.st_mtime) < KEPT_SECONDS_MAX;
            if !has_other_name && name.contains('-') && fresh && length >= RESUMED_BYTES_MIN {
                recovery.kept += 1;
                continue;
            }
            match self.remove(&name) {
                Ok(()) if has_other_name => {}
                Ok(()) => {
                    recovery.removed += 1;
                    recovery.bytes_freed += length;
                }
                Err(error) => {
                    // They take room, nothing else; the next start tries again.
                    tracing::warn!(name, %error, "unfinished files of no use stay");
                    break;
                }
            }
        }
        Ok(recovery)
    }

    /// Starts an empty file, claimed until [`Unfinished::release`].
    pub(super) fn create(
        &self,
        key: Option<&PushKey>,
        transfer: TransferId,
    ) -> rustix::io::Result<(File, String)> {
        let name = match key {
            Some(key) => key.name(transfer),
            None => format!("{:032x}", transfer.0),
        };
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC;
        let file = self.open_file(&name, flags)?;
        self.active.lock().insert(name.clone());
        Ok((file, name))
    }

    /// Claims what an earlier push under this key left.
    pub(super) fn claim(&self, key: &PushKey) -> io::Result<Option<(File, String)>> {
        let names = self.names()?;
        let mut active = self.active.lock();
        let kept = names.into_iter().map(|(name, _)| name);
        let Some(name) = kept
            .into_iter()
            .find(|name| key.is_of(name) && !active.contains(name))
        else {
            return Ok(None);
        };
        let file = match self.open_file(&name, OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC) {
            Ok(file) => file,
            // Removed to make room since.
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        };
        active.insert(name.clone());
        Ok(Some((file, name)))
    }

    /// Nobody writes to it any more; it stays, or the caller has renamed it.
    pub(super) fn release(&self, name: &str) {
        self.active.lock().remove(name);
    }

    pub(super) fn remove(&self, name: &str) -> rustix::io::Result<()> {
        rustix::fs::unlinkat(&self.folder, name, AtFlags::empty())
    }

    /// Removes what only waits for a push to go on: for this one, or for any. Returns the
    /// room that this freed.
    pub(super) fn remove_idle(&self, key: Option<&PushKey>) -> io::Result<Stored> {
        let mut freed = Stored::default();
        for (name, stat) in self.names()? {
            let active = self.active.lock();
            if key.is_none_or(|key| key.is_of(&name)) && !active.contains(&name) {
                self.remove(&name)?;
                freed = freed.and(Stored::of(&stat));
            }
        }
        Ok(freed)
    }

    fn open_file(&self, name: &str, flags: OFlags) -> rustix::io::Result<File> {
        let file = rustix::fs::openat(&self.folder, name, flags, Mode::RUSR | Mode::WUSR)?;
        Ok(File::from(file))
    }

    /// What is in the folder, except for names that are none of ours.
    fn names(&self) -> io::Result<Vec<(String, Stat)>> {
        let mut names = Vec::new();
        for item in Dir::read_from(&self.folder)? {
            let item = item?;
            let Some(name) = own_name(item.file_name()) else {
                continue;
            };
            match rustix::fs::statat(self.folder.as_fd(), name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => names.push((name.to_owned(), stat)),
                // A transfer ended meanwhile.
                Err(Errno::NOENT) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(names)
    }
}

/// Makes the folder, with the mark in it or not at all.
fn make(root: &File) -> io::Result<()> {
    match rustix::fs::mkdirat(root, NEW_DIR, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(errno.into()),
    }
    let folder = rustix::fs::openat(root, NEW_DIR, FOLDER, Mode::empty())?;
    let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(&folder, APART, flags, Mode::RUSR | Mode::WUSR)?;
    rustix::fs::fsync(&folder)?;
    rustix::fs::renameat(root, NEW_DIR, root, PARTIAL_DIR)?;
    Ok(rustix::fs::fsync(root)?)
}

fn own_name(name: &CStr) -> Option<&str> {
    name.to_str().ok().filter(|name| !name.starts_with('.'))
}
