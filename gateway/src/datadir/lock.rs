use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};

use super::durable::give_like;
use super::{DataDirError, Layout};

/// A gateway that was killed a moment ago holds its lock until the kernel has taken its memory
/// back.
const PATIENCE: Duration = Duration::from_secs(2);

/// Digits of the highest process number.
const PID_DIGITS_MAX: usize = 10;

/// The lock on a data directory. The kernel lets go of it when the process ends,
/// however it ends.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock and writes our process number into its file, for people only.
    pub(super) fn take(layout: &Layout) -> Result<Self, DataDirError> {
        let path = layout.lock();
        let file = open(&path).map_err(DataDirError::io("open", &path))?;
        // Else the owner's gateway could not lock it; a gateway that runs as another user goes on all
        // the same.
        if let Ok(directory) = layout.root().metadata() {
            drop(give_like(&file, &directory));
        }
        let asked = Instant::now();
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => break,
                Err(rustix::io::Errno::WOULDBLOCK) if asked.elapsed() < PATIENCE => {
                    sleep(Duration::from_millis(20));
                }
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    return Err(DataDirError::Locked {
                        path: layout.root().to_owned(),
                        pid: read_pid(&path),
                    });
                }
                Err(error) => return Err(DataDirError::io("lock", &path)(error.into())),
            }
        }
        if let Err(error) = write_pid(&file) {
            tracing::warn!(path = %path.display(), %error, "the lock does not name this process");
        }
        Ok(Self { _file: file })
    }
}

/// A disk that cannot be written still has the lock of an earlier start.
fn open(path: &Path) -> io::Result<File> {
    let writable = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path);
    writable.or_else(|error| File::open(path).map_err(|_| error))
}

/// In place of another's number: this needs no room on a full disk.
fn write_pid(file: &File) -> io::Result<()> {
    let text = format!("{:<PID_DIGITS_MAX$}\n", std::process::id());
    let written = file.write_all_at(text.as_bytes(), 0);
    // Nobody takes a number that is left for that of this process.
    file.set_len(if written.is_ok() {
        text.len() as u64
    } else {
        0
    })?;
    written
}

/// Waits until no one else edits the files of a directory. Independent of the lock that
/// a running gateway holds.
pub(crate) fn lock_directory(path: &Path) -> io::Result<impl Drop + use<>> {
    let directory = File::open(path)?;
    flock(&directory, FlockOperation::LockExclusive)?;
    Ok(DirectoryLock(directory))
}

struct DirectoryLock(File);

impl Drop for DirectoryLock {
    fn drop(&mut self) {
        // Closing the file lets go of the lock in any case.
        let _unlocked = flock(&self.0, FlockOperation::Unlock);
    }
}

/// Whether a process holds the lock of the directory.
pub(crate) fn is_held(layout: &Layout) -> bool {
    let Ok(file) = File::open(layout.lock()) else {
        return false;
    };
    let locked = flock(&file, FlockOperation::NonBlockingLockShared);
    locked == Err(rustix::io::Errno::WOULDBLOCK)
}

fn read_pid(path: &Path) -> Option<u32> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}
