//! A start whose disk refuses every write from some moment on.

use std::fs;
use std::io::Write;
use std::path::Path;

use super::super::disk_fault::with_disk_for;
use super::cold::{add, fill, open};

/// More writes than a start makes.
const WRITES_MAX: u32 = 100;

/// What kill -9 left: older lines in a file without an index, the beginnings of a block, of a record
/// and of another journal, and a file of blocks that is not whole.
fn killed() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let (grid, _) = open(dir.path());
    grid.lock().add(b"hits", 7).unwrap();
    fill(&grid, 1, 400);
    assert!(grid.spill() > 0);
    add(&grid, 401);
    grid.flush().unwrap();
    drop(grid);
    let append = |path: &Path, bytes: &[u8]| {
        let file = fs::File::options().append(true).open(path);
        file.unwrap().write_all(bytes).unwrap();
    };
    let cold = super::cold::files(dir.path());
    append(&cold[0], b"SgR1\x40\0\0\0");
    fs::write(cold[0].with_extension("part"), b"half").unwrap();
    append(
        &dir.path().join("journal-0000000000000001"),
        b"SgR1\x40\0\0\0",
    );
    fs::write(dir.path().join("journal-0000000000000002"), b"stra").unwrap();
    dir
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => {
                fs::create_dir(&to).unwrap();
                copy(&entry.path(), &to);
            }
            false => drop(fs::copy(entry.path(), &to).unwrap()),
        }
    }
}

#[test]
fn a_start_succeeds_however_early_the_disk_refuses() {
    let dir = killed();
    let whole = tempfile::tempdir().unwrap();
    copy(dir.path(), whole.path());
    let expected = open(whole.path()).0.digest();
    let mut refused = 0;
    for writes in 0..WRITES_MAX {
        let again = tempfile::tempdir().unwrap();
        copy(dir.path(), again.path());
        let ((grid, recovery), full) = with_disk_for(writes, || open(again.path()));
        assert_eq!(grid.digest(), expected, "after {writes} writes");
        assert!(recovery.quarantined.is_empty() && recovery.cold_damaged.is_empty());
        // There is room again: what is written now is there after the next start.
        add(&grid, 402);
        grid.flush().unwrap();
        let with_more = grid.digest();
        drop(grid);
        let (grid, recovery) = open(again.path());
        assert_eq!(grid.digest(), with_more, "after {writes} writes");
        assert!(recovery.quarantined.is_empty() && recovery.cold_damaged.is_empty());
        if !full {
            break;
        }
        refused += 1;
    }
    assert!((6..WRITES_MAX).contains(&refused), "{refused} moments");
}
