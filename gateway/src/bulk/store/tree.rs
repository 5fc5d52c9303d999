//! Reaching files below a directory without ever leaving it.
//!
//! Each name of a path is opened by itself, relative to the folder before it and
//! following no symbolic link, so that neither a link planted in the tree nor a
//! folder swapped for one in mid-walk leads outside.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::StoreError;
use crate::bulk::path::SitePath;
use crate::privacy;

const FOLDER: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);
/// For folders made on the way to a pushed file: the umask that the gateway was started with narrows it.
const FOLDER_MODE: Mode = Mode::RWXU.union(Mode::RWXG).union(Mode::RWXO);

/// A directory that paths are resolved below.
#[derive(Debug)]
pub(super) struct Tree {
    root: OwnedFd,
}

impl Tree {
    pub(super) fn new(root: OwnedFd) -> Self {
        Self { root }
    }

    pub(super) fn root(&self) -> &OwnedFd {
        &self.root
    }

    /// Opens a folder that exists.
    pub(super) fn open_folder(&self, path: &SitePath) -> Result<OwnedFd, StoreError> {
        let mut folder = open_at(&self.root, ".", FOLDER)?;
        for name in path.names() {
            folder = open_at(&folder, name, FOLDER)?;
        }
        Ok(folder)
    }

    /// Opens a regular file for reading. A device, pipe or socket is refused
    /// without waiting for its other end.
    pub(super) fn open_file(&self, path: &SitePath) -> Result<(OwnedFd, Stat), StoreError> {
        let (folder, name) = path.split_last()?;
        let folder = self.open_folder(&folder)?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(&folder, name, flags, Mode::empty()) {
            Ok(file) => file,
            // What NOFOLLOW says of a link, and open of a socket or a device without a driver.
            Err(Errno::LOOP | Errno::NXIO | Errno::NODEV) => return Err(StoreError::NotAFile),
            Err(errno) => return Err(opening(errno)),
        };
        let stat = rustix::fs::fstat(&file).map_err(|e| StoreError::io("reading a file", e))?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Ok((file, stat)),
            FileType::Directory => Err(StoreError::IsFolder),
            FileType::Symlink
            | FileType::Fifo
            | FileType::Socket
            | FileType::CharacterDevice
            | FileType::BlockDevice
            | FileType::Unknown => Err(StoreError::NotAFile),
        }
    }

    /// What stands under a path, itself not followed if it is a link; `None` if nothing.
    pub(super) fn stat(&self, path: &SitePath) -> Result<Option<Stat>, StoreError> {
        let Ok((folder, name)) = path.split_last() else {
            return match rustix::fs::fstat(&self.root) {
                Ok(stat) => Ok(Some(stat)),
                Err(source) => Err(StoreError::io("looking at bulk.dir", source)),
            };
        };
        match self.open_folder(&folder) {
            Ok(folder) => stat_at(&folder, name),
            Err(StoreError::NotFound) => Ok(None),
            Err(other) => Err(other),
        }
    }
}

/// What `name` is in `folder`, links not followed; `None` if there is nothing.
pub(super) fn stat_at(folder: impl AsFd, name: &str) -> Result<Option<Stat>, StoreError> {
    match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(source) => Err(StoreError::io("looking at a file", source)),
    }
}

/// Opens the folder `name` in `folder`.
pub(super) fn open_folder_at(folder: impl AsFd, name: &str) -> Result<OwnedFd, StoreError> {
    open_at(folder, name, FOLDER)
}

/// Makes the folder `name` in `folder`, for good. Returns whether it was not there.
pub(super) fn make_folder_at(folder: impl AsFd, name: &str) -> Result<bool, StoreError> {
    match rustix::fs::mkdirat(&folder, name, FOLDER_MODE) {
        Ok(()) => {}
        Err(Errno::EXIST) => return Ok(false),
        Err(source) => return Err(StoreError::io("making a folder", source)),
    }
    rustix::fs::fsync(&folder).map_err(|source| StoreError::io("flushing a folder", source))?;
    let made = open_folder_at(&folder, name)?;
    open_to_others(&made).map_err(|source| StoreError::io("making a folder", source))?;
    Ok(true)
}

/// Gives a new folder the mode that it would have without [`privacy::begin`]. Where the folder above says
/// by a default ACL who may use it, that counts.
fn open_to_others(folder: &OwnedFd) -> Result<(), Errno> {
    let Some(shared) = privacy::shared_folder_mode() else {
        return Ok(());
    };
    let mode = Mode::from_raw_mode(rustix::fs::fstat(folder)?.st_mode);
    match mode.intersects(Mode::RWXG.union(Mode::RWXO)) {
        true => Ok(()),
        false => rustix::fs::fchmod(folder, mode | shared),
    }
}

fn open_at(folder: impl AsFd, name: &str, flags: OFlags) -> Result<OwnedFd, StoreError> {
    rustix::fs::openat(folder, name, flags, Mode::empty()).map_err(opening)
}

fn opening(errno: Errno) -> StoreError {
    match errno {
        Errno::NOENT => StoreError::NotFound,
        Errno::NOTDIR | Errno::LOOP => StoreError::NotAFolder,
        other => StoreError::io("opening", other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn tree(dir: &std::path::Path) -> Tree {
        Tree::new(std::fs::File::open(dir).unwrap().into())
    }

    fn path(text: &str) -> SitePath {
        text.parse().unwrap()
    }

    #[test]
    fn links_lead_nowhere() {
        let dir = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("secret"), "s").unwrap();
        symlink(outside.path(), dir.path().join("folder")).unwrap();
        symlink(outside.path().join("secret"), dir.path().join("file")).unwrap();
        let tree = tree(dir.path());
        assert!(matches!(
            tree.open_file(&path("file")),
            Err(StoreError::NotAFile)
        ));
        assert!(matches!(
            tree.open_file(&path("folder/secret")),
            Err(StoreError::NotAFolder)
        ));
        assert!(matches!(
            open_folder_at(tree.root(), "folder"),
            Err(StoreError::NotAFolder)
        ));
        assert!(!outside.path().join("new").exists());
    }

    #[test]
    fn only_plain_files_open() {
        let dir = tempfile::tempdir().unwrap();
        let tree = tree(dir.path());
        std::fs::create_dir_all(dir.path().join("a/b")).unwrap();
        assert!(matches!(
            tree.open_file(&path("a/b")),
            Err(StoreError::IsFolder)
        ));
        assert!(matches!(
            tree.open_file(&path("a/c")),
            Err(StoreError::NotFound)
        ));
        let pipe = dir.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, FileType::Fifo, Mode::RUSR, 0).unwrap();
        assert!(matches!(
            tree.open_file(&path("pipe")),
            Err(StoreError::NotAFile)
        ));
        let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("socket")).unwrap();
        assert!(matches!(
            tree.open_file(&path("socket")),
            Err(StoreError::NotAFile)
        ));
    }
}
