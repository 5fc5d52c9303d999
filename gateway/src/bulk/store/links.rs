//! Symbolic links: kept as they are, never followed.

use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, FileType};

use super::{Mtime, Store, StoreError, Stored};
use crate::bulk::path::{LinkTarget, SitePath};

/// Makes a link under `path`, in place of a file or link that has the name. It must lead to a
/// place below `bulk.dir`.
pub(super) fn make(
    store: &Store,
    path: &SitePath,
    target: &str,
    mtime: Option<Mtime>,
) -> Result<(), StoreError> {
    place(store, path, (target, mtime), |unready, folder, name| {
        let replaced = store.shared.rename(unready, folder, name)?;
        store.shared.usage.release(replaced);
        Ok(())
    })
}

/// The same, in place of nothing but a link that says the same.
pub(super) fn make_new(
    store: &Store,
    path: &SitePath,
    target: &str,
    mtime: Option<Mtime>,
) -> Result<(), StoreError> {
    let shared = &store.shared;
    let depth = path.names().count().saturating_sub(1);
    place(
        store,
        path,
        (target, mtime),
        |unready, folder, name| match shared.rename_new(unready, folder, name) {
            Err(StoreError::Exists) if says(folder, name, depth).as_deref() == Some(target) => {
                let removed = shared.unfinished.remove(unready);
                removed.map_err(|errno| StoreError::io("removing a link", errno))?;
                shared.usage.release(Stored::ENTRY);
                Ok(())
            }
            placed => placed,
        },
    )
}

/// What the link says that has this name, if one has.
fn says(folder: &OwnedFd, name: &str, depth: usize) -> Option<String> {
    target(folder, name, depth).ok()
}

/// Makes a link aside, lets `put` give it its name, and flushes the folder.
fn place(
    store: &Store,
    path: &SitePath,
    (target, mtime): (&str, Option<Mtime>),
    put: impl FnOnce(&str, &OwnedFd, &str) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let shared = &store.shared;
    let (folder, name) = path.split_last()?;
    let target = LinkTarget::within(target, folder.names().count())?;
    let making = |errno| StoreError::io("making a link", errno);
    if let Some(stat) = shared.tree.stat(&store.place(path)?)?
        && FileType::from_raw_mode(stat.st_mode) == FileType::Directory
    {
        return Err(StoreError::IsFolder);
    }
    let folder = shared.make_folder(&store.place(&folder)?)?;
    let unready = format!("{:032x}", rand::random::<u128>());
    shared.take_room(Stored::ENTRY)?;
    let placed = || {
        let aside = shared.unfinished.folder();
        rustix::fs::symlinkat(target.as_str(), aside, &unready).map_err(making)?;
        if let Some(mtime) = mtime {
            let flags = AtFlags::SYMLINK_NOFOLLOW;
            rustix::fs::utimensat(aside, &unready, &mtime.timestamps(), flags).map_err(making)?;
        }
        put(&unready, &folder, name)
    };
    placed().inspect_err(|_| {
        // What is left over is swept at the next start.
        shared.unfinished.remove(&unready).ok();
        shared.usage.release(Stored::ENTRY);
    })?;
    rustix::fs::fsync(&folder).map_err(|errno| StoreError::io("flushing a folder", errno))
}

/// Where the link `name` leads, as it says, in a folder that is `depth` folders below `bulk.dir`.
pub(super) fn target(folder: &OwnedFd, name: &str, depth: usize) -> Result<String, StoreError> {
    let text = rustix::fs::readlinkat(folder, name, Vec::new()).map_err(|errno| match errno {
        rustix::io::Errno::INVAL => StoreError::NotAFile,
        rustix::io::Errno::NOENT => StoreError::NotFound,
        errno => StoreError::io("reading a link", errno),
    })?;
    // One that leads elsewhere was put there by somebody else, and stays between them.
    let text = text.to_str().map_err(|_| StoreError::NotAFile)?;
    Ok(LinkTarget::within(text, depth)?.as_str().to_owned())
}
