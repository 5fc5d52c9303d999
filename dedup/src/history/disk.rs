//! One history on disk: a directory of segments and an identity.
//!
//! The history is a cache that both ends check against each other at every handshake, and every
//! record and batch is checked when used; so nothing here waits for a sync, and whatever is lost or
//! damaged costs bytes on the link, never a wrong byte and never a start.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::segment::{ChunkNote, RECORD_BYTES_MAX, SEGMENT_BYTES, Segment};
use super::{HistoryId, Position};
use crate::Recovery;

const IDENTITY_FILE: &str = "identity";
const IDENTITY_BYTES: usize = 16 + 8 + 4;

/// The segments of one history.
#[derive(Debug)]
pub(crate) struct Disk {
    dir: PathBuf,
    id: HistoryId,
    epoch: u64,
    segments: BTreeMap<Position, Segment>,
    /// An append failed: nothing more is written until the history is begun anew.
    failed: bool,
}

impl Disk {
    /// Opens the history in `dir`, or begins a new one there.
    ///
    /// # Errors
    /// The directory can't be made or listed.
    pub(crate) fn open(dir: &Path, recovery: &mut Recovery) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        let identity = read_identity(dir);
        let (id, epoch) = identity.unwrap_or_else(|| (HistoryId::random(), 0));
        let segments = BTreeMap::new();
        let mut disk = Self {
            dir: dir.to_path_buf(),
            id,
            epoch,
            segments,
            failed: false,
        };
        for base in disk.bases()? {
            match Segment::open(dir, id, base) {
                Ok(segment) if disk.joins(&segment) => {
                    disk.segments.insert(base, segment);
                }
                Ok(_) | Err(_) => {
                    recovery.quarantined += 1;
                    // A file that can't even be moved is passed over.
                    Segment::quarantine(dir, base).unwrap_or_default();
                }
            }
        }
        recovery.segments += disk.segments.len() as u64;
        recovery.history_bytes += disk.tail().since(disk.oldest()) as u64;
        if identity.is_none() {
            disk.write_identity()?;
        }
        Ok(disk)
    }

    fn bases(&self) -> io::Result<Vec<Position>> {
        let mut bases = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let name = entry?.file_name();
            let stem = name.to_str().and_then(|name| name.strip_suffix(".seg"));
            let base = stem.and_then(|stem| u64::from_str_radix(stem, 16).ok());
            bases.extend(base.filter(|base| base % SEGMENT_BYTES == 0).map(Position));
        }
        bases.sort_unstable();
        Ok(bases)
    }

    /// A segment joins the one before if nothing is missing between, or is the first.
    fn joins(&self, segment: &Segment) -> bool {
        let tail = self.segments.last_key_value().map(|(_, last)| last.end());
        segment.end() > segment.begin() && tail.is_none_or(|tail| tail == segment.begin())
    }

    pub(crate) fn identity(&self) -> (HistoryId, u64) {
        (self.id, self.epoch)
    }

    pub(crate) fn oldest(&self) -> Position {
        self.segments
            .first_key_value()
            .map_or(Position(0), |(_, first)| first.begin())
    }

    pub(crate) fn tail(&self) -> Position {
        self.segments
            .last_key_value()
            .map_or(Position(0), |(_, last)| last.end())
    }

    /// The chunks that sealed segments know.
    pub(crate) fn chunks(&self) -> impl Iterator<Item = ChunkNote> {
        self.segments
            .values()
            .flat_map(|segment| segment.chunks().iter().copied())
    }

    /// Stretches whose chunks no footer tells: those of segments that were never sealed.
    pub(crate) fn uncut(&self) -> Vec<(Position, Position)> {
        let unsealed = self
            .segments
            .values()
            .filter(|segment| !segment.is_sealed());
        unsealed
            .map(|segment| (segment.begin(), segment.end()))
            .collect()
    }

    /// Writes history from the tail on. A disk that is full or failing ends the writing, not the
    /// history: it goes on in memory.
    pub(crate) fn append(&mut self, mut at: Position, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() && !self.failed {
            let room = RECORD_BYTES_MAX - at.0 % RECORD_BYTES_MAX;
            let (now, rest) = bytes.split_at(bytes.len().min(room as usize));
            if self.append_record(at, now).is_err() {
                self.failed = true;
            }
            at = at.after(now.len());
            bytes = rest;
        }
        !self.failed
    }

    fn append_record(&mut self, at: Position, bytes: &[u8]) -> io::Result<()> {
        let base = Position(at.0 - at.0 % SEGMENT_BYTES);
        if !self.segments.contains_key(&base) {
            if let Some(mut last) = self.segments.last_entry() {
                last.get_mut().seal()?;
            }
            self.segments
                .insert(base, Segment::create(&self.dir, self.id, base)?);
        }
        match self.segments.get_mut(&base) {
            Some(segment) => segment.append(at, bytes),
            None => Ok(()),
        }
    }

    /// Remembers a chunk for the footer of its segment.
    pub(crate) fn note(&mut self, chunk: ChunkNote) {
        let base = Position(chunk.extent.at.0 - chunk.extent.at.0 % SEGMENT_BYTES);
        if let Some(segment) = self
            .segments
            .get_mut(&base)
            .filter(|segment| !segment.is_sealed())
        {
            segment.note(chunk);
        }
    }

    /// Reads `from..to`; false if any of it is not there, or damaged.
    pub(crate) fn read(&self, from: Position, to: Position, out: &mut Vec<u8>) -> bool {
        let mut at = from;
        while at < to {
            let base = Position(at.0 - at.0 % SEGMENT_BYTES);
            let Some(segment) = self.segments.get(&base) else {
                return false;
            };
            let end = to.min(Position(base.0 + SEGMENT_BYTES));
            if at < segment.begin() || end > segment.end() || !segment.read(at, end, out) {
                return false;
            }
            at = end;
        }
        true
    }

    /// Deletes the segments that end at `floor` or before.
    pub(crate) fn evict_below(&mut self, floor: Position) {
        while let Some(first) = self.segments.first_entry() {
            if first.get().end() > floor || first.get().base().0 + SEGMENT_BYTES > floor.0 {
                break;
            }
            // What can't be deleted is found, and counted, at the next start.
            first.remove().delete().unwrap_or_default();
        }
    }

    /// Cuts back to a record's end at `to` or before, and returns where that is.
    pub(crate) fn truncate(&mut self, to: Position) -> Position {
        while let Some(mut last) = self.segments.last_entry() {
            if last.get().begin() >= to || last.get_mut().truncate(to).is_err() {
                last.remove().delete().unwrap_or_default();
                continue;
            }
            if last.get().end() > last.get().begin() {
                break;
            }
            last.remove().delete().unwrap_or_default();
        }
        if self.segments.is_empty() {
            to
        } else {
            self.tail()
        }
    }

    /// Keeps the bytes under a new epoch.
    pub(crate) fn set_epoch(&mut self, epoch: u64) {
        self.epoch = epoch;
        self.failed |= self.write_identity().is_err();
    }

    /// Forgets everything and begins history `id`.
    pub(crate) fn reset(&mut self, id: HistoryId, epoch: u64) {
        for (_, segment) in std::mem::take(&mut self.segments) {
            segment.delete().unwrap_or_default();
        }
        (self.id, self.epoch) = (id, epoch);
        self.failed = self.write_identity().is_err();
    }

    /// Replaces the identity file whole: write, sync, rename.
    fn write_identity(&self) -> io::Result<()> {
        let mut bytes = self.id.0.to_vec();
        bytes.extend_from_slice(&self.epoch.to_le_bytes());
        bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
        replace(&self.dir.join(IDENTITY_FILE), &bytes)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if let Some(mut last) = self.segments.last_entry().filter(|_| !self.failed) {
            // Not sealed, the next start reads it record by record.
            last.get_mut().seal().unwrap_or_default();
        }
    }
}

fn read_identity(dir: &Path) -> Option<(HistoryId, u64)> {
    let bytes: [u8; IDENTITY_BYTES] = fs::read(dir.join(IDENTITY_FILE)).ok()?.try_into().ok()?;
    let (body, crc) = bytes.split_at(IDENTITY_BYTES - 4);
    if crc32c::crc32c(body).to_le_bytes() != *crc {
        return None;
    }
    let (id, epoch) = body.split_first_chunk()?;
    Some((HistoryId(*id), u64::from_le_bytes(*epoch.first_chunk()?)))
}

/// Replaces a small file whole, also across a power failure.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    use std::io::Write;
    let fresh = path.with_extension("new");
    let mut file = fs::File::create(&fresh)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    path.parent()
        .map_or(Ok(()), |dir| fs::File::open(dir)?.sync_all())
}
