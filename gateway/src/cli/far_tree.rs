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

/// What is in a folder at a peer site.
#[derive(Debug, Default)]
pub(super) struct FarTree {
    pub(super) files: Vec<FarFile>,
    /// Symbolic links; their length is 0.
    pub(super) links: Vec<FarFile>,
    /// It and those in it, inner ones after those that they are in.
    pub(super) folders: Vec<Location>,
    /// Entries that are none of these, or have names that no path can spell.
    pub(super) skipped: u64,
}

/// Looks through `folder`, whose files go below `local`.
pub(super) fn list(gateway: &Gateway, folder: &Location, local: &Path) -> anyhow::Result<FarTree> {
    let mut tree = FarTree::default();
    let mut folders = vec![(folder.clone(), local.to_owned())];
    while let Some((folder, local)) = folders.pop() {
        if folder.path.names().count() > PATH_DEPTH_MAX {
            bail!("{folder}: folders in folders, deeper than {PATH_DEPTH_MAX}");
        }
        let (entries, unspeakable) = entries(gateway, &folder).context(folder.to_string())?;
        tree.skipped += unspeakable;
        tree.folders.push(folder.clone());
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
            let file = |from: Location, local| FarFile {
                from: from.as_file(),
                local,
                length: entry.length,
            };
            match entry.kind {
                EntryKind::Folder => folders.push((from, local)),
                EntryKind::File => tree.files.push(file(from, local)),
                EntryKind::Link => tree.links.push(file(from, local)),
                EntryKind::Other => tree.skipped += 1,
            }
        }
    }
    Ok(tree)
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
