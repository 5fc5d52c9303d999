//! One look through a watched folder.

use std::fs::{DirEntry, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use crate::bulk::failure::Failure;
use crate::bulk::location::Location;
use crate::bulk::path::LinkTarget;
use crate::bulk::store::{FileMeta, Standing};

/// Files in one folder and below it; more are left alone, with a line in the log.
const FILES_MAX: usize = 1_000_000;

/// What tells one state of a file from another. Its times are the clock's of the file server, and
/// are compared with each other alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct State {
    inode: u64,
    length: u64,
    mode: u32,
    /// Seconds and nanoseconds.
    pub(super) mtime: (i64, i64),
    /// Also changes with the mode, and where somebody sets the time of change back.
    ctime: (i64, i64),
}

impl State {
    pub(super) fn of(meta: &Metadata) -> Self {
        Self {
            inode: meta.ino(),
            length: meta.len(),
            mode: meta.mode(),
            mtime: (meta.mtime(), meta.mtime_nsec()),
            ctime: (meta.ctime(), meta.ctime_nsec()),
        }
    }
}

/// A file, or a symbolic link that stays within the folder.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) path: PathBuf,
    pub(super) to: Location,
    pub(super) state: State,
    pub(super) meta: FileMeta,
    /// Where it leads, if it is a symbolic link.
    pub(super) target: Option<LinkTarget>,
}

impl Found {
    /// Whether the peer has what shipping this would leave there.
    pub(super) fn is_there(&self, there: &Result<Standing, Failure>) -> bool {
        match (there, &self.target) {
            (Ok(Standing::Link { target }), Some(own)) => target == own.as_str(),
            (Ok(Standing::File { length, meta, .. }), None) => {
                (*length, *meta) == (self.state.length, self.meta)
            }
            (Ok(_) | Err(_), _) => false,
        }
    }

    /// How it is now. A file is opened for it: that alone makes a network file system ask its
    /// server.
    pub(super) fn state_now(&self) -> io::Result<State> {
        let named = std::fs::symlink_metadata(&self.path)?;
        if self.target.is_some() {
            return Ok(State::of(&named));
        }
        State::of_open(&open(&self.path)?)
    }
}

impl State {
    pub(super) fn of_open(file: &File) -> io::Result<Self> {
        Ok(Self::of(&file.metadata()?))
    }
}

/// Opens a file for reading, and nothing through a link.
pub(super) fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?.into())
}

/// Adds what is in `dir`, which stands `depth` folders below the watched one: plain files, and
/// links that lead to a place in the watched folder. Hidden ones are what other tools have not
/// finished.
pub(super) fn look(
    dir: &Path,
    to: &Location,
    depth: usize,
    found: &mut Vec<Found>,
) -> io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        if found.len() >= FILES_MAX {
            return Err(io::Error::other("there are too many files in it"));
        }
        let entry = entry?;
        // Gone again, or with a name that no path can spell.
        if let (Ok(meta), Some(name)) = (entry.metadata(), visible_name(&entry))
            && let Ok(to) = to.within(&name)
        {
            let link = meta.is_symlink().then(|| entry.path());
            let target = link.and_then(|link| LinkTarget::read(&link, depth));
            if meta.is_dir() {
                look(&entry.path(), &to, depth + 1, found)?;
            } else if meta.is_file() || target.is_some() {
                found.push(Found {
                    path: entry.path(),
                    to: to.as_file(),
                    state: State::of(&meta),
                    meta: FileMeta::of(&meta, &entry.path()),
                    target,
                });
            }
        }
    }
    Ok(())
}

fn visible_name(entry: &DirEntry) -> Option<String> {
    let name = entry.file_name().into_string().ok()?;
    (!name.starts_with('.')).then_some(name)
}
