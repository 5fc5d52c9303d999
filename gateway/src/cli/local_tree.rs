//! What `push` and `verify` name: files, folders with all that is in them, standard input.

use std::fs::{File, Metadata};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use super::far_look::Place;
use crate::bulk::location::Location;
use crate::bulk::path::{LinkTarget, PATH_DEPTH_MAX};
use crate::bulk::store::{FileMeta, Mtime};

/// One file and its place at the far site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Item {
    /// `-` for standard input.
    pub(super) local: PathBuf,
    pub(super) to: Location,
    /// As it was found.
    pub(super) length: Option<u64>,
    pub(super) meta: FileMeta,
}

/// A symbolic link in a folder, and its place at the far site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) local: PathBuf,
    pub(super) to: Location,
    pub(super) target: LinkTarget,
    pub(super) mtime: Option<Mtime>,
}

/// A folder, and its place at the far site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Folder {
    pub(super) local: PathBuf,
    pub(super) to: Location,
    pub(super) meta: FileMeta,
}

impl Link {
    pub(super) fn place(&self) -> Place<'_> {
        Place {
            at: &self.to,
            length: 0,
        }
    }
}

/// All files that were named, and what could not be taken.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) items: Vec<Item>,
    /// Those that lead to a place in the folder that was named.
    pub(super) links: Vec<Link>,
    /// Each before those that are in it.
    pub(super) folders: Vec<Folder>,
    /// Each with its path.
    pub(super) errors: Vec<anyhow::Error>,
    /// Other links, devices and the like in folders.
    pub(super) skipped: Vec<PathBuf>,
}

impl Item {
    pub(super) fn place(&self) -> Place<'_> {
        Place {
            at: &self.to,
            length: self.length.unwrap_or(0),
        }
    }

    pub(super) fn is_standard_input(&self) -> bool {
        self.local == Path::new("-")
    }
}

/// Expands names as rsync does: `DIR` keeps its name at the far site, `DIR/` stands
/// for what is in it.
pub(super) fn expand(names: &[PathBuf], to: &Location) -> Found {
    let mut found = Found::default();
    let mut to = to.clone();
    to.folder |= names.len() > 1;
    for name in names {
        if let Err(error) = expand_one(name, &to, &mut found) {
            found.errors.push(error.context(name.display().to_string()));
        }
    }
    found
}

fn expand_one(name: &Path, to: &Location, found: &mut Found) -> anyhow::Result<()> {
    if name == Path::new("-") {
        let to = to
            .of_file(None)
            .context("standard input has no name: add one to the path")?;
        let local = name.to_owned();
        found.items.push(Item {
            local,
            to,
            length: None,
            meta: FileMeta::default(),
        });
        return Ok(());
    }
    let meta = std::fs::metadata(name)?;
    if meta.is_dir() {
        let contents = name.as_os_str().as_encoded_bytes().ends_with(b"/");
        let into = match name.file_name().filter(|_| !contents) {
            Some(own) => to.within(text(own)?)?,
            None => to.clone(),
        };
        walk(name, &into, PATH_DEPTH_MAX, found);
        return Ok(());
    }
    if !meta.is_file() {
        bail!("not a plain file: use `-` and redirect");
    }
    let own = name.file_name().context("a path without a name")?;
    found.items.push(Item {
        local: name.to_owned(),
        to: to.of_file(Some(text(own)?))?,
        length: Some(meta.len()),
        meta: FileMeta::of(&meta, name),
    });
    Ok(())
}

fn walk(folder: &Path, to: &Location, depth: usize, found: &mut Found) {
    // The far site's own folder stays as it is.
    if !to.path.is_root()
        && let Ok(meta) = std::fs::metadata(folder)
    {
        found.folders.push(Folder {
            local: folder.to_owned(),
            to: to.clone(),
            meta: FileMeta::of(&meta, folder),
        });
    }
    let entries =
        std::fs::read_dir(folder).and_then(|entries| entries.collect::<Result<Vec<_>, _>>());
    let mut entries = match entries {
        Ok(entries) => entries,
        Err(error) => {
            let error = anyhow::Error::new(error).context(folder.display().to_string());
            return found.errors.push(error);
        }
    };
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        if let Err(error) = walk_entry(&entry, to, depth, found) {
            found
                .errors
                .push(error.context(entry.path().display().to_string()));
        }
    }
}

