//! How a record stands in a journal's file.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::super::RECORD_BYTES_MAX;
use super::Generation;

/// First bytes of a journal's file, and of a file of cold blocks.
pub(in crate::grid) const JOURNAL_MAGIC: &[u8; 8] = b"straitGJ";
pub(in crate::grid) const COLD_MAGIC: &[u8; 8] = b"straitGC";
const FILE_VERSION: u32 = 1;
/// Magic, version, generation, check.
pub(in crate::grid) const FILE_HEAD_BYTES: usize = 8 + 4 + 8 + 4;

pub(in crate::grid) const FRAME_MAGIC: [u8; 4] = *b"SgR1";
/// Magic, length, check.
pub(in crate::grid) const FRAME_HEAD_BYTES: usize = 4 + 4 + 4;

/// The first bytes of a file.
pub(in crate::grid) fn file_head(magic: &[u8; 8], generation: Generation) -> [u8; FILE_HEAD_BYTES] {
    let mut head = [0; FILE_HEAD_BYTES];
    head[..8].copy_from_slice(magic);
    head[8..12].copy_from_slice(&FILE_VERSION.to_le_bytes());
    head[12..20].copy_from_slice(&generation.0.to_le_bytes());
    let check = crc32c::crc32c(&head[..20]);
    head[20..].copy_from_slice(&check.to_le_bytes());
    head
}

/// The check of a record. It covers where the record stands, so that bytes which look like a
/// frame but lie elsewhere (in an entry of a log, in a recycled block) are none.
pub(in crate::grid) fn check(generation: Generation, offset: u64, record: &[u8]) -> u32 {
    let mut place = [0; 20];
    place[..8].copy_from_slice(&generation.0.to_le_bytes());
    place[8..16].copy_from_slice(&offset.to_le_bytes());
    place[16..].copy_from_slice(&(record.len() as u32).to_le_bytes());
    crc32c::crc32c_append(crc32c::crc32c(&place), record)
}

/// Appends `record` as it stands at `offset` of its file.
pub(in crate::grid) fn put(out: &mut Vec<u8>, generation: Generation, offset: u64, record: &[u8]) {
    put_head(out, generation, offset, record);
    out.extend_from_slice(record);
}

/// Bytes that `record` takes in a file.
pub(super) fn len_of(record: &[u8]) -> u64 {
    (FRAME_HEAD_BYTES + record.len()) as u64
}

fn put_head(out: &mut Vec<u8>, generation: Generation, offset: u64, record: &[u8]) {
    out.extend_from_slice(&FRAME_MAGIC);
    out.extend_from_slice(&(record.len() as u32).to_le_bytes());
    out.extend_from_slice(&check(generation, offset, record).to_le_bytes());
}

/// The record whose frame stands at `offset` of `file`; none if it fails its check.
pub(in crate::grid) fn read_at(
    file: &File,
    generation: Generation,
    offset: u64,
) -> io::Result<Option<Vec<u8>>> {
    let mut head = [0; FRAME_HEAD_BYTES];
    if !fill(file, &mut head, offset)? {
        return Ok(None);
    }
    let [a, b, c, d, l0, l1, l2, l3, ..] = head;
    let len = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
    if [a, b, c, d] != FRAME_MAGIC || len > RECORD_BYTES_MAX {
        return Ok(None);
    }
    let mut record = vec![0; len];
    if !fill(file, &mut record, offset + FRAME_HEAD_BYTES as u64)? {
        return Ok(None);
    }
    let mut expected = Vec::with_capacity(FRAME_HEAD_BYTES);
    put_head(&mut expected, generation, offset, &record);
    Ok((head == *expected).then_some(record))
}

/// Reads as many bytes as `bytes` takes; false if the file ends before.
fn fill(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<bool> {
    match file.read_exact_at(bytes, offset) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        read => read.map(|()| true),
    }
}
