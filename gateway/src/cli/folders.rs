//! The folders of a tree: empty ones too, with the mode and time of each. They come after what is
//! in them, inner ones first: whatever is made in a folder changes its time.

use std::path::Path;

use anyhow::Context;
use rustix::fs::{CWD, Mode, OFlags};

use super::display::Display;
use super::far_tree::FarFolder;
use super::local_file;
use super::local_tree::Folder;
use super::output::explain;
use crate::bulk::Failure;
use crate::bulk::control::client::{ClientError, Gateway};
use crate::bulk::describe::PATHS_MAX;
use crate::bulk::printable;
use crate::bulk::store::FileMeta;

const TOO_OLD: &str = "modes and times of folders do not cross, nor do empty ones on a push: the \
                       far gateway's release does not know them";

/// Makes folders at the far site; each stands before those in it. Those that are there get mode
/// and time only if `replaces`. Returns how many failed.
pub(super) fn push(
    gateway: &Gateway,
    folders: &[Folder],
    replaces: bool,
    display: &Display,
) -> usize {
    let mut failed = 0;
    for folders in folders.rchunks(PATHS_MAX) {
        let meta = |folder: &Folder| match replaces {
            true => folder.meta,
            false => FileMeta::default(),
        };
        let inner_first = || folders.iter().rev();
        let named = inner_first().map(|folder| (folder.to.path.clone(), meta(folder)));
        match gateway.make_folders(&folders[0].to.site, named.collect()) {
            Ok(made) => {
                for (folder, failure) in inner_first().zip(made).filter_map(failure_of) {
                    let (local, error) = (folder.local.display(), ClientError::Failed(failure));
                    display.say(&printable(&format!("strait push: {local}: {error}")));
                    failed += 1;
                }
            }
            Err(ClientError::Failed(Failure::TooOld)) => {
                display.say(TOO_OLD);
                return 0;
            }
            Err(error) => {
                display.say(&format!("strait push: folders: {error}"));
                failed += folders.len();
            }
        }
    }
    failed
}

fn failure_of<T>((folder, made): (T, Result<(), Failure>)) -> Option<(T, Failure)> {
    made.err().map(|failure| (folder, failure))
}

/// Makes folders here, below `root`; each stands before those in it. Returns how many failed.
pub(super) fn pull(
    gateway: &Gateway,
    folders: &[FarFolder],
    (root, had_root): (&Path, bool),
    display: &Display,
) -> usize {
    let mut failed = 0;
    for folders in folders.rchunks(PATHS_MAX) {
        let paths = folders.iter().rev().map(|folder| folder.from.path.clone());
        let metas = match gateway.folders(&folders[0].from.site, paths) {
            Ok(metas) => metas,
            Err(ClientError::Failed(Failure::TooOld)) => {
                display.say(TOO_OLD);
                vec![Ok(FileMeta::default()); folders.len()]
            }
            Err(error) => {
                display.say(&format!("strait pull: folders: {error}"));
                failed += folders.len();
                continue;
            }
        };
        for (folder, meta) in folders.iter().rev().zip(metas) {
            // The folder that the user named and had stays as it was.
            let keeps = had_root && folder.local == root;
            let made = meta
                .map_err(|failure| ClientError::Failed(failure).into())
                .and_then(|meta| make_here(&folder.local, root, (!keeps).then_some(meta)));
            if let Err(error) = made {
                display.say(&format!(
                    "strait pull: {}: {}",
                    folder.from,
                    explain(&error)
                ));
                failed += 1;
            }
        }
    }
    failed
}

fn make_here(folder: &Path, root: &Path, meta: Option<FileMeta>) -> anyhow::Result<()> {
    local_file::make_folder(folder, root)?;
    let Some(meta) = meta else {
        return Ok(());
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = rustix::fs::openat(CWD, folder, flags, Mode::empty());
    let failing = || format!("setting permissions and time of {}", folder.display());
    let opened = opened.with_context(failing)?;
    meta.apply_to_folder(opened).with_context(failing)
}