fn walk_entry(
    entry: &std::fs::DirEntry,
    to: &Location,
    depth: usize,
    found: &mut Found,
) -> anyhow::Result<()> {
    let meta = entry.metadata()?;
    let name = entry.file_name();
    if meta.is_dir() {
        if depth == 0 {
            bail!("folders in folders, deeper than {PATH_DEPTH_MAX}");
        }
        walk(&entry.path(), &to.within(text(&name)?)?, depth - 1, found);
    } else if meta.is_file() {
        found.items.push(Item {
            local: entry.path(),
            to: to.within(text(&name)?)?.as_file(),
            length: Some(meta.len()),
            meta: FileMeta::of(&meta, &entry.path()),
        });
    } else if let Some(target) = LinkTarget::read(&entry.path(), PATH_DEPTH_MAX - depth) {
        found.links.push(Link {
            local: entry.path(),
            to: to.within(text(&name)?)?.as_file(),
            target,
            mtime: Some(Mtime::of_metadata(&meta)),
        });
    } else {
        found.skipped.push(entry.path());
    }
    Ok(())
}

fn text(name: &std::ffi::OsStr) -> anyhow::Result<&str> {
    name.to_str().context("its name is not UTF-8")
}

/// Opens a plain file without waiting for anyone.
pub(super) fn open_plain(path: &Path) -> anyhow::Result<(File, Metadata)> {
    // Asked first: opening a pipe would wait for its other end.
    if !std::fs::metadata(path)?.is_file() {
        bail!("not a plain file: use `-` and redirect");
    }
    let file = File::open(path)?;
    let meta = file.metadata()?;
    Ok((file, meta))
}

/// Its digest, and how long it was.
pub(super) fn digest(path: &Path) -> anyhow::Result<(u64, blake3::Hash)> {
    let (file, _) = open_plain(path)?;
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(&file)?;
    Ok((hasher.count(), hasher.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(names: &[PathBuf], to: &str) -> (Vec<String>, usize, usize) {
        let found = expand(names, &to.parse().unwrap());
        let places = found.items.iter().map(|item| item.to.to_string()).collect();
        (places, found.errors.len(), found.skipped.len())
    }

    #[test]
    fn folders_keep_their_name_unless_a_slash_ends_it() {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("tree");
        std::fs::create_dir_all(tree.join("sub")).unwrap();
        std::fs::write(tree.join("b"), "").unwrap();
        std::fs::write(tree.join("sub/a"), "").unwrap();
        std::fs::write(tree.join("line\nbreak"), "").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", tree.join("out")).unwrap();
        std::os::unix::fs::symlink("../b", tree.join("sub/link")).unwrap();
        let (places, errors, skipped) = expanded(std::slice::from_ref(&tree), "west:to");
        assert_eq!(places, ["west:to/tree/b", "west:to/tree/sub/a"]);
        assert_eq!((errors, skipped), (1, 1));
        let links = expand(std::slice::from_ref(&tree), &"west:to".parse().unwrap()).links;
        assert_eq!(links.len(), 1);
        assert_eq!(links[0].to.to_string(), "west:to/tree/sub/link");
        assert_eq!(links[0].target.as_str(), "../b");
        assert_eq!(
            expanded(&[tree.join("")], "west:").0,
            ["west:b", "west:sub/a"]
        );
        let files = [
            tree.join("b"),
            tree.join("sub/a"),
            dir.path().join("missing"),
        ];
        assert_eq!(
            expanded(&files, "west:to"),
            (vec!["west:to/b".into(), "west:to/a".into()], 1, 0)
        );
        assert_eq!(expanded(&files[..1], "west:to").0, ["west:to"]);
        assert_eq!(expanded(&["-".into()], "west:to").0, ["west:to"]);
        assert_eq!(expanded(&["-".into()], "west:to/").1, 1);
    }
}
