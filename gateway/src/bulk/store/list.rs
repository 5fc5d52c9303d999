//! Listing a folder, one bounded page at a time.

use std::collections::BTreeSet;
use std::ffi::CStr;

use rustix::fs::{Dir, FileType, Stat};
use serde::{Deserialize, Serialize};

use super::tree::{Tree, stat_at};
use super::{Mtime, StoreError};
use crate::bulk::bounds;
use crate::bulk::path::SitePath;

/// Most entries in one page.
pub const PAGE_ENTRIES_MAX: usize = 1000;

/// What stands under a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryKind {
    File,
    Folder,
    /// A pipe, a device: shown, never opened.
    Other,
    /// A symbolic link: never followed.
    Link,
}

/// One line of a listing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    #[serde(deserialize_with = "bounds::path")]
    pub name: String,
    pub kind: EntryKind,
    /// In bytes; 0 for what is not a file.
    pub length: u64,
    pub mtime: Mtime,
}

/// Part of a listing, in the order of the names' bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    #[serde(deserialize_with = "bounds::entries")]
    pub entries: Vec<Entry>,
    /// There are more after the last of these.
    pub more: bool,
    /// Names in the whole folder that no path can spell (not UTF-8, control characters).
    pub unspeakable: u64,
}

/// A page of the entries after the name `after`; a file is a listing of itself.
pub(super) fn list(tree: &Tree, path: &SitePath, after: &str) -> Result<Page, StoreError> {
    let folder = match tree.open_folder(path) {
        Ok(folder) => folder,
        Err(StoreError::NotAFolder) if !path.is_root() => return list_one(tree, path),
        Err(other) => return Err(other),
    };
    let dir = Dir::read_from(&folder).map_err(|e| StoreError::io("listing a folder", e))?;
    let (names, unspeakable) = next_names(dir, path, after)?;
    let mut page = Page {
        entries: Vec::new(),
        more: names.len() > PAGE_ENTRIES_MAX,
        unspeakable,
    };
    for name in names.into_iter().take(PAGE_ENTRIES_MAX) {
        // Gone since it was read: then it is not there.
        if let Some(stat) = stat_at(&folder, &name)? {
            page.entries.push(entry(name, &stat));
        }
    }
    Ok(page)
}

/// The first names after `after`, one more than a page holds; memory stays
/// bounded however many the folder has.
fn next_names(
    dir: Dir,
    path: &SitePath,
    after: &str,
) -> Result<(BTreeSet<String>, u64), StoreError> {
    let mut names = BTreeSet::new();
    let mut unspeakable = 0;
    for item in dir {
        let item = item.map_err(|e| StoreError::io("listing a folder", e))?;
        match speakable(path, item.file_name()) {
            Speakable::Yes(name) if name.as_str() > after => {
                names.insert(name);
                if names.len() > PAGE_ENTRIES_MAX + 1 {
                    names.pop_last();
                }
            }
            Speakable::Yes(_) | Speakable::Hidden => {}
            Speakable::No => unspeakable += 1,
        }
    }
    Ok((names, unspeakable))
}

enum Speakable {
    Yes(String),
    Hidden,
    No,
}

fn speakable(folder: &SitePath, name: &CStr) -> Speakable {
    let Ok(name) = name.to_str() else {
        return Speakable::No;
    };
    if name == "." || name == ".." || (folder.is_root() && name == super::PARTIAL_DIR) {
        return Speakable::Hidden;
    }
    match folder.join(name) {
        Ok(_) => Speakable::Yes(name.to_owned()),
        Err(_) => Speakable::No,
    }
}

fn list_one(tree: &Tree, path: &SitePath) -> Result<Page, StoreError> {
    let (_, name) = path.split_last()?;
    let stat = tree.stat(path)?.ok_or(StoreError::NotFound)?;
    Ok(Page {
        entries: vec![entry(name.to_owned(), &stat)],
        ..Page::default()
    })
}

fn entry(name: String, stat: &Stat) -> Entry {
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => EntryKind::File,
        FileType::Directory => EntryKind::Folder,
        FileType::Symlink => EntryKind::Link,
        FileType::Fifo
        | FileType::Socket
        | FileType::CharacterDevice
        | FileType::BlockDevice
        | FileType::Unknown => EntryKind::Other,
    };
    let length = match kind {
        EntryKind::File => u64::try_from(stat.st_size).unwrap_or(0),
        EntryKind::Folder | EntryKind::Link | EntryKind::Other => 0,
    };
    Entry {
        name,
        kind,
        length,
        mtime: Mtime::of(stat),
    }
}
