//! All files of a folder at a peer site.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use crate::bulk::control::client::Gateway;
use crate::bulk::location::Location;
use crate::bulk::path::PATH_DEPTH_MAX;
use crate::bulk::store::{Entry, EntryKind};

/// One of them, and where it goes here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FarFile {
    pub(super) from: Location,
    pub(super) local: PathBuf,
    pub(super) length: u64,
}

/// Adds the files of `folder`, which go below `local`. Returns how many entries are
/// not files or folders, or have names that no path can spell.
pub(super) fn list(
    gateway: &Gateway,
    folder: &Location,
    local: &Path,
    files: &mut Vec<FarFile>,
) -> anyhow::Result<u64> {
    Ok(walk(gateway, folder, local, files)?.0)
}

/// All files of `folder`, and the folders with it, inner ones last.
pub(super) fn list_with_folders(
    gateway: &Gateway,
    folder: &Location,
) -> anyhow::Result<(Vec<Location>, Vec<Location>)> {
    let mut files = Vec::new();
    let (_, folders) = walk(gateway, folder, Path::new(""), &mut files)?;
    Ok((files.into_iter().map(|file| file.from).collect(), folders))
}

fn walk(
    gateway: &Gateway,
    folder: &Location,
    local: &Path,
    files: &mut Vec<FarFile>,
) -> anyhow::Result<(u64, Vec<Location>)> {
    let (mut skipped, mut seen) = (0, Vec::new());
    let mut folders = vec![(folder.clone(), local.to_owned())];
    while let Some((folder, local)) = folders.pop() {
        if folder.path.names().count() > PATH_DEPTH_MAX {
            bail!("{folder}: folders in folders, deeper than {PATH_DEPTH_MAX}");
        }
        let (entries, unspeakable) = entries(gateway, &folder).context(folder.to_string())?;
        skipped += unspeakable;
        seen.push(folder.clone());
        for entry in entries {
            // The name is a peer's: it must be one name, and below the folder.
            let from = folder
                .within(&entry.name)
                .context("a name in the listing")?;
            let (_, name) = from.path.split_last()?;
            if name != entry.name {
                bail!("{folder}: a name with a slash in the listing");
            }
            let local = local.join(name);
            match entry.kind {
                EntryKind::Folder => folders.push((from, local)),
                EntryKind::File => {
                    let (from, length) = (from.as_file(), entry.length);
                    files.push(FarFile {
                        from,
                        local,
                        length,
                    });
                }
                EntryKind::Other => skipped += 1,
            }
        }
    }
    Ok((skipped, seen))
}

fn entries(gateway: &Gateway, folder: &Location) -> anyhow::Result<(Vec<Entry>, u64)> {
    let mut entries: Vec<Entry> = Vec::new();
    loop {
        let after = entries
            .last()
            .map(|entry| entry.name.clone())
            .unwrap_or_default();
        let page = gateway.list(folder, &after)?;
        // A page that goes on must get on, or this would never end.
        let ends = page.entries.last().is_none_or(|last| last.name <= after);
        entries.extend(page.entries);
        if ends || !page.more {
            return Ok((entries, page.unspeakable));
        }
    }
}
