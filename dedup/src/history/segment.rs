//! One segment file: a stretch of history in checked records, closed by a footer that says what is in
//! it. Drawn in `docs/STORE.md`.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io;

use super::footer::{self, number};
use super::{Extent, HistoryId, Position};
use crate::chunker::Fingerprint;
use crate::similarity::SuperFeatures;
use crate::storage::StoredFile;

/// Bytes of history that one segment covers; its first position is a multiple of this.
pub(crate) const SEGMENT_BYTES: u64 = 16 << 20;
/// Most bytes of history in one record, which lies within one such stretch.
pub(super) const RECORD_BYTES_MAX: u64 = 64 << 10;
pub(super) const HEADER_BYTES: u64 = 48;

const MAGIC: [u8; 8] = *b"strseg\0\x01";
const RECORD_HEADER_BYTES: usize = 12;

/// A chunk of history as the index and the similarity table know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChunkNote {
    pub(crate) extent: Extent,
    pub(crate) fingerprint: Fingerprint,
    pub(crate) features: Option<SuperFeatures>,
}

/// Where a record lies: `offset` in the segment's stretch of history, `at` in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) offset: u32,
    pub(super) len: u32,
    pub(super) at: u32,
}

impl Record {
    /// Where it ends in the stretch of history.
    pub(super) fn end(self) -> u64 {
        u64::from(self.offset) + u64::from(self.len)
    }

    pub(super) fn file_end(self) -> u64 {
        u64::from(self.at) + RECORD_HEADER_BYTES as u64 + u64::from(self.len)
    }
}

/// Why a segment can't be opened.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unusable {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("not a segment of this history")]
    Foreign,
    #[error("no whole record")]
    Empty,
}

/// What of a segment could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unread {
    /// It is not held.
    Absent,
    /// A record did not pass its check. It is quarantined: not read again, and reported once.
    Damaged(Extent),
    /// A record that is quarantined already.
    Quarantined,
}

/// What is known of a segment file; the file itself comes with each call that needs it.
#[derive(Debug)]
pub(super) struct Segment {
    base: Position,
    records: Vec<Record>,
    /// Those that failed their check, by their offset.
    quarantined: RefCell<BTreeSet<u32>>,
    /// Of a segment that is not sealed; of a sealed one those that its footer does not name yet.
    chunks: Vec<ChunkNote>,
    /// Bytes of the file up to the last whole record.
    len: u64,
    /// Bytes of the footer, once there is one.
    footer_len: u64,
}

impl Segment {
    fn new(base: Position) -> Self {
        Self {
            base,
            records: Vec::new(),
            quarantined: RefCell::default(),
            chunks: Vec::new(),
            len: HEADER_BYTES,
            footer_len: 0,
        }
    }

    /// Begins a segment in an empty file.
    pub(super) fn create(file: &dyn StoredFile, id: HistoryId, base: Position) -> io::Result<Self> {
        file.write_all_at(&header(id, base), 0)?;
        Ok(Self::new(base))
    }

    /// Finds the records of a segment of history `id`: by its footer, or by reading them all and
    /// cutting the file after the last good one. Also says how many bytes were cut.
    pub(super) fn open(
        file: &dyn StoredFile,
        id: HistoryId,
        base: Position,
    ) -> Result<(Self, u64), Unusable> {
        let mut found = [0; HEADER_BYTES as usize];
        file.read_exact_at(&mut found, 0)?;
        if found[..] != header(id, base) {
            return Err(Unusable::Foreign);
        }
        let mut segment = Self::new(base);
        let cut = match footer::read(file, base) {
            Some(footer) => {
                segment.footer_len = file.size()?.saturating_sub(footer.at);
                (segment.records, segment.len) = (footer.records, footer.at);
                0
            }
            None => segment.recover(file)?,
        };
        if segment.records.is_empty() {
            return Err(Unusable::Empty);
        }
        Ok((segment, cut))
    }

    pub(super) fn base(&self) -> Position {
        self.base
    }

