//! How a record stands in a journal's file.

use super::Generation;

pub(super) const FILE_MAGIC: &[u8; 8] = b"straitGJ";
pub(super) const FILE_VERSION: u32 = 1;
/// Magic, version, generation, check.
pub(super) const FILE_HEAD_BYTES: usize = 8 + 4 + 8 + 4;

pub(in crate::grid) const FRAME_MAGIC: [u8; 4] = *b"SgR1";
/// Magic, length, check.
pub(in crate::grid) const FRAME_HEAD_BYTES: usize = 4 + 4 + 4;

/// The first bytes of a file.
pub(super) fn file_head(generation: Generation) -> [u8; FILE_HEAD_BYTES] {
    let mut head = [0; FILE_HEAD_BYTES];
    head[..8].copy_from_slice(FILE_MAGIC);
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
    out.extend_from_slice(&FRAME_MAGIC);
    out.extend_from_slice(&(record.len() as u32).to_le_bytes());
    out.extend_from_slice(&check(generation, offset, record).to_le_bytes());
    out.extend_from_slice(record);
}
