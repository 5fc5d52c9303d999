//! Reading a journal's file: every record that passes its check, and what stands between them.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use bytes::Bytes;

use super::super::RECORD_BYTES_MAX;
use super::Generation;
use super::frame::{FILE_HEAD_BYTES, FRAME_HEAD_BYTES, FRAME_MAGIC, check, file_head};

/// How much is read from the file at a time.
const WINDOW_BYTES: usize = 4 << 20;
/// What disks write whole or not at all.
const SECTOR_BYTES: usize = 512;
/// So many zeros in a row are no accident.
const ZEROS_MIN: usize = 16;

/// What stands next in a file.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::grid) enum Found {
    Record(Bytes),
    /// Bytes that are no record, and not the beginning of one that ends the file: damage.
    Damaged {
        from: u64,
        to: u64,
    },
    /// The beginning of a record, and the file ends: a write that a crash cut short.
    Torn {
        from: u64,
        to: u64,
        /// It has its length, and sectors of zeros. Those may as well be what was written, and something
        /// else of it damaged.
        is_whole: bool,
    },
}

/// How a record that is none may have come about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    No,
    /// It ends before its length.
    Short,
    /// Sectors of it never came to the disk: they read as zeros.
    LacksSectors,
}

/// Reads one file from its start, in bounded memory.
#[derive(Debug)]
pub(in crate::grid) struct JournalReader {
    file: File,
    len: u64,
    magic: &'static [u8; 8],
    generation: Generation,
    offset: u64,
    /// Where the frame of the last record began.
    record_offset: u64,
    window: Vec<u8>,
    window_at: u64,
}

impl JournalReader {
    /// `magic` is what the file begins with.
    pub(in crate::grid) fn open(
        path: &Path,
        magic: &'static [u8; 8],
        generation: Generation,
    ) -> io::Result<Self> {
        let file = File::open(path)?;
        let len = file.metadata()?.len();
        Ok(Self {
            file,
            len,
            magic,
            generation,
            offset: 0,
            record_offset: 0,
            window: Vec::new(),
            window_at: 0,
        })
    }

    pub(in crate::grid) fn generation(&self) -> Generation {
        self.generation
    }

    /// Length of the file.
    pub(in crate::grid) fn len(&self) -> u64 {
        self.len
    }

    /// Where the frame of the record that came last begins.
    pub(in crate::grid) fn record_offset(&self) -> u64 {
        self.record_offset
    }

    /// What comes next; none at the end.
    pub(in crate::grid) fn next(&mut self) -> io::Result<Option<Found>> {
        let head = file_head(self.magic, self.generation);
        if self.offset == 0 && self.bytes_at(0, FILE_HEAD_BYTES)? == head {
            self.offset = FILE_HEAD_BYTES as u64;
        }
        if self.offset >= self.len {
            return Ok(None);
        }
        if let Some(record) = self.record_at(self.offset)? {
            self.record_offset = self.offset;
            self.offset += (FRAME_HEAD_BYTES + record.len()) as u64;
            return Ok(Some(Found::Record(record)));
        }
        let from = self.offset;
        let next = self.search(from + 1)?;
        let to = next.unwrap_or(self.len);
        self.offset = to;
        let cut = match next {
            None => self.cut(from)?,
            Some(_) => Cut::No,
        };
        let is_whole = cut == Cut::LacksSectors;
        Ok(Some(match cut {
            Cut::No => Found::Damaged { from, to },
            Cut::Short | Cut::LacksSectors => Found::Torn { from, to, is_whole },
        }))
    }

    /// Whether what stands from `offset` to the end may be a head or a record that was not written
    /// to its end. One that is all there and fails its check was, unless sectors of it never
    /// came to the disk: after a power cut they read as zeros.
    fn cut(&mut self, offset: u64) -> io::Result<Cut> {
        let left = self.len - offset;
        let short_if = |is_short| if is_short { Cut::Short } else { Cut::No };
        if offset == 0 && left < FILE_HEAD_BYTES as u64 {
            let head = file_head(self.magic, self.generation);
            return Ok(short_if(
                head.starts_with(self.bytes_at(0, FILE_HEAD_BYTES)?),
            ));
        }
        if self.has_another_length(offset)? {
            return Ok(Cut::No);
        }
        if lacks_a_sector(offset, self.bytes_at(offset, RECORD_BYTES_MAX)?) {
            return Ok(Cut::LacksSectors);
        }
        Ok(short_if(
            match *self.bytes_at(offset, FRAME_HEAD_BYTES)? {
                [a, b, c, d, l0, l1, l2, l3, ..] => {
                    let len = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
                    let whole = (FRAME_HEAD_BYTES + len) as u64;
                    [a, b, c, d] == FRAME_MAGIC && len <= RECORD_BYTES_MAX && left < whole
                }
                ref begun => FRAME_MAGIC.starts_with(&begun[..begun.len().min(FRAME_MAGIC.len())]),
            },
        ))
    }

