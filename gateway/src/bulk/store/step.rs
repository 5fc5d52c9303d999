//! Reading long files in steps that end soon.

use std::fs::File;
use std::io::{self, Read};

/// Bytes that are read and hashed in one step.
const STEP_BYTES: u64 = 16 << 20;

/// Hashes on from where `file` stands, up to `length` bytes in all. Returns whether that was the
/// end, or the end of the file.
pub(in crate::bulk) fn read_on(
    file: &File,
    hasher: &mut blake3::Hasher,
    length: u64,
) -> io::Result<bool> {
    let before = hasher.count();
    let step = length.saturating_sub(before).min(STEP_BYTES);
    hasher.update_reader(file.take(step))?;
    let read = hasher.count() - before;
    Ok(read < step || hasher.count() >= length)
}
