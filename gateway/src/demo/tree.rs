//! Two versions of a real file tree, packed as tar archives.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;

/// Bytes of files that the first version holds at most.
const TREE_BYTES_MAX: u64 = 32 << 20;
/// Larger files are left out, so that the tree has many.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// In the second version every so-many-th file is edited …
const EDIT_EVERY: usize = 20;
/// … and every so-many-th is gone.
const REMOVE_EVERY: usize = 211;

/// A file tree packed twice: as it is, and as it might be after a day's work.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) source: PathBuf,
    pub(super) files: usize,
    pub(super) first: PathBuf,
    pub(super) second: PathBuf,
}

/// Packs both versions of `source` into `into`; without a source, of a tree that
/// most machines have.
pub(super) fn pack(source: Option<PathBuf>, into: &Path) -> anyhow::Result<Tree> {
    let source = match source {
        Some(source) => source,
        None => default_source().context("no file tree found: name one with --tree DIR")?,
    };
    let files = collect(&source)?;
    anyhow::ensure!(!files.is_empty(), "{} has no files", source.display());
    let first = into.join("tree-1.tar");
    let second = into.join("tree-2.tar");
    write_archive(&source, &files, &first, |_, content| Some(content))?;
    write_archive(&source, &files, &second, edited)?;
    Ok(Tree {
        source,
        files: files.len(),
        first,
        second,
    })
}

/// The sources of the crates that a build has fetched, or what a system brings.
fn default_source() -> Option<PathBuf> {
    let cargo = std::env::home_dir().map(|home| home.join(".cargo/registry/src"));
    cargo
        .into_iter()
        .chain(["/usr/share/doc", "/usr/share", "/usr/lib"].map(PathBuf::from))
        .find(|folder| folder.is_dir())
}

/// Files below `root` in name order, up to the limit in bytes.
fn collect(root: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut bytes = 0;
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        // A folder that may not be read is left out.
        let Ok(entries) = fs::read_dir(&folder) else {
            continue;
        };
        let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        for path in paths.iter().rev() {
            let meta = fs::symlink_metadata(path)?;
            if meta.is_dir() {
                folders.push(path.clone());
            } else if meta.is_file() && meta.len() <= FILE_BYTES_MAX {
                bytes += meta.len();
                if bytes > TREE_BYTES_MAX {
                    return Ok(files);
                }
                files.push(path.clone());
            }
        }
    }
    Ok(files)
}

/// The second version of a file: most are unchanged, some have a line put in the
/// middle and one taken out, a few are gone.
fn edited(index: usize, content: Vec<u8>) -> Option<Vec<u8>> {
    if index % REMOVE_EVERY == REMOVE_EVERY - 1 {
        return None;
    }
    if index % EDIT_EVERY != EDIT_EVERY - 1 {
        return Some(content);
    }
    let mut lines: Vec<&[u8]> = content.split_inclusive(|byte| *byte == b'\n').collect();
    let inserted = format!("// reviewed, number {index}\n");
    lines.insert(lines.len() / 2, inserted.as_bytes());
    if lines.len() > 8 {
        lines.remove(lines.len() / 4);
    }
    Some(lines.concat())
}

fn write_archive(
    root: &Path,
    files: &[PathBuf],
    archive: &Path,
    version: impl Fn(usize, Vec<u8>) -> Option<Vec<u8>>,
) -> anyhow::Result<()> {
    let out = fs::File::create(archive)?;
    let mut tar = tar::Builder::new(std::io::BufWriter::new(out));
    for (index, path) in files.iter().enumerate() {
        let Ok(content) = fs::read(path) else {
            continue;
        };
        let Some(content) = version(index, content) else {
            continue;
        };
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(0);
        header.set_cksum();
        let name = path.strip_prefix(root).unwrap_or(path);
        tar.append_data(&mut header, name, content.as_slice())?;
    }
    tar.into_inner()?.flush()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_version_differs_a_little() {
        let source = tempfile::tempdir().unwrap();
        for n in 0..40 {
            let text = format!("file {n}\n").repeat(200);
            fs::write(source.path().join(format!("{n:02}.txt")), text).unwrap();
        }
        let into = tempfile::tempdir().unwrap();
        let tree = pack(Some(source.path().to_owned()), into.path()).unwrap();
        assert_eq!(tree.files, 40);
        let (first, second) = (
            fs::read(tree.first).unwrap(),
            fs::read(tree.second).unwrap(),
        );
        assert_ne!(first, second);
        assert!(first.len().abs_diff(second.len()) < 2_000);
    }

    #[test]
    fn an_empty_tree_is_an_error() {
        let empty = tempfile::tempdir().unwrap();
        assert!(pack(Some(empty.path().to_owned()), empty.path()).is_err());
    }
}
