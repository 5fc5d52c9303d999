//! A note that `bulk.dir` was there. Without it the folder of a disk that is not mounted would pass
//! for an empty one, and every file for one that was never there.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::StoreOpenError;
use crate::bulk::path::PARTIAL_DIR;

/// An error if `note` says that `dir` was in use, and it is not any more.
pub(super) fn check(note: &Path, dir: &Path) -> Result<(), StoreOpenError> {
    let was_there = fs::read(note).is_ok_and(|seen| seen == dir.as_os_str().as_bytes());
    // In use it has this folder, since the first release.
    match was_there && !dir.join(PARTIAL_DIR).is_dir() {
        true => Err(StoreOpenError::Missing {
            dir: dir.to_owned(),
            note: note.to_owned(),
        }),
        false => Ok(()),
    }
}

/// Notes that `dir` is there. What a full disk does not take is noted at the next start.
pub(super) fn note(note: &Path, dir: &Path) {
    if fs::read(note).is_ok_and(|seen| seen == dir.as_os_str().as_bytes()) {
        return;
    }
    if let Err(error) = write(note, dir.as_os_str()) {
        tracing::warn!(note = %note.display(), %error, "cannot note that bulk.dir is there");
    }
}

fn write(note: &Path, dir: &OsStr) -> io::Result<()> {
    let unready = note.with_extension("new");
    fs::write(&unready, dir.as_bytes())?;
    fs::File::open(&unready)?.sync_all()?;
    fs::rename(&unready, note)?;
    crate::datadir::sync_directory(note.parent().unwrap_or(Path::new(".")))
}
