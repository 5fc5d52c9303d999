//! One history on disk: a directory of segments and an identity.
//!
//! The history is a cache that both ends check against each other at every handshake, and every
//! record and batch is checked when used; so nothing here waits for a sync, and whatever is lost or
//! damaged costs bytes on the link, never a wrong byte and never a start.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::files::Files;
use super::segment::{ChunkNote, RECORD_BYTES_MAX, SEGMENT_BYTES, Segment, Unread};
use super::{Extent, HistoryEvent, HistoryId, Position};
use crate::Recovery;
use crate::storage::{Storage, read_small, replace};

const IDENTITY_FILE: &str = "identity";
const IDENTITY_BYTES: usize = 16 + 8 + 4;
/// Most events kept for whoever asks; more of a kind would say nothing new.
const EVENTS_MAX: usize = 16;

/// The segments of one history.
#[derive(Debug)]
pub(crate) struct Disk {
    files: Files,
    id: HistoryId,
    epoch: u64,
    segments: BTreeMap<Position, Segment>,
    /// The segment whose chunks are being noted.
    noting: Position,
    /// A write failed: nothing more is written until the history is begun anew on disk.
    failed: bool,
    /// It was said that writing failed, and not yet that it works again.
    complained: bool,
    quarantined: Cell<u64>,
    events: RefCell<VecDeque<HistoryEvent>>,
}

impl Disk {
    /// Opens the history in `dir`, or begins a new one there. What is damaged is put aside or cut,
    /// and `recovery` says so.
    ///
    /// # Errors
    /// The directory can't be made or listed.
    pub(crate) fn open(
        storage: Arc<dyn Storage>,
        dir: &Path,
        recovery: &mut Recovery,
    ) -> io::Result<Self> {
        storage.make_dir(dir)?;
        let identity = read_identity(&*storage, dir);
        let (id, epoch) = identity.unwrap_or_else(|| (HistoryId::random(), 0));
        let mut disk = Self {
            files: Files::new(storage, dir),
            id,
            epoch,
            segments: BTreeMap::new(),
            noting: Position(0),
            failed: false,
            complained: false,
            quarantined: Cell::new(0),
            events: RefCell::default(),
        };
        disk.open_segments(recovery)?;
        if identity.is_none() {
            let written = disk.write_identity();
            disk.check(written);
        }
        Ok(disk)
    }

    /// Takes the longest run of segments in which nothing is missing, the newest of equals.
    fn open_segments(&mut self, recovery: &mut Recovery) -> io::Result<()> {
        let mut run: BTreeMap<Position, Segment> = BTreeMap::new();
        let mut runs = Vec::new();
        for base in self.files.bases()? {
            match self.open_segment(base, recovery) {
                Some(segment) => {
                    let tail = run.last_key_value().map(|(_, last)| last.end());
                    if tail.is_some_and(|tail| tail != segment.begin()) {
                        runs.push(std::mem::take(&mut run));
                    }
                    run.insert(base, segment);
                }
                None => {
                    recovery.quarantined += 1;
                    self.files.put_aside(base);
                }
            }
        }
        runs.push(run);
        let longest = (0..runs.len()).max_by_key(|&n| runs[n].len()).unwrap_or(0);
        self.segments = runs.swap_remove(longest);
        for base in runs.iter().flat_map(|run| run.keys()) {
            recovery.quarantined += 1;
            self.files.put_aside(*base);
        }
        recovery.segments += self.segments.len() as u64;
        recovery.history_bytes += self.tail().since(self.oldest()) as u64;
        Ok(())
    }

    fn open_segment(&self, base: Position, recovery: &mut Recovery) -> Option<Segment> {
        let file = self.files.open(base).ok()?;
        let (segment, cut) = Segment::open(&*file, self.id, base).ok()?;
        recovery.cut_bytes += cut;
        Some(segment)
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

    /// Bytes of all segments, as the files lie.
    pub(crate) fn bytes(&self) -> u64 {
        self.segments.values().map(Segment::file_bytes).sum()
    }

    /// Records that were found damaged since the start.
    pub(crate) fn quarantined(&self) -> u64 {
        self.quarantined.get()
    }

    /// Whether nothing is written any more.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed
    }

