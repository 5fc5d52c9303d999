//! Symbolic links: kept as they are, never followed.

use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, FileType};

use super::{Mtime, Shared, StoreError};
use crate::bulk::path::{LinkTarget, SitePath};

/// Makes a link under `path`, in place of a file or link that has the name. It must lead to a
/// place below `bulk.dir`.
pub(super) fn make(
    shared: &Shared,
    path: &SitePath,
    target: &str,
    mtime: Option<Mtime>,
) -> Result<(), StoreError> {
    let replaced = place(shared, path, (target, mtime), |unready, folder, name| {
        shared.rename(unready, folder, name)
    })?;
    shared.usage.release(replaced);
    Ok(())
}

/// The same, in place of nothing but a link that says the same.
pub(super) fn make_new(
    shared: &Shared,
    path: &SitePath,
    target: &str,
    mtime: Option<Mtime>,
) -> Result<(), StoreError> {
    let depth = path.names().count().saturating_sub(1);
    place(
        shared,
        path,
        (target, mtime),
        |unready, folder, name| match shared.rename_new(unready, folder, name) {
            Err(StoreError::Exists) if says(folder, name, depth).as_deref() == Some(target) => {
                shared
                    .unfinished
                    .remove(unready)
                    .map_err(|errno| StoreError::io("removing a link", errno))
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
fn place<T>(
    shared: &Shared,
    path: &SitePath,
    (target, mtime): (&str, Option<Mtime>),
    put: impl FnOnce(&str, &OwnedFd, &str) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let (folder, name) = path.split_last()?;
    let target = LinkTarget::within(target, folder.names().count())?;
    let making = |errno| StoreError::io("making a link", errno);
    if let Some(stat) = shared.tree.stat(path)?
        && FileType::from_raw_mode(stat.st_mode) == FileType::Directory
    {
        return Err(StoreError::IsFolder);
    }
    let folder = shared.tree.make_folder(&folder)?;
    let unready = format!("{:032x}", rand::random::<u128>());
    rustix::fs::symlinkat(target.as_str(), shared.unfinished.folder(), &unready).map_err(making)?;
    let placed = || {
        if let Some(mtime) = mtime {
            let (at, flags) = (shared.unfinished.folder(), AtFlags::SYMLINK_NOFOLLOW);
            rustix::fs::utimensat(at, &unready, &mtime.timestamps(), flags).map_err(making)?;
        }
        put(&unready, &folder, name)
    };
    let placed = placed().inspect_err(|_| {
        // What is left over is swept at the next start.
        shared.unfinished.remove(&unready).ok();
    })?;
    rustix::fs::fsync(&folder).map_err(|errno| StoreError::io("flushing a folder", errno))?;
    Ok(placed)
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