    /// Whether all that stands from `offset` to the end is one record, but for the length that its frame
    /// says: then that is damaged, and nothing was cut short.
    fn has_another_length(&mut self, offset: u64) -> io::Result<bool> {
        let generation = self.generation;
        let bytes = self.bytes_at(offset, FRAME_HEAD_BYTES + RECORD_BYTES_MAX)?;
        Ok(match bytes.split_at_checked(FRAME_HEAD_BYTES) {
            Some(([_, _, _, _, _, _, _, _, c0, c1, c2, c3], record)) => {
                check(generation, offset, record) == u32::from_le_bytes([*c0, *c1, *c2, *c3])
            }
            Some(_) | None => false,
        })
    }

    /// The bytes between two offsets, to be put aside; at most 64 MiB of them.
    pub(in crate::grid) fn raw(&self, from: u64, to: u64) -> io::Result<Vec<u8>> {
        let len = (to.min(self.len).saturating_sub(from)).min(64 << 20);
        let mut bytes = vec![0; len as usize];
        self.file.read_exact_at(&mut bytes, from)?;
        Ok(bytes)
    }

    /// The record whose frame stands at `offset`, if a good one does.
    fn record_at(&mut self, offset: u64) -> io::Result<Option<Bytes>> {
        let generation = self.generation;
        let head = self.bytes_at(offset, FRAME_HEAD_BYTES)?;
        let [a, b, c, d, l0, l1, l2, l3, c0, c1, c2, c3] = *head else {
            return Ok(None);
        };
        let len = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        if [a, b, c, d] != FRAME_MAGIC || len > RECORD_BYTES_MAX {
            return Ok(None);
        }
        let record = self.bytes_at(offset + FRAME_HEAD_BYTES as u64, len)?;
        let good = record.len() == len
            && check(generation, offset, record) == u32::from_le_bytes([c0, c1, c2, c3]);
        Ok(good.then(|| Bytes::copy_from_slice(record)))
    }

    /// Where the next good record stands, at or after `offset`.
    fn search(&mut self, mut offset: u64) -> io::Result<Option<u64>> {
        while offset < self.len {
            let bytes = self.bytes_at(offset, 1 << 20)?;
            let place = bytes
                .windows(FRAME_MAGIC.len())
                .position(|four| four == FRAME_MAGIC);
            let Some(place) = place else {
                // The magic may straddle what was looked at and what follows.
                offset += bytes.len().saturating_sub(FRAME_MAGIC.len() - 1).max(1) as u64;
                continue;
            };
            offset += place as u64;
            if self.record_at(offset)?.is_some() {
                return Ok(Some(offset));
            }
            offset += 1;
        }
        Ok(None)
    }

    /// `len` bytes at `offset`, fewer at the end of the file.
    fn bytes_at(&mut self, offset: u64, len: usize) -> io::Result<&[u8]> {
        let end = offset.saturating_add(len as u64).min(self.len);
        let held = self.window_at..self.window_at + self.window.len() as u64;
        if offset < held.start || end > held.end {
            let wanted = (self.len.saturating_sub(offset)).min(WINDOW_BYTES.max(len) as u64);
            self.window.resize(wanted as usize, 0);
            self.window_at = offset;
            self.file.read_exact_at(&mut self.window, offset)?;
        }
        let from = (offset.min(end) - self.window_at) as usize;
        Ok(&self.window[from..from + end.saturating_sub(offset) as usize])
    }
}

