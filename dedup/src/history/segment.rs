//! One segment file: a stretch of history in checked records, closed by a footer that says what is in
//! it. Drawn in `docs/STORE.md`.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::{Extent, HistoryId, Position};
use crate::chunker::Fingerprint;
use crate::similarity::SuperFeatures;

/// Bytes of history that one segment covers; its first position is a multiple of this.
pub(crate) const SEGMENT_BYTES: u64 = 16 << 20;
/// Most bytes of history in one record, which lies within one such stretch.
pub(super) const RECORD_BYTES_MAX: u64 = 64 << 10;

const MAGIC: [u8; 8] = *b"strseg\0\x01";
const FOOTER_MAGIC: [u8; 8] = *b"strfoot\x01";
const HEADER_BYTES: u64 = 48;
const RECORD_HEADER_BYTES: u64 = 12;
const TRAILER_BYTES: u64 = 20;
const CHUNK_ENTRY_BYTES: usize = 40;
const RECORD_ENTRY_BYTES: usize = 12;
/// A footer of the smallest chunks and records that a segment can hold is not larger.
const FOOTER_BYTES_MAX: u64 = 8 << 20;

/// A chunk of history as the index and the similarity table know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChunkNote {
    pub(crate) extent: Extent,
    pub(crate) fingerprint: Fingerprint,
    pub(crate) features: Option<SuperFeatures>,
}

/// Where a record lies: `offset` in the segment's stretch of history, `at` in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Record {
    offset: u32,
    len: u32,
    at: u32,
}

impl Record {
    fn end(self) -> u64 {
        u64::from(self.offset) + u64::from(self.len)
    }
}

/// A segment file that is open.
#[derive(Debug)]
pub(super) struct Segment {
    file: File,
    path: PathBuf,
    base: Position,
    records: Vec<Record>,
    chunks: Vec<ChunkNote>,
    /// Bytes of the file up to the last whole record.
    len: u64,
    sealed: bool,
}

impl Segment {
    pub(super) fn path_of(dir: &Path, base: Position) -> PathBuf {
        dir.join(format!("{:016x}.seg", base.0))
    }

