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
        shared.rename(&unready, &folder, name)
    };
    let replaced = placed().inspect_err(|_| {
        // What is left over is swept at the next start.
        shared.unfinished.remove(&unready).ok();
    })?;
    shared.usage.release(replaced);
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
