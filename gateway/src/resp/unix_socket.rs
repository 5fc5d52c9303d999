//! The file of a unix socket. It stays when its process is killed, so the next start removes it; but
//! never one that somebody listens on.

use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};

/// A gateway that was killed a moment ago may still hold the lock.
const LOCK_TRIES: u32 = 50;
const LOCK_AGAIN_AFTER: Duration = Duration::from_millis(20);

/// A path for a socket that no other gateway has. The socket is removed when this is dropped.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    /// `PATH.lock`. The kernel lets go of it when the process ends, however it ends.
    _lock: File,
}

impl SocketFile {
    /// Takes the path, and removes what an earlier process left there.
    ///
    /// # Errors
    /// When somebody listens there, or it is no socket.
    pub(super) fn claim(path: &Path) -> io::Result<Self> {
        let lock = lock(path)?;
        match path.symlink_metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
            Ok(found) if !found.file_type().is_socket() => {
                let what = "there is a file that is no socket: remove it, or name another path";
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, what));
            }
            Ok(_) => {
                if UnixStream::connect(path).is_ok() {
                    return Err(in_use());
                }
                std::fs::remove_file(path)?;
            }
        }
        Ok(Self {
            path: path.to_owned(),
            _lock: lock,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn set_mode(&self, mode: u32) -> io::Result<()> {
        std::fs::set_permissions(&self.path, Permissions::from_mode(mode))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Left there, the next start removes it.
        std::fs::remove_file(&self.path).ok();
    }
}

/// Two gateways that start at once both find a socket that nobody listens on yet.
fn lock(path: &Path) -> io::Result<File> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let file = File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&name)?;
    for _ in 0..LOCK_TRIES {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(rustix::io::Errno::WOULDBLOCK) => std::thread::sleep(LOCK_AGAIN_AFTER),
            Err(error) => return Err(error.into()),
        }
    }
    Err(in_use())
}

fn in_use() -> io::Error {
    let what = "the socket is in use by another process: stop it, or name another path";
    io::Error::new(io::ErrorKind::AddrInUse, what)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn what_was_left_is_removed_and_what_lives_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        drop(UnixListener::bind(&path).unwrap());
        let claimed = SocketFile::claim(&path).unwrap();
        assert!(!path.exists());
        let listener = UnixListener::bind(&path).unwrap();
        drop(claimed);
        assert!(!path.exists());
        drop(listener);
        // Of a process that knows nothing of our locks.
        let _listener = UnixListener::bind(&path).unwrap();
        let error = SocketFile::claim(&path).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(UnixStream::connect(&path).is_ok());
    }

    #[test]
    fn who_starts_at_the_same_time_does_not_get_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let _claimed = SocketFile::claim(&path).unwrap();
        let error = SocketFile::claim(&path).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn another_file_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("data");
        std::fs::write(&path, "data").unwrap();
        assert!(SocketFile::claim(&path).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"data");
    }
}
