//! Reading a snapshot: all of it passes its checks, or it is none.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::super::RECORD_BYTES_MAX;
use super::super::journal::{Generation, frame};

const MAGIC: &[u8; 8] = b"straitGS";
const VERSION: u32 = 1;
const HEAD_BYTES: usize = 8 + 4 + 8 + 4;
pub(super) const END_MAGIC: &[u8; 4] = b"SgSE";
const END_BYTES: usize = 4 + 3 * 8;

/// What a snapshot says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotHead {
    /// When it was begun: milliseconds since 1970.
    pub time_ms: u64,
    /// When it was finished.
    pub ended_ms: u64,
    pub counters: u64,
    pub records: u64,
}

/// Why a snapshot cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error("cannot read {path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("{path} is damaged: {what}")]
    Damaged { path: PathBuf, what: &'static str },
}

/// The first bytes of a file.
pub(super) fn file_head(time_ms: u64) -> [u8; HEAD_BYTES] {
    let mut head = [0; HEAD_BYTES];
    head[..8].copy_from_slice(MAGIC);
    head[8..12].copy_from_slice(&VERSION.to_le_bytes());
    head[12..20].copy_from_slice(&time_ms.to_le_bytes());
    let check = crc32c::crc32c(&head[..20]);
    head[20..].copy_from_slice(&check.to_le_bytes());
    head
}

/// Reads one snapshot from its start, in bounded memory.
#[derive(Debug)]
pub(in crate::grid) struct SnapshotReader {
    path: PathBuf,
    file: BufReader<File>,
    head: SnapshotHead,
    offset: u64,
    read: u64,
}

/// The length of the last frame.
const END_FRAME_BYTES: u64 = (frame::FRAME_HEAD_BYTES + END_BYTES) as u64;

impl SnapshotHead {
    /// Reads what the snapshot at `path` says of itself; not whether all of it is good.
    pub fn read(path: &Path) -> Result<Self, SnapshotError> {
        SnapshotReader::open(path).map(|reader| reader.head)
    }

    /// Reads all of the snapshot at `path` and checks it.
    pub fn check(path: &Path) -> Result<Self, SnapshotError> {
        let mut reader = SnapshotReader::open(path)?;
        while reader.next()?.is_some() {}
        Ok(reader.head)
    }
}

impl SnapshotReader {
    pub(in crate::grid) fn open(path: &Path) -> Result<Self, SnapshotError> {
        let io = |source| SnapshotError::Io {
            path: path.to_owned(),
            source,
        };
        let damaged = |what| SnapshotError::Damaged {
            path: path.to_owned(),
            what,
        };
        let mut file = File::open(path).map_err(io)?;
        let len = file.metadata().map_err(io)?.len();
        if len < HEAD_BYTES as u64 + END_FRAME_BYTES {
            return Err(damaged("it is too short"));
        }
        let mut head = [0; HEAD_BYTES];
        file.read_exact(&mut head).map_err(io)?;
        let mut time = [0; 8];
        time.copy_from_slice(&head[12..20]);
        let time_ms = u64::from_le_bytes(time);
        if head != file_head(time_ms) {
            return Err(damaged(
                "its first bytes are not a snapshot's of this release",
            ));
        }
        let end_at = len - END_FRAME_BYTES;
        file.seek(SeekFrom::Start(end_at)).map_err(io)?;
        let mut reader = Self {
            path: path.to_owned(),
            file: BufReader::with_capacity(1 << 20, file),
            head: SnapshotHead {
                time_ms,
                ended_ms: 0,
                counters: 0,
                records: 0,
            },
            offset: end_at,
            read: 0,
        };
        let end = reader.frame()?;
        reader.head = read_end(&end, time_ms).ok_or_else(|| damaged("its end is missing"))?;
        let start = SeekFrom::Start(HEAD_BYTES as u64);
        reader.file.seek(start).map_err(io)?;
        reader.offset = HEAD_BYTES as u64;
        Ok(reader)
    }

    /// What the snapshot says of itself.
    pub(in crate::grid) fn head(&self) -> &SnapshotHead {
        &self.head
    }

    /// The next record; none at the end.
    pub(in crate::grid) fn next(&mut self) -> Result<Option<Vec<u8>>, SnapshotError> {
        if self.read == self.head.records {
            return Ok(None);
        }
        let packed = self.frame()?;
        self.read += 1;
        match zstd::bulk::decompress(&packed, RECORD_BYTES_MAX) {
            Ok(record) => Ok(Some(record)),
            Err(_) => Err(self.damaged("a record does not unpack")),
        }
    }

    fn frame(&mut self) -> Result<Vec<u8>, SnapshotError> {
        let mut head = [0; frame::FRAME_HEAD_BYTES];
        self.fill(&mut head)?;
        let [a, b, c, d, l0, l1, l2, l3, c0, c1, c2, c3] = head;
        let len = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        if [a, b, c, d] != frame::FRAME_MAGIC || len > RECORD_BYTES_MAX {
            return Err(self.damaged("a frame is missing"));
        }
        let mut bytes = vec![0; len];
        self.fill(&mut bytes)?;
        let check = frame::check(Generation(self.head.time_ms), self.offset, &bytes);
        if check != u32::from_le_bytes([c0, c1, c2, c3]) {
            return Err(self.damaged("a frame fails its check"));
        }
        self.offset += (head.len() + len) as u64;
        Ok(bytes)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), SnapshotError> {
        self.file.read_exact(bytes).map_err(|source| {
            if source.kind() == io::ErrorKind::UnexpectedEof {
                return self.damaged("it ends too early");
            }
            let path = self.path.clone();
            SnapshotError::Io { path, source }
        })
    }

    pub(in crate::grid) fn damaged(&self, what: &'static str) -> SnapshotError {
        SnapshotError::Damaged {
            path: self.path.clone(),
            what,
        }
    }
}

fn read_end(end: &[u8], time_ms: u64) -> Option<SnapshotHead> {
    let numbers = end.strip_prefix(END_MAGIC)?;
    let mut numbers = numbers.as_chunks::<8>().0.iter().copied();
    let mut next = || numbers.next().map(u64::from_le_bytes);
    Some(SnapshotHead {
        time_ms,
        ended_ms: next()?,
        counters: next()?,
        records: next()?,
    })
}
