//! Bits that flip in files of a gateway that is down.

use std::fs;
use std::path::{Path, PathBuf};

use rand::RngExt;
use rand::rngs::StdRng;

/// Bytes at the beginning of a file that stay: a header is another kind of damage.
const HEAD_BYTES: u64 = 64;

/// Flips so many bits in files of the grid, and one in a file of the history. Where.
pub(crate) fn flip(data: &Path, bits: u32, random: &mut StdRng) -> Vec<String> {
    let mut flipped = Vec::new();
    let mut grid = files(&data.join("grid"));
    grid.retain(|path| !path.ends_with("quarantine"));
    for _ in 0..bits {
        flipped.extend(flip_in(&grid, random));
    }
    flipped.extend(flip_in(&files(&data.join("history")), random));
    flipped
}

fn flip_in(files: &[PathBuf], random: &mut StdRng) -> Option<String> {
    let long = files.iter().filter_map(|path| {
        let bytes = fs::metadata(path).ok()?.len();
        (bytes > HEAD_BYTES).then_some((path, bytes))
    });
    let long: Vec<_> = long.collect();
    if long.is_empty() {
        return None;
    }
    let (path, length) = long[random.random_range(0..long.len())];
    let at = random.random_range(HEAD_BYTES..length);
    let mut bytes = fs::read(path).expect("a file that can be read");
    bytes[at as usize] ^= 1 << random.random_range(0..8);
    fs::write(path, bytes).expect("a file that can be written");
    Some(format!("byte {at} of {length} in {}", path.display()))
}

/// Journals, segments and files of older entries: all but what is set aside, and what is replaced whole.
fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for path in entries.flatten().map(|entry| entry.path()) {
        match path.is_dir() {
            true if path.ends_with("quarantine") => {}
            true => found.extend(files(&path)),
            false => found.push(path),
        }
    }
    found.sort();
    found
}
