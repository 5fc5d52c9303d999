//! The control socket in its directory.

use std::io;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::address::SocketPath;

/// How long a disk that has no place for the socket is left alone.
const BIND_AGAIN_AFTER: Duration = Duration::from_secs(2);
/// How often it is looked whether the socket is still there.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// A socket that listens, and is made again when somebody has removed it.
#[derive(Debug)]
pub(super) struct Socket {
    path: PathBuf,
    group: Option<u32>,
    listener: UnixListener,
    looks: Interval,
    /// That it cannot be made again was said.
    said: bool,
}

impl Socket {
    /// A disk that is full, or read-only, may have no place for a socket: it is made as soon as
    /// there is one.
    pub(super) async fn bind_when_possible(path: &Path, group: Option<u32>) -> io::Result<Self> {
        let mut said = false;
        let listener = loop {
            match bind(path, group) {
                Err(error) if takes_nothing(&error) => {
                    if !std::mem::replace(&mut said, true) {
                        tracing::error!(%error, "no control socket yet: it is made when the disk takes it");
                    }
                    tokio::time::sleep(BIND_AGAIN_AFTER).await;
                }
                bound => break bound?,
            }
        };
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Self {
            path: path.to_owned(),
            group,
            listener,
            looks,
            said: false,
        })
    }

    /// The next connection.
    pub(super) async fn accept(&mut self) -> io::Result<UnixStream> {
        loop {
            tokio::select! {
                accepted = self.listener.accept() => return accepted.map(|(stream, _)| stream),
                _ = self.looks.tick() => self.look_after(),
            }
        }
    }

    fn look_after(&mut self) {
        let there = std::fs::symlink_metadata(&self.path);
        if there.map_err(|error| error.kind()).err() != Some(io::ErrorKind::NotFound) {
            return;
        }
        match bind(&self.path, self.group) {
            Ok(listener) => {
                tracing::warn!("the control socket was removed, and is made anew");
                self.listener = listener;
                self.said = false;
            }
            Err(error) => {
                if !std::mem::replace(&mut self.said, true) {
                    tracing::error!(%error, "the control socket was removed, and cannot be made anew yet");
                }
            }
        }
    }

    /// Takes it away.
    pub(super) fn remove(self) -> io::Result<()> {
        match std::fs::remove_file(self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

fn takes_nothing(error: &io::Error) -> bool {
    use io::ErrorKind::{QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    matches!(
        error.kind(),
        QuotaExceeded | ReadOnlyFilesystem | StorageFull
    )
}

/// Binds under another name first, so that the socket is never there with other
/// permissions than its owner's.
fn bind(path: &Path, group: Option<u32>) -> io::Result<UnixListener> {
    let unready = path.with_extension("new");
    match std::fs::remove_file(&unready) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let listener = UnixListener::bind(SocketPath::of(&unready)?.path())?;
    set_mode(&unready, 0o600)?;
    if let Some(group) = group {
        give(&unready, group)?;
        set_mode(&unready, 0o660)?;
        // To come through to the socket; what else is there stays its owner's.
        if let Some(folder) = path.parent() {
            give(folder, group)?;
            set_mode(folder, 0o710)?;
        }
    }
    std::fs::rename(&unready, path)?;
    Ok(listener)
}

fn give(path: &Path, group: u32) -> io::Result<()> {
    chown(path, None, Some(group)).map_err(|error| {
        let path = path.display();
        let text = format!("{path} cannot be given to bulk.group: is our user in it? {error}");
        io::Error::new(error.kind(), text)
    })
}

fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
}
