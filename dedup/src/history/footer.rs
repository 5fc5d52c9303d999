//! A segment's footer: its records and its chunks, so that a start needs to read nothing else.

use super::segment::{ChunkNote, HEADER_BYTES, RECORD_BYTES_MAX, Record, SEGMENT_BYTES};
use super::{Extent, Position};
use crate::chunker::Fingerprint;
use crate::similarity::SuperFeatures;
use crate::storage::StoredFile;

const MAGIC: [u8; 8] = *b"strfoot\x01";
const TRAILER_BYTES: usize = 20;
const RECORD_ENTRY_BYTES: usize = 12;
const CHUNK_ENTRY_BYTES: usize = 40;
/// A footer of the smallest chunks and records that a segment can hold is not larger.
const FOOTER_BYTES_MAX: usize = 8 << 20;

/// What a footer says.
#[derive(Debug)]
pub(super) struct Footer {
    pub(super) records: Vec<Record>,
    pub(super) chunks: Vec<ChunkNote>,
    /// Where in the file it begins.
    pub(super) at: u64,
}

/// The footer of the segment that begins at `base`.
pub(super) fn write(base: Position, records: &[Record], chunks: &[ChunkNote]) -> Vec<u8> {
    let tables = records.len() * RECORD_ENTRY_BYTES + chunks.len() * CHUNK_ENTRY_BYTES;
    let mut out = Vec::with_capacity(tables + TRAILER_BYTES);
    for record in records {
        for number in [record.offset, record.len, record.at] {
            out.extend_from_slice(&number.to_le_bytes());
        }
    }
    for chunk in chunks {
        let offset = chunk.extent.at.since(base) as u32;
        out.extend_from_slice(&offset.to_le_bytes());
        out.extend_from_slice(&(chunk.extent.len as u32).to_le_bytes());
        out.extend_from_slice(&chunk.fingerprint.0.to_le_bytes());
        for feature in chunk.features.map_or([0; 3], |features| features.0) {
            out.extend_from_slice(&feature.to_le_bytes());
        }
    }
    out.extend_from_slice(&(records.len() as u32).to_le_bytes());
    out.extend_from_slice(&(chunks.len() as u32).to_le_bytes());
    out.extend_from_slice(&crc32c::crc32c(&out).to_le_bytes());
    out.extend_from_slice(&MAGIC);
    out
}

/// Reads the footer at the end of `file`; `None` if there is none, or not a whole one.
pub(super) fn read(file: &dyn StoredFile, base: Position) -> Option<Footer> {
    let size = file.size().ok()?;
    let mut trailer = [0; TRAILER_BYTES];
    let trailer_at = size.checked_sub(TRAILER_BYTES as u64)?;
    file.read_exact_at(&mut trailer, trailer_at).ok()?;
    if trailer[12..] != MAGIC {
        return None;
    }
    let records = number(&trailer, 0)? as usize;
    let chunks = number(&trailer, 4)? as usize;
    let tables = records * RECORD_ENTRY_BYTES + chunks * CHUNK_ENTRY_BYTES;
    let at = trailer_at.checked_sub(tables as u64)?;
    if tables > FOOTER_BYTES_MAX || at < HEADER_BYTES {
        return None;
    }
    let mut footer = vec![0; tables + 8];
    file.read_exact_at(&mut footer, at).ok()?;
    if crc32c::crc32c(&footer) != number(&trailer, 8)? {
        return None;
    }
    let (record_table, chunk_table) = footer[..tables].split_at(records * RECORD_ENTRY_BYTES);
    let records = record_table.chunks_exact(RECORD_ENTRY_BYTES);
    let records: Vec<Record> = records
        .map(|entry| read_record(entry, at))
        .collect::<Option<_>>()?;
    let follow = records
        .windows(2)
        .all(|pair| pair[0].end() == u64::from(pair[1].offset));
    let chunks = chunk_table.chunks_exact(CHUNK_ENTRY_BYTES);
    let chunks = chunks
        .map(|entry| read_chunk(entry, base))
        .collect::<Option<_>>()?;
    follow.then_some(Footer {
        records,
        chunks,
        at,
    })
}

pub(super) fn number(bytes: &[u8], at: usize) -> Option<u32> {
    let number = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_le_bytes(*number))
}

fn long(bytes: &[u8], at: usize) -> Option<u64> {
    let number = bytes.get(at..)?.first_chunk()?;
    Some(u64::from_le_bytes(*number))
}

/// A record that lies within the stretch of a segment, and in the file before the footer.
fn read_record(entry: &[u8], footer_at: u64) -> Option<Record> {
    let record = Record {
        offset: number(entry, 0)?,
        len: number(entry, 4)?,
        at: number(entry, 8)?,
    };
    let fits = record.end() <= SEGMENT_BYTES
        && (1..=RECORD_BYTES_MAX).contains(&u64::from(record.len))
        && u64::from(record.at) >= HEADER_BYTES
        && record.file_end() <= footer_at;
    fits.then_some(record)
}

fn read_chunk(entry: &[u8], base: Position) -> Option<ChunkNote> {
    let (offset, len) = (u64::from(number(entry, 0)?), u64::from(number(entry, 4)?));
    let features = [long(entry, 16)?, long(entry, 24)?, long(entry, 32)?];
    let chunk = ChunkNote {
        extent: Extent {
            at: Position(base.0.checked_add(offset)?),
            len: usize::try_from(len).ok()?,
        },
        fingerprint: Fingerprint(long(entry, 8)?),
        features: (features != [0; 3]).then_some(SuperFeatures(features)),
    };
    (offset + len <= SEGMENT_BYTES).then_some(chunk)
}