    /// Begins a new file, over whatever stood at its path.
    pub(super) fn create(dir: &Path, id: HistoryId, base: Position) -> io::Result<Self> {
        let path = Self::path_of(dir, base);
        let mut options = OpenOptions::new();
        let file = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path)?;
        let mut header = Vec::with_capacity(HEADER_BYTES as usize);
        header.extend_from_slice(&MAGIC);
        header.extend_from_slice(&id.0);
        header.extend_from_slice(&base.0.to_le_bytes());
        header.resize(HEADER_BYTES as usize - 4, 0);
        header.extend_from_slice(&crc32c::crc32c(&header).to_le_bytes());
        file.write_all_at(&header, 0)?;
        let (records, chunks) = (Vec::new(), Vec::new());
        Ok(Self {
            file,
            path,
            base,
            records,
            chunks,
            len: HEADER_BYTES,
            sealed: false,
        })
    }

    /// Opens a file of history `id` and finds its records: by the footer, or by reading them all and
    /// cutting after the last good one.
    pub(super) fn open(dir: &Path, id: HistoryId, base: Position) -> io::Result<Self> {
        let path = Self::path_of(dir, base);
        let file = OpenOptions::new().read(true).write(true).open(&path)?;
        let mut header = [0; HEADER_BYTES as usize];
        file.read_exact_at(&mut header, 0)?;
        let (body, crc) = header.split_at(HEADER_BYTES as usize - 4);
        let whole = crc32c::crc32c(body).to_le_bytes() == *crc;
        if !whole
            || body[..8] != MAGIC
            || body[8..24] != id.0
            || body[24..32] != base.0.to_le_bytes()
        {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "not a segment of this history",
            ));
        }
        let (records, chunks) = (Vec::new(), Vec::new());
        let mut segment = Self {
            file,
            path,
            base,
            records,
            chunks,
            len: HEADER_BYTES,
            sealed: false,
        };
        if segment.read_footer().is_none() {
            segment.recover()?;
        }
        Ok(segment)
    }

    pub(super) fn base(&self) -> Position {
        self.base
    }

    /// End of the history held.
    pub(super) fn end(&self) -> Position {
        self.records
            .last()
            .map_or(self.base, |last| Position(self.base.0 + last.end()))
    }

    /// First position held: past `base` where the history began within the segment.
    pub(super) fn begin(&self) -> Position {
        let first = self
            .records
            .first()
            .map_or(0, |first| u64::from(first.offset));
        Position(self.base.0 + first)
    }

    pub(super) fn chunks(&self) -> &[ChunkNote] {
        &self.chunks
    }

    pub(super) fn is_sealed(&self) -> bool {
        self.sealed
    }

    /// Appends one record: at most [`RECORD_BYTES_MAX`] bytes, just after what is held.
    pub(super) fn append(&mut self, at: Position, bytes: &[u8]) -> io::Result<()> {
        if self.sealed {
            self.file.set_len(self.len)?;
            self.sealed = false;
        }
        let (offset, len) = (at.since(self.base) as u32, bytes.len() as u32);
        let mut record = Vec::with_capacity(bytes.len() + RECORD_HEADER_BYTES as usize);
        record.extend_from_slice(&offset.to_le_bytes());
        record.extend_from_slice(&len.to_le_bytes());
        record.extend_from_slice(&record_crc(offset, len, bytes).to_le_bytes());
        record.extend_from_slice(bytes);
        self.file.write_all_at(&record, self.len)?;
        self.records.push(Record {
            offset,
            len,
            at: self.len as u32,
        });
        self.len += record.len() as u64;
        Ok(())
    }

    /// Remembers a chunk for the footer.
    pub(super) fn note(&mut self, chunk: ChunkNote) {
        if chunk.extent.at >= self.base && chunk.extent.end().0 <= self.base.0 + SEGMENT_BYTES {
            self.chunks.push(chunk);
        }
    }

    /// Closes the file with its footer.
    pub(super) fn seal(&mut self) -> io::Result<()> {
        let mut footer = Vec::new();
        for record in &self.records {
            for number in [record.offset, record.len, record.at] {
                footer.extend_from_slice(&number.to_le_bytes());
            }
        }
        for chunk in &self.chunks {
            let offset = chunk.extent.at.since(self.base) as u32;
            footer.extend_from_slice(&offset.to_le_bytes());
            footer.extend_from_slice(&(chunk.extent.len as u32).to_le_bytes());
            footer.extend_from_slice(&chunk.fingerprint.0.to_le_bytes());
            for feature in chunk.features.map_or([0; 3], |features| features.0) {
                footer.extend_from_slice(&feature.to_le_bytes());
            }
        }
        let counts = [self.records.len() as u32, self.chunks.len() as u32];
        footer.extend_from_slice(&counts[0].to_le_bytes());
        footer.extend_from_slice(&counts[1].to_le_bytes());
        footer.extend_from_slice(&crc32c::crc32c(&footer).to_le_bytes());
        footer.extend_from_slice(&FOOTER_MAGIC);
        self.file.write_all_at(&footer, self.len)?;
        self.file.set_len(self.len + footer.len() as u64)?;
        self.sealed = true;
        Ok(())
    }

    fn read_footer(&mut self) -> Option<()> {
        let len = self.file.metadata().ok()?.len();
        let mut trailer = [0; TRAILER_BYTES as usize];
        self.file
            .read_exact_at(&mut trailer, len.checked_sub(TRAILER_BYTES)?)
            .ok()?;
        if trailer[12..] != FOOTER_MAGIC {
            return None;
        }
        let records = number(&trailer, 0)? as usize;
        let chunks = number(&trailer, 4)? as usize;
        let tables = (records * RECORD_ENTRY_BYTES + chunks * CHUNK_ENTRY_BYTES) as u64;
        let begin = len.checked_sub(TRAILER_BYTES + tables)?;
        if tables > FOOTER_BYTES_MAX || begin < HEADER_BYTES {
            return None;
        }
        let mut footer = vec![0; tables as usize + 8];
        self.file.read_exact_at(&mut footer, begin).ok()?;
        if crc32c::crc32c(&footer) != number(&trailer, 8)? {
            return None;
        }
        let (record_table, rest) = footer.split_at(records * RECORD_ENTRY_BYTES);
        self.records = record_table
            .chunks_exact(RECORD_ENTRY_BYTES)
            .map_while(read_record)
            .collect();
        let chunk_table = rest.chunks_exact(CHUNK_ENTRY_BYTES).take(chunks);
        self.chunks = chunk_table
            .map_while(|entry| read_chunk(self.base, entry))
            .collect();
        self.len = begin;
        self.sealed = true;
        Some(())
    }

    /// Reads record after record and cuts the file after the last good one.
    fn recover(&mut self) -> io::Result<()> {
        let file_len = self.file.metadata()?.len();
        while let Some(record) = self.next_record(file_len) {
            self.len += RECORD_HEADER_BYTES + u64::from(record.len);
            self.records.push(record);
        }
        self.file.set_len(self.len)
    }

    fn next_record(&self, file_len: u64) -> Option<Record> {
        let mut header = [0; RECORD_HEADER_BYTES as usize];
        self.file.read_exact_at(&mut header, self.len).ok()?;
        let (offset, len) = (number(&header, 0)?, number(&header, 4)?);
        let record = Record {
            offset,
            len,
            at: u32::try_from(self.len).ok()?,
        };
        let follows = self
            .records
            .last()
            .is_none_or(|last| last.end() == u64::from(offset));
        let fits = u64::from(len) <= RECORD_BYTES_MAX
            && len > 0
            && record.end() <= SEGMENT_BYTES
            && self.len + RECORD_HEADER_BYTES + u64::from(len) <= file_len;
        (follows && fits && self.read_record(record).is_some()).then_some(record)
    }

    /// The record's bytes, if they are whole.
    fn read_record(&self, record: Record) -> Option<Vec<u8>> {
        let mut bytes = vec![0; RECORD_HEADER_BYTES as usize + record.len as usize];
        self.file
            .read_exact_at(&mut bytes, u64::from(record.at))
            .ok()?;
        let crc = number(&bytes, 8)?;
        bytes.drain(..RECORD_HEADER_BYTES as usize);
        (crc == record_crc(record.offset, record.len, &bytes)).then_some(bytes)
    }

    /// Appends the bytes from `from` to `to` to `out`. False when some are not held, or damaged.
    pub(super) fn read(&self, from: Position, to: Position, out: &mut Vec<u8>) -> bool {
        let (mut at, end) = (from.since(self.base) as u64, to.since(self.base) as u64);
        let first = self.records.partition_point(|record| record.end() <= at);
        for record in &self.records[first..] {
            let offset = u64::from(record.offset);
            if at >= end || offset > at {
                break;
            }
            let Some(bytes) = self.read_record(*record) else {
                return false;
            };
            let (begin, stop) = (at - offset, end.min(record.end()) - offset);
            out.extend_from_slice(&bytes[begin as usize..stop as usize]);
            at = record.end();
        }
        at >= end
    }

    /// Cuts back to the last record that ends at `to` or before. The footer goes, the chunks that
    /// are wholly held stay.
    pub(super) fn truncate(&mut self, to: Position) -> io::Result<()> {
        let keep = to.since(self.base) as u64;
        while self.records.last().is_some_and(|last| last.end() > keep) {
            if let Some(last) = self.records.pop() {
                self.len = u64::from(last.at);
            }
        }
        self.chunks.retain(|chunk| chunk.extent.end() <= to);
        self.sealed = false;
        self.file.set_len(self.len)
    }

    pub(super) fn delete(self) -> io::Result<()> {
        std::fs::remove_file(&self.path)
    }

    /// Puts the file aside, for a person to look at.
    pub(super) fn quarantine(dir: &Path, base: Position) -> io::Result<()> {
        let path = Self::path_of(dir, base);
        std::fs::rename(&path, path.with_extension("bad"))
    }
}