/// Whether `bytes`, which stand at `offset` of a file, hold nothing in a sector, or in what of one is
/// theirs. A few zeros are no sign of it.
fn lacks_a_sector(offset: u64, bytes: &[u8]) -> bool {
    let first = SECTOR_BYTES - (offset % SECTOR_BYTES as u64) as usize;
    let (begun, whole) = bytes.split_at(first.min(bytes.len()));
    let mut sectors = whole.chunks(SECTOR_BYTES).chain([begun]);
    sectors.any(|sector| sector.len() >= ZEROS_MIN && sector.iter().all(|byte| *byte == 0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Journal;
    use super::super::frame::JOURNAL_MAGIC;
    use super::*;

    const GENERATION: Generation = Generation(7);

    fn write(dir: &Path, records: &[Vec<u8>]) -> std::path::PathBuf {
        let mut journal = Journal::open(dir, GENERATION, Vec::new()).unwrap();
        let records: Vec<_> = records.iter().cloned().map(Bytes::from).collect();
        journal.write(&records).unwrap();
        dir.join(GENERATION.file_name())
    }

    fn read(path: &Path) -> Vec<Found> {
        let mut reader = JournalReader::open(path, JOURNAL_MAGIC, GENERATION).unwrap();
        std::iter::from_fn(|| reader.next().unwrap()).collect()
    }

    fn records_of(found: &[Found]) -> Vec<Vec<u8>> {
        let records = found.iter().filter_map(|found| match found {
            Found::Record(record) => Some(record.to_vec()),
            Found::Damaged { .. } | Found::Torn { .. } => None,
        });
        records.collect()
    }

    #[test]
    fn a_file_cut_anywhere_gives_the_records_before_the_cut() {
        let dir = tempfile::tempdir().unwrap();
        let records: Vec<_> = (0..8_u8).map(|i| vec![i; usize::from(i) * 5]).collect();
        let path = write(dir.path(), &records);
        let whole = std::fs::read(&path).unwrap();
        assert_eq!(records_of(&read(&path)), records);
        for cut in 0..whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let found = read(&path);
            let got = records_of(&found);
            assert_eq!(got, records[..got.len()]);
            let bytes: usize = got
                .iter()
                .map(|record| record.len() + FRAME_HEAD_BYTES)
                .sum();
            let torn = cut.saturating_sub(bytes + FILE_HEAD_BYTES);
            assert!(
                torn < FRAME_HEAD_BYTES + 40,
                "a whole record was left out at {cut}"
            );
            assert!(
                found
                    .iter()
                    .all(|found| !matches!(found, Found::Damaged { .. }))
            );
        }
    }

    #[test]
    fn a_flipped_bit_costs_its_own_record_only() {
        let dir = tempfile::tempdir().unwrap();
        let records: Vec<_> = (0..8_u8).map(|i| vec![i; 20]).collect();
        let path = write(dir.path(), &records);
        let whole = std::fs::read(&path).unwrap();
        for place in FILE_HEAD_BYTES..whole.len() - 32 {
            let mut damaged = whole.clone();
            damaged[place] ^= 0x10;
            std::fs::write(&path, damaged).unwrap();
            let mut left = records.clone();
            left.remove((place - FILE_HEAD_BYTES) / 32);
            assert_eq!(records_of(&read(&path)), left);
        }
    }

    #[test]
    fn a_flipped_bit_in_the_last_record_is_no_unfinished_write() {
        let dir = tempfile::tempdir().unwrap();
        let path = write(dir.path(), &[vec![1; 20], vec![2; 20]]);
        let whole = std::fs::read(&path).unwrap();
        let last = whole.len() - 32;
        for place in last..whole.len() {
            let mut damaged = whole.clone();
            damaged[place] ^= 1;
            std::fs::write(&path, &damaged).unwrap();
            let found = read(&path).pop().unwrap();
            assert!(matches!(found, Found::Damaged { .. }), "{found:?}");
        }
    }

    #[test]
    fn sectors_that_a_power_cut_left_out_are_an_unfinished_write() {
        let dir = tempfile::tempdir().unwrap();
        let path = write(dir.path(), &[vec![1; 20], vec![2; 5000]]);
        let whole = std::fs::read(&path).unwrap();
        let last = whole.len() - 5000 - FRAME_HEAD_BYTES;
        let sectors = (0..whole.len()).step_by(SECTOR_BYTES);
        for sector in sectors {
            let mut lacking = whole.clone();
            let end = whole.len().min(sector + SECTOR_BYTES);
            lacking[sector.max(last)..end].fill(0);
            std::fs::write(&path, &lacking).unwrap();
            let to = whole.len() as u64;
            let torn = Found::Torn {
                from: last as u64,
                to,
                is_whole: true,
            };
            assert_eq!(
                read(&path).pop(),
                Some(torn),
                "without the sector at {sector}"
            );
        }
    }

    #[test]
    fn a_frame_inside_a_record_is_not_taken_for_one() {
        let dir = tempfile::tempdir().unwrap();
        let inner = std::fs::read(write(dir.path(), &[b"inner".to_vec()])).unwrap();
        std::fs::remove_file(dir.path().join(GENERATION.file_name())).unwrap();
        let path = write(dir.path(), &[inner, b"outer".to_vec()]);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[FILE_HEAD_BYTES + 4] ^= 1; // the length of the first
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(records_of(&read(&path)), [b"outer"]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes: Vec<u8>, with_head: bool) {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("file");
            let head = if with_head { file_head(JOURNAL_MAGIC, GENERATION).to_vec() } else { Vec::new() };
            std::fs::write(&path, [head, bytes].concat()).unwrap();
            prop_assert!(records_of(&read(&path)).is_empty());
        }
    }

    /// Mutated files: every record that is found was written, and reading comes to an end.
    #[test]
    fn fuzz() {
        const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus/journal");
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let (mut records, mut damaged) = (0, 0);
        let target = strait_fuzz::Target {
            name: "grid-journal",
            corpora: &[Path::new(CORPUS)],
            memory_bytes_max: 16 << 20,
            per_mille: 50,
        };
        target.run(|input| {
            std::fs::write(&path, input).unwrap();
            let found = read(&path);
            assert!(found.len() <= input.len() + 1);
            for record in records_of(&found) {
                assert_eq!(record, vec![record.len() as u8 / 5; record.len()]);
                records += 1;
            }
            damaged += usize::from(found.len() > records_of(&found).len());
        });
        assert!(records > 0 && damaged > 0);
    }

    #[test]
    #[ignore = "writes the corpus anew: only for a new version of the format"]
    fn write_corpus() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/journal");
        std::fs::create_dir_all(&corpus).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let records: Vec<_> = (0..8_u8).map(|i| vec![i; usize::from(i) * 5]).collect();
        let path = write(dir.path(), &records);
        std::fs::copy(path, corpus.join("0.bin")).unwrap();
    }
}
