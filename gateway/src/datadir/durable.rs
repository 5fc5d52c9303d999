//! Files that are there completely or not at all, also after a power cut.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use rustix::process::geteuid;

/// Who may read a file that is written over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Its owner alone.
    Owner,
    /// Whoever may read the one that it replaces.
    Same,
}

/// Writes a file that does not exist yet, for the directory's owner alone, and fsyncs it and its
/// directory. A file that cannot be written whole, on a full disk, is removed again.
pub fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    let written = give(path, &file)
        .and_then(|()| file.write_all(bytes))
        .and_then(|()| file.sync_all());
    written.inspect_err(|_| drop(fs::remove_file(path)))?;
    sync_directory(&directory_of(path))
}

/// Gives the new file at `path` to the owner of its directory: a command that root runs leaves nothing
/// that the gateway, which runs as another user, cannot read. A file that cannot be given is removed.
pub(crate) fn give_to_owner(path: &Path) -> io::Result<()> {
    give(path, &File::open(path)?)
}

fn give(path: &Path, file: &File) -> io::Result<()> {
    let owner = fs::metadata(directory_of(path))?;
    let given = give_like(file, &owner);
    given.inspect_err(|_| drop(fs::remove_file(path)))
}

/// Gives a file to the owner of another one, unless that is our user.
pub(crate) fn give_like(file: &File, other: &fs::Metadata) -> io::Result<()> {
    if other.uid() == geteuid().as_raw() {
        return Ok(());
    }
    fchown(file, Some(other.uid()), Some(other.gid())).map_err(|error| {
        let uid = other.uid();
        let text = format!(
            "it must belong to the user that the gateway runs as (uid {uid}): run this as that user, \
             or as root ({error})"
        );
        io::Error::new(error.kind(), text)
    })
}

/// Puts `bytes` in the place of the file at `path`: a new file is written beside it,
/// fsynced, renamed over it, and the directory is fsynced. Whoever reads sees the old
/// bytes or the new ones. The owner stays, where our user may give files away; else the file
/// belongs to the directory's owner. One writer at a time.
pub fn write_over(path: &Path, bytes: &[u8], access: Access) -> io::Result<()> {
    let old = fs::metadata(path)?;
    let mode = match access {
        Access::Owner => 0o600,
        Access::Same => old.mode() & 0o777,
    };
    let beside = beside(path);
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&beside)?;
    let given = give_like(&file, &old).or_else(|_| give(&beside, &file));
    let replaced = given
        .and_then(|()| file.write_all(bytes))
        .and_then(|()| file.set_permissions(fs::Permissions::from_mode(mode)))
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&beside, path));
    replaced.inspect_err(|_| drop(fs::remove_file(&beside)))?;
    sync_directory(&directory_of(path))
}

/// Makes sure that files which were made, renamed or removed in a directory stay so.
pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    path.with_file_name(name)
}

fn directory_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        Some(_) | None => PathBuf::from("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_and_keeps_its_mode() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("strait.toml");
        write_new(&path, b"one").unwrap();
        assert!(write_new(&path, b"two").is_err());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        write_over(&path, b"three", Access::Same).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"three");
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o640
        );
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_finds_no_room_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let full = Path::new("/dev/full");
        if !full.exists() {
            eprintln!("skipped: no /dev/full");
            return;
        }
        // `.new` leads to a device without room.
        let path = dir.path().join("strait.toml");
        write_new(&path, b"one").unwrap();
        std::os::unix::fs::symlink(full, beside(&path)).unwrap();
        let refused = write_over(&path, b"two", Access::Same).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::StorageFull);
        assert_eq!(fs::read(&path).unwrap(), b"one");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_root_writes_belongs_to_the_owner_of_the_directory() {
        if !geteuid().is_root() {
            eprintln!("skipped: needs root");
            return;
        }
        const SERVICE: u32 = 4711;
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::chown(dir.path(), Some(SERVICE), Some(SERVICE)).unwrap();
        let owner = |path: &Path| {
            let metadata = fs::metadata(path).unwrap();
            (metadata.uid(), metadata.gid(), metadata.mode() & 0o777)
        };
        let (key, config) = (dir.path().join("key"), dir.path().join("strait.toml"));
        write_new(&key, b"key").unwrap();
        assert_eq!(owner(&key), (SERVICE, SERVICE, 0o600));
        write_over(&key, b"next", Access::Owner).unwrap();
        assert_eq!(owner(&key), (SERVICE, SERVICE, 0o600));
        // An administrator's file, which the service may read.
        write_new(&config, b"one").unwrap();
        std::os::unix::fs::chown(&config, Some(12), Some(SERVICE)).unwrap();
        fs::set_permissions(&config, fs::Permissions::from_mode(0o640)).unwrap();
        write_over(&config, b"two", Access::Same).unwrap();
        assert_eq!(owner(&config), (12, SERVICE, 0o640));
    }
}