fn record_crc(offset: u32, len: u32, bytes: &[u8]) -> u32 {
    let crc = crc32c::crc32c_append(crc32c::crc32c(&offset.to_le_bytes()), &len.to_le_bytes());
    crc32c::crc32c_append(crc, bytes)
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    bytes
        .get(at..)?
        .first_chunk()
        .map(|number| u32::from_le_bytes(*number))
}

fn long(bytes: &[u8], at: usize) -> Option<u64> {
    bytes
        .get(at..)?
        .first_chunk()
        .map(|number| u64::from_le_bytes(*number))
}

fn read_record(entry: &[u8]) -> Option<Record> {
    let record = Record {
        offset: number(entry, 0)?,
        len: number(entry, 4)?,
        at: number(entry, 8)?,
    };
    let fits = record.end() <= SEGMENT_BYTES && u64::from(record.len) <= RECORD_BYTES_MAX;
    fits.then_some(record)
}

fn read_chunk(base: Position, entry: &[u8]) -> Option<ChunkNote> {
    let at = Position(base.0 + u64::from(number(entry, 0)?));
    let extent = Extent {
        at,
        len: number(entry, 4)? as usize,
    };
    let features = [long(entry, 16)?, long(entry, 24)?, long(entry, 32)?];
    let features = (features != [0; 3]).then_some(SuperFeatures(features));
    Some(ChunkNote {
        extent,
        fingerprint: Fingerprint(long(entry, 8)?),
        features,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: HistoryId = HistoryId([7; 16]);
    const BASE: Position = Position(32 << 20);

    fn filled(dir: &Path) -> (Segment, Vec<u8>) {
        let bytes: Vec<u8> = (0..200_000u32).map(|n| (n * 31 % 253) as u8).collect();
        let mut segment = Segment::create(dir, ID, BASE).unwrap();
        for (n, record) in bytes.chunks(RECORD_BYTES_MAX as usize).enumerate() {
            segment
                .append(BASE.after(n * RECORD_BYTES_MAX as usize), record)
                .unwrap();
        }
        let extent = Extent {
            at: BASE.after(10),
            len: 5000,
        };
        segment.note(ChunkNote {
            extent,
            fingerprint: Fingerprint(99),
            features: None,
        });
        (segment, bytes)
    }

    fn check(segment: &Segment, bytes: &[u8]) {
        let mut out = Vec::new();
        assert!(segment.read(BASE.after(7), BASE.after(bytes.len()), &mut out));
        assert_eq!(out, bytes[7..]);
    }

    #[test]
    fn a_sealed_segment_comes_back_with_its_chunks() {
        let dir = tempfile::tempdir().unwrap();
        let (mut segment, bytes) = filled(dir.path());
        segment.seal().unwrap();
        let segment = Segment::open(dir.path(), ID, BASE).unwrap();
        assert!(segment.is_sealed());
        assert_eq!(segment.chunks().len(), 1);
        check(&segment, &bytes);
        assert!(
            Segment::open(dir.path(), HistoryId([8; 16]), BASE).is_err(),
            "another history's"
        );
    }

    #[test]
    fn a_torn_tail_is_cut_wherever_it_tears() {
        let dir = tempfile::tempdir().unwrap();
        let (segment, bytes) = filled(dir.path());
        let path = Segment::path_of(dir.path(), BASE);
        let whole = std::fs::read(&path).unwrap();
        drop(segment);
        for cut in (HEADER_BYTES as usize..whole.len()).step_by(7919) {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let segment = Segment::open(dir.path(), ID, BASE).unwrap();
            let held = segment.end().since(BASE);
            assert!(held <= cut && held + RECORD_BYTES_MAX as usize + 100 > cut);
            if held > 7 {
                check(&segment, &bytes[..held]);
            }
        }
    }

    #[test]
    fn a_flipped_bit_is_never_read() {
        let dir = tempfile::tempdir().unwrap();
        let (mut segment, bytes) = filled(dir.path());
        segment.seal().unwrap();
        let path = Segment::path_of(dir.path(), BASE);
        let whole = std::fs::read(&path).unwrap();
        for at in (0..whole.len()).step_by(997) {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x10;
            std::fs::write(&path, &damaged).unwrap();
            let Ok(segment) = Segment::open(dir.path(), ID, BASE) else {
                continue;
            };
            let mut out = Vec::new();
            if segment.read(BASE, segment.end(), &mut out) {
                assert!(out == bytes[..out.len()], "byte {at}");
            }
        }
    }

    #[test]
    fn truncating_goes_to_a_record_and_appends_on() {
        let dir = tempfile::tempdir().unwrap();
        let (mut segment, bytes) = filled(dir.path());
        segment.seal().unwrap();
        segment.truncate(BASE.after(150_000)).unwrap();
        let end = segment.end();
        assert_eq!(end, BASE.after(131_072));
        segment.append(end, &bytes[131_072..140_000]).unwrap();
        let segment = Segment::open(dir.path(), ID, BASE).unwrap();
        check(&segment, &bytes[..140_000]);
    }
}