    /// End of the history held.
    pub(super) fn end(&self) -> Position {
        let last = self.records.last();
        last.map_or(self.base, |last| Position(self.base.0 + last.end()))
    }

    /// First position held: past `base` where the history began within the segment.
    pub(super) fn begin(&self) -> Position {
        let first = self.records.first();
        Position(self.base.0 + first.map_or(0, |first| u64::from(first.offset)))
    }

    pub(super) fn is_sealed(&self) -> bool {
        self.footer_len > 0
    }

    /// Bytes of the file.
    pub(super) fn file_bytes(&self) -> u64 {
        self.len + self.footer_len
    }

    /// The chunks that it knows; none where the footer can't be read.
    pub(super) fn chunks(&self, file: &dyn StoredFile) -> Vec<ChunkNote> {
        let named = footer::read(file, self.base).filter(|_| self.is_sealed());
        let mut chunks = named.map_or_else(Vec::new, |footer| footer.chunks);
        chunks.extend_from_slice(&self.chunks);
        chunks
    }

    /// Whether it was sealed before all its chunks were known.
    pub(super) fn has_late_chunks(&self) -> bool {
        self.is_sealed() && !self.chunks.is_empty()
    }

    /// Appends one record: at most [`RECORD_BYTES_MAX`] bytes, just after what is held.
    pub(super) fn append(
        &mut self,
        file: &dyn StoredFile,
        at: Position,
        bytes: &[u8],
    ) -> io::Result<()> {
        if self.is_sealed() {
            self.unseal(file)?;
        }
        let (offset, len) = (at.since(self.base) as u32, bytes.len() as u32);
        let mut record = Vec::with_capacity(bytes.len() + RECORD_HEADER_BYTES);
        record.extend_from_slice(&offset.to_le_bytes());
        record.extend_from_slice(&len.to_le_bytes());
        record.extend_from_slice(&record_crc(offset, len, bytes).to_le_bytes());
        record.extend_from_slice(bytes);
        file.write_all_at(&record, self.len)?;
        let at = self.len as u32;
        self.records.push(Record { offset, len, at });
        self.len += record.len() as u64;
        Ok(())
    }

    /// Remembers a chunk for the footer.
    pub(super) fn note(&mut self, chunk: ChunkNote) {
        if chunk.extent.at >= self.base && chunk.extent.end().0 <= self.base.0 + SEGMENT_BYTES {
            self.chunks.push(chunk);
        }
    }

    /// Closes the file with its footer; once more where there are late chunks.
    pub(super) fn seal(&mut self, file: &dyn StoredFile) -> io::Result<()> {
        let footer = footer::write(self.base, &self.records, &self.chunks(file));
        file.write_all_at(&footer, self.len)?;
        file.set_size(self.len + footer.len() as u64)?;
        self.footer_len = footer.len() as u64;
        self.chunks = Vec::new();
        Ok(())
    }

    /// Takes the footer away again, and its chunks back into memory.
    fn unseal(&mut self, file: &dyn StoredFile) -> io::Result<()> {
        let chunks = self.chunks(file);
        file.set_size(self.len)?;
        (self.chunks, self.footer_len) = (chunks, 0);
        Ok(())
    }

    /// Reads record after record and cuts the file after the last good one: returns the bytes cut.
    fn recover(&mut self, file: &dyn StoredFile) -> io::Result<u64> {
        let size = file.size()?;
        while let Some(record) = self.next_record(file, size) {
            self.len = record.file_end();
            self.records.push(record);
        }
        file.set_size(self.len)?;
        Ok(size.saturating_sub(self.len))
    }