    pub(crate) fn poll_event(&mut self) -> Option<HistoryEvent> {
        self.events.get_mut().pop_front()
    }

    /// Visits the chunks that the segments know, in order, and returns the stretches whose chunks no
    /// footer tells: those of segments that were never sealed.
    pub(crate) fn visit_chunks(&self, mut visit: impl FnMut(ChunkNote)) -> Vec<Extent> {
        let mut uncut = Vec::new();
        for segment in self.segments.values() {
            if !segment.is_sealed() {
                let (at, end) = (segment.begin(), segment.end());
                let len = end.since(at);
                uncut.push(Extent { at, len });
            } else if let Ok(file) = self.files.open(segment.base()) {
                segment.chunks(&*file).into_iter().for_each(&mut visit);
            }
        }
        uncut
    }

    /// Writes history from the tail on. False when the disk is full or failing, which ends the
    /// writing, not the history.
    pub(crate) fn append(&mut self, mut at: Position, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() && !self.failed {
            let room = RECORD_BYTES_MAX - at.0 % RECORD_BYTES_MAX;
            let (now, rest) = bytes.split_at(bytes.len().min(room as usize));
            let written = self.append_record(at, now);
            self.check(written);
            at = at.after(now.len());
            bytes = rest;
        }
        !self.failed
    }

    fn append_record(&mut self, at: Position, bytes: &[u8]) -> io::Result<()> {
        let base = segment_of(at);
        if !self.segments.contains_key(&base) {
            self.seal_last()?;
            let file = self.files.create(base)?;
            let segment = Segment::create(&*file, self.id, base)?;
            self.segments.insert(base, segment);
        }
        let file = self.files.open(base)?;
        match self.segments.get_mut(&base) {
            Some(segment) => segment.append(&*file, at, bytes),
            None => Ok(()),
        }
    }

