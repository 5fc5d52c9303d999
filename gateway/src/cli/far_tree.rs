//! All files of a folder at a peer site.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use crate::bulk::Failure;
use crate::bulk::control::client::{ClientError, Gateway};
use crate::bulk::location::Location;
use crate::bulk::path::PATH_DEPTH_MAX;
use crate::bulk::store::{Entry, EntryKind};
use crate::resp::glob;

/// One of them, and where it goes here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FarFile {
    pub(super) from: Location,
    pub(super) local: PathBuf,
    pub(super) length: u64,
}

/// A folder, and where it goes here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FarFolder {
    pub(super) from: Location,
    pub(super) local: PathBuf,
}

/// What is in a folder at a peer site.
#[derive(Debug, Default)]
pub(super) struct FarTree {
    pub(super) files: Vec<FarFile>,
    /// Symbolic links; their length is 0.
    pub(super) links: Vec<FarFile>,
    /// It and those in it, inner ones after those that they are in.
    pub(super) folders: Vec<FarFolder>,
    /// Entries that are none of these.
    pub(super) skipped: u64,
    /// Entries that have names that no path can spell.
    pub(super) unspeakable: usize,
}

/// There is nothing that a pattern matches.
#[derive(Debug, thiserror::Error)]
#[error("nothing there matches {0}")]
pub(super) struct NothingMatches(Location);

/// A folder there, and where what is in it goes here.
type Folders = Vec<(Location, PathBuf)>;

impl FarTree {
    /// All of `folder`, whose files go below `local`.
    pub(super) fn of(gateway: &Gateway, folder: &Location, local: &Path) -> anyhow::Result<Self> {
        let mut tree = Self::default();
        tree.walk(gateway, vec![(folder.clone(), local.to_owned())])?;
        Ok(tree)
    }

    /// All that matches `pattern`, folders with what is in them; it keeps its names below `local`.
    pub(super) fn matching(
        gateway: &Gateway,
        pattern: &Location,
        local: &Path,
    ) -> anyhow::Result<Self> {
        let (mut tree, mut folders) = (Self::default(), Folders::new());
        for (from, entry) in matching(gateway, pattern)? {
            tree.take(from, local, &entry, &mut folders)?;
        }
        tree.walk(gateway, folders)?;
        Ok(tree)
    }

    fn walk(&mut self, gateway: &Gateway, mut folders: Folders) -> anyhow::Result<()> {
        while let Some((folder, local)) = folders.pop() {
            if folder.path.names().count() > PATH_DEPTH_MAX {
                bail!("{folder}: folders in folders, deeper than {PATH_DEPTH_MAX}");
            }
            let (entries, unspeakable) = match entries(gateway, &folder) {
                Err(error) if is_gone(&error) && !self.folders.is_empty() => {
                    bail!("{folder} was removed while it was listed")
                }
                entries => entries.context(folder.to_string())?,
            };
            let unspeakable = usize::try_from(unspeakable).unwrap_or(usize::MAX);
            self.unspeakable = self.unspeakable.saturating_add(unspeakable);
            self.folders.push(FarFolder {
                from: folder.clone(),
                local: local.clone(),
            });
            for entry in entries {
                self.take(within(&folder, &entry)?, &local, &entry, &mut folders)?;
            }
        }
        Ok(())
    }

    fn take(
        &mut self,
        from: Location,
        local: &Path,
        entry: &Entry,
        folders: &mut Folders,
    ) -> anyhow::Result<()> {
        let (_, name) = from.path.split_last()?;
        let local = local.join(name);
        let file = |from: Location, local| FarFile {
            from: from.as_file(),
            local,
            length: entry.length,
        };
        match entry.kind {
            EntryKind::Folder => folders.push((from, local)),
            EntryKind::File => self.files.push(file(from, local)),
            EntryKind::Link => self.links.push(file(from, local)),
            EntryKind::Other => self.skipped += 1,
        }
        Ok(())
    }
}

fn is_gone(error: &anyhow::Error) -> bool {
    let failed = error.downcast_ref::<ClientError>();
    matches!(failed, Some(ClientError::Failed(Failure::NotFound)))
}

/// Whether the last name of a place is a glob pattern.
pub(super) fn is_pattern(place: &Location) -> bool {
    let name = place.path.split_last();
    name.is_ok_and(|(_, name)| name.contains(['*', '?', '[']))
}

/// What has a name that matches the last one of `pattern`; an error if nothing does.
pub(super) fn matching(
    gateway: &Gateway,
    pattern: &Location,
) -> anyhow::Result<Vec<(Location, Entry)>> {
    let (path, name) = pattern.path.split_last()?;
    let folder = Location {
        site: pattern.site.clone(),
        path,
        folder: true,
    };
    let (mut entries, _) = entries(gateway, &folder)?;
    entries.retain(|entry| glob::matches(name.as_bytes(), entry.name.as_bytes()));
    if entries.is_empty() {
        return Err(NothingMatches(pattern.clone()).into());
    }
    let place = |entry: Entry| Ok((within(&folder, &entry)?, entry));
    entries.into_iter().map(place).collect()
}

/// The place of an entry. Its name is a peer's: it must be one name, and below the folder.
fn within(folder: &Location, entry: &Entry) -> anyhow::Result<Location> {
    let place = folder
        .within(&entry.name)
        .context("a name in the listing")?;
    if place.path.split_last()?.1 != entry.name {
        bail!("{folder}: a name with a slash in the listing");
    }
    Ok(place)
}

/// All that is in a folder there, and how many names it has that cannot be said.
pub(super) fn entries(gateway: &Gateway, folder: &Location) -> anyhow::Result<(Vec<Entry>, u64)> {
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