    fn next_record(&self, file: &dyn StoredFile, size: u64) -> Option<Record> {
        let mut header = [0; RECORD_HEADER_BYTES];
        file.read_exact_at(&mut header, self.len).ok()?;
        let record = Record {
            offset: number(&header, 0)?,
            len: number(&header, 4)?,
            at: u32::try_from(self.len).ok()?,
        };
        let last = self.records.last();
        let follows = last.is_none_or(|last| last.end() == u64::from(record.offset));
        let fits = (1..=RECORD_BYTES_MAX).contains(&u64::from(record.len))
            && record.end() <= SEGMENT_BYTES
            && record.file_end() <= size;
        (follows && fits && read_record(file, record).is_some()).then_some(record)
    }

    /// Appends the bytes from `from` to `to` to `out`, which may have grown on an error.
    pub(super) fn read(
        &self,
        file: &dyn StoredFile,
        from: Position,
        to: Position,
        out: &mut Vec<u8>,
    ) -> Result<(), Unread> {
        let (mut at, end) = (from.since(self.base) as u64, to.since(self.base) as u64);
        let first = self.records.partition_point(|record| record.end() <= at);
        for record in &self.records[first..] {
            let offset = u64::from(record.offset);
            if at >= end || offset > at {
                break;
            }
            let bytes = self.checked(file, *record)?;
            let (begin, stop) = (at - offset, end.min(record.end()) - offset);
            out.extend_from_slice(&bytes[RECORD_HEADER_BYTES..][begin as usize..stop as usize]);
            at = record.end();
        }
        if at >= end {
            Ok(())
        } else {
            Err(Unread::Absent)
        }
    }

    /// A whole record with its header, if it passes its check.
    fn checked(&self, file: &dyn StoredFile, record: Record) -> Result<Vec<u8>, Unread> {
        if self.quarantined.borrow().contains(&record.offset) {
            return Err(Unread::Quarantined);
        }
        read_record(file, record).ok_or_else(|| {
            self.quarantined.borrow_mut().insert(record.offset);
            Unread::Damaged(Extent {
                at: Position(self.base.0 + u64::from(record.offset)),
                len: record.len as usize,
            })
        })
    }

    /// Cuts back to the last record that ends at `to` or before. The footer goes, the chunks that
    /// are wholly held stay.
    pub(super) fn truncate(&mut self, file: &dyn StoredFile, to: Position) -> io::Result<()> {
        if self.is_sealed() {
            self.unseal(file)?;
        }
        let keep = to.since(self.base) as u64;
        let kept = self.records.partition_point(|record| record.end() <= keep);
        let len = self
            .records
            .get(kept)
            .map_or(self.len, |cut| u64::from(cut.at));
        file.set_size(len)?;
        self.len = len;
        for cut in self.records.drain(kept..) {
            self.quarantined.get_mut().remove(&cut.offset);
        }
        self.chunks.retain(|chunk| chunk.extent.end() <= to);
        Ok(())
    }
}

fn header(id: HistoryId, base: Position) -> [u8; HEADER_BYTES as usize] {
    let mut header = [0; HEADER_BYTES as usize];
    header[..8].copy_from_slice(&MAGIC);
    header[8..24].copy_from_slice(&id.0);
    header[24..32].copy_from_slice(&base.0.to_le_bytes());
    let crc = crc32c::crc32c(&header[..44]);
    header[44..].copy_from_slice(&crc.to_le_bytes());
    header
}

/// The record with its header, if its bytes are whole.
fn read_record(file: &dyn StoredFile, record: Record) -> Option<Vec<u8>> {
    let mut whole = vec![0; RECORD_HEADER_BYTES + record.len as usize];
    file.read_exact_at(&mut whole, u64::from(record.at)).ok()?;
    let (crc, bytes) = (number(&whole, 8)?, &whole[RECORD_HEADER_BYTES..]);
    (crc == record_crc(record.offset, record.len, bytes)).then_some(whole)
}

fn record_crc(offset: u32, len: u32, bytes: &[u8]) -> u32 {
    let crc = crc32c::crc32c_append(crc32c::crc32c(&offset.to_le_bytes()), &len.to_le_bytes());
    crc32c::crc32c_append(crc, bytes)
}

#[cfg(test)]
mod tests;