    fn seal_last(&mut self) -> io::Result<()> {
        match self.segments.last_entry() {
            Some(last) if !last.get().is_sealed() => {
                let file = self.files.open(*last.key())?;
                last.into_mut().seal(&*file)
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Takes note of how a write went.
    fn check(&mut self, written: io::Result<()>) {
        let dir = || self.files.dir().display().to_string();
        match written {
            Ok(()) if !self.complained => {}
            Ok(()) => {
                self.complained = false;
                self.say(HistoryEvent::Writable { dir: dir() });
            }
            Err(error) => {
                self.failed = true;
                if !std::mem::replace(&mut self.complained, true) {
                    let reason = error.to_string();
                    self.say(HistoryEvent::Unwritable { dir: dir(), reason });
                }
            }
        }
    }

    fn say(&self, event: HistoryEvent) {
        let mut events = self.events.borrow_mut();
        if events.len() < EVENTS_MAX {
            events.push_back(event);
        }
    }

    /// Remembers a chunk for the footer of its segment, which may be sealed already.
    pub(crate) fn note(&mut self, chunk: ChunkNote) {
        let base = segment_of(chunk.extent.at);
        if base != self.noting {
            let sealed = self.seal_noted();
            if sealed.is_err() {
                self.check(sealed);
            }
            self.noting = base;
        }
        if let Some(segment) = self.segments.get_mut(&base) {
            segment.note(chunk);
        }
    }

    /// Brings the chunks that were noted late into their footer.
    fn seal_noted(&mut self) -> io::Result<()> {
        match self.segments.get_mut(&self.noting) {
            Some(segment) if segment.has_late_chunks() && !self.failed => {
                segment.seal(&*self.files.open(self.noting)?)
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Reads `from..to`; false if any of it is not there, or damaged.
    pub(crate) fn read(&self, from: Position, to: Position, out: &mut Vec<u8>) -> bool {
        let mut at = from;
        while at < to {
            let base = segment_of(at);
            let end = to.min(Position(base.0 + SEGMENT_BYTES));
            if let Err(unread) = self.read_segment(base, at, end, out) {
                self.quarantine(unread);
                return false;
            }
            at = end;
        }
        true
    }

    fn read_segment(
        &self,
        base: Position,
        at: Position,
        end: Position,
        out: &mut Vec<u8>,
    ) -> Result<(), Unread> {
        let segment = self.segments.get(&base).ok_or(Unread::Absent)?;
        if at < segment.begin() || end > segment.end() {
            return Err(Unread::Absent);
        }
        let file = self.files.open(base).map_err(|_| Unread::Absent)?;
        segment.read(&*file, at, end, out)
    }

    fn quarantine(&self, unread: Unread) {
        match unread {
            Unread::Damaged(Extent { at, len }) => {
                self.quarantined.set(self.quarantined.get() + 1);
                let dir = self.files.dir().display().to_string();
                let (at, len) = (at.0, len as u64);
                self.say(HistoryEvent::Quarantined { dir, at, len });
            }
            Unread::Absent | Unread::Quarantined => {}
        }
    }

    /// Deletes the segments that end at `floor` or before.
    pub(crate) fn evict_below(&mut self, floor: Position) {
        while let Some(first) = self.segments.first_entry() {
            if first.get().end() > floor || first.key().0 + SEGMENT_BYTES > floor.0 {
                break;
            }
            self.files.remove(*first.key());
            first.remove();
        }
    }

    /// Cuts back to a record's end at `to` or before, and returns where that is: from there on what
    /// is kept has to be written again.
    pub(crate) fn truncate(&mut self, to: Position) -> Position {
        let mut end = to;
        while let Some(mut last) = self.segments.last_entry() {
            let (base, begin) = (*last.key(), last.get().begin());
            let file = self.files.open(base).ok().filter(|_| begin < to);
            let cut = file.and_then(|file| last.get_mut().truncate(&*file, to).ok());
            if cut.is_some() && last.get().end() > last.get().begin() {
                return last.get().end();
            }
            end = end.min(begin);
            last.remove();
            self.files.remove(base);
        }
        end
    }

    /// Keeps the bytes under a new epoch.
    pub(crate) fn set_epoch(&mut self, epoch: u64) {
        self.epoch = epoch;
        let written = self.write_identity();
        self.check(written);
    }

    /// Forgets everything and begins history `id`.
    pub(crate) fn reset(&mut self, id: HistoryId, epoch: u64) {
        (self.id, self.epoch) = (id, epoch);
        self.clear();
    }

    /// Deletes every segment, so that writing can begin again anywhere.
    pub(crate) fn clear(&mut self) {
        for base in std::mem::take(&mut self.segments).into_keys() {
            self.files.remove(base);
        }
        self.failed = false;
        let written = self.write_identity();
        // That it works again is said when a record is written.
        if written.is_err() {
            self.check(written);
        }
    }

    /// Replaces the identity file whole: write, sync, rename.
    fn write_identity(&self) -> io::Result<()> {
        let mut bytes = self.id.0.to_vec();
        bytes.extend_from_slice(&self.epoch.to_le_bytes());
        bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
        replace(
            self.files.storage(),
            &identity_path(self.files.dir()),
            &bytes,
        )
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if !self.failed {
            // Not sealed, the next start reads it record by record.
            self.seal_last().unwrap_or_default();
            self.seal_noted().unwrap_or_default();
        }
    }
}

fn segment_of(at: Position) -> Position {
    Position(at.0 - at.0 % SEGMENT_BYTES)
}

fn identity_path(dir: &Path) -> PathBuf {
    dir.join(IDENTITY_FILE)
}

fn read_identity(storage: &dyn Storage, dir: &Path) -> Option<(HistoryId, u64)> {
    let bytes: [u8; IDENTITY_BYTES] = read_small(storage, &identity_path(dir)).ok()?;
    let (body, crc) = bytes.split_at(IDENTITY_BYTES - 4);
    if crc32c::crc32c(body).to_le_bytes() != *crc {
        return None;
    }
    let (id, epoch) = body.split_first_chunk()?;
    Some((HistoryId(*id), u64::from_le_bytes(*epoch.first_chunk()?)))
}
