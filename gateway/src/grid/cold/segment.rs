//! A file of blocks of one log. While it grows it has frames only; when it is long enough an index
//! of them is put behind, so that a start need not read it all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use super::super::blocks::Stretch;
use super::super::disk_fault::before_write;
use super::super::journal::{Found, Generation, JournalReader, entries, frame};
use super::super::packed::SentEntries;
use super::super::recovery::unmended;
use super::super::varint::{Malformed, Reader, put};
use super::super::{LogName, RECORD_BYTES_MAX};
use super::block::{BlockHead, encode};
use super::{Cold, ColdError};
use crate::datadir::sync_directory;

/// First byte of an index's record.
const KIND_INDEX: u8 = 2;
/// The last bytes of a file that has an index.
const END_MAGIC: &[u8; 4] = b"SgCE";
/// What Linux says of a sector that cannot be read.
const EIO: i32 = 5;
/// Where the index begins, and the magic.
const END_BYTES: u64 = 8 + 4;
/// What follows the name of a file that is not whole yet.
const ASIDE: &str = "part";
/// Blocks of a group: to read one, those before it are read too.
const GROUP_BLOCKS_MAX: usize = 8;
/// Shortest description of a block in an index.
const INDEX_ENTRY_BYTES_MIN: usize = 10;

/// A file of blocks. It may go when nobody refers to it any more.
#[derive(Debug)]
pub(in crate::grid) struct Segment {
    pub(super) number: Generation,
    pub(super) path: PathBuf,
    bytes: AtomicU64,
}

impl Segment {
    fn new(dir: &Path, number: Generation, bytes: u64) -> Self {
        Self {
            number,
            path: dir.join(file_name(number)),
            bytes: AtomicU64::new(bytes),
        }
    }

    /// Where the file is until it is whole, if it is to be seen whole or not at all.
    fn aside(&self) -> PathBuf {
        self.path.with_extension(ASIDE)
    }

    /// A file that was made aside is not to be: nothing of it stays.
    pub(super) fn remove(&self) {
        for path in [self.aside(), self.path.clone()] {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    // The next start removes it, or finds the same entries in older blocks too.
                    tracing::debug!(%error, "blocks that nobody needs stay on disk");
                }
                Ok(()) | Err(_) => {}
            }
        }
    }

    /// Length of the file.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Opens the file for [`Self::record`].
    pub(super) fn open(&self) -> io::Result<File> {
        File::open(&self.path)
    }

    /// The record at `offset`; none if it fails its check.
    pub(super) fn record(&self, file: &File, offset: u64) -> io::Result<Option<Vec<u8>>> {
        frame::read_at(file, self.number, offset)
    }

    /// The block at `offset` is not what was written.
    pub(super) fn damaged(&self, offset: u64, what: &'static str) -> ColdError {
        let path = self.path.clone();
        ColdError::Damaged { path, offset, what }
    }

    /// Why the block at `offset` was not read: it never will be, or another time.
    pub(super) fn failed(&self, offset: u64, source: io::Error) -> ColdError {
        if source.kind() == io::ErrorKind::NotFound {
            return self.damaged(offset, "its file is gone");
        }
        if source.raw_os_error() == Some(EIO) {
            return self.damaged(offset, "the disk cannot read it");
        }
        let path = self.path.clone();
        ColdError::Io { path, source }
    }
}

/// A block that a segment holds.
#[derive(Clone, Debug)]
pub(super) struct Placed {
    pub(super) head: BlockHead,
    pub(super) cold: Cold,
}

/// A segment that is being written.
#[derive(Debug)]
pub(super) struct SegmentWriter {
    pub(super) log: LogName,
    pub(super) segment: Arc<Segment>,
    dir: PathBuf,
    file: File,
    /// Up to here it is fsynced.
    synced: u64,
    len: u64,
    blocks: Vec<Placed>,
    group: Group,
}

/// Blocks that are packed one after the other.
#[derive(Debug, Default)]
struct Group {
    /// Where the first one begins.
    offset: u64,
    blocks: usize,
    sent: SentEntries,
}

impl SegmentWriter {
    /// Makes a new file.
    pub(super) fn create(dir: &Path, number: Generation, log: LogName) -> io::Result<Self> {
        let segment = Segment::new(dir, number, 0);
        let file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .open(&segment.path)?;
        Self::begin(dir, segment, file, log)
    }

    /// Makes a file that a start takes no notice of until [`Self::publish`].
    pub(super) fn create_aside(dir: &Path, number: Generation, log: LogName) -> io::Result<Self> {
        let segment = Segment::new(dir, number, 0);
        let file = File::create(segment.aside())?;
        Self::begin(dir, segment, file, log)
    }

    fn begin(dir: &Path, segment: Segment, mut file: File, log: LogName) -> io::Result<Self> {
        let head = frame::file_head(frame::COLD_MAGIC, segment.number);
        file.write_all(&head)?;
        Ok(Self {
            log,
            segment: Arc::new(segment),
            dir: dir.to_owned(),
            file,
            synced: 0,
            len: head.len() as u64,
            blocks: Vec::new(),
            group: Group::default(),
        })
    }

    /// Length of the file.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Number of its blocks.
    pub(super) fn blocks(&self) -> usize {
        self.blocks.len()
    }

    /// Appends a block with the entries of `section`; it is on disk after [`Self::sync`].
    pub(super) fn append(&mut self, stretch: Stretch, section: &Bytes) -> io::Result<Cold> {
        if self.group.blocks == 0 || self.group.blocks == GROUP_BLOCKS_MAX {
            self.group = Group {
                offset: self.len,
                ..Group::default()
            };
        }
        let head = BlockHead {
            log: self.log.clone(),
            stretch,
            since: (self.len - self.group.offset) as u32,
        };
        let record = encode(&head, &mut self.group.sent, section)?;
        self.group.blocks += 1;
        let placed = placed(&self.segment, head, self.len);
        self.put(&record)?;
        let cold = placed.cold.clone();
        self.blocks.push(placed);
        Ok(cold)
    }

    fn put(&mut self, record: &[u8]) -> io::Result<()> {
        let mut framed = Vec::with_capacity(record.len() + frame::FRAME_HEAD_BYTES);
        frame::put(&mut framed, self.segment.number, self.len, record);
        self.write(&framed)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        before_write()?;
        self.file.write_all(bytes)?;
        self.len += bytes.len() as u64;
        self.segment.bytes.store(self.len, Ordering::Relaxed);
        Ok(())
    }

    /// Waits until all blocks are on disk.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        if self.synced == self.len {
            return Ok(());
        }
        before_write()?;
        self.file.sync_data()?;
        if self.synced == 0 {
            sync_directory(&self.dir)?;
        }
        self.synced = self.len;
        Ok(())
    }

    /// Puts the index behind the blocks. Without it the file is as good, only slower to read.
    pub(super) fn close(mut self) -> io::Result<()> {
        self.sync()?;
        self.put_index()?;
        self.sync()
    }

    fn put_index(&mut self) -> io::Result<()> {
        let at = self.len;
        let index = encode_index(&self.log, &self.blocks);
        if index.len() > RECORD_BYTES_MAX {
            return Ok(());
        }
        self.put(&index)?;
        self.write(&[&at.to_le_bytes()[..], END_MAGIC].concat())
    }

    /// Gives a file that was made aside its index and its name: from then on all of its blocks
    /// count, and not one before.
    pub(super) fn publish(self) -> io::Result<()> {
        let (dir, segment) = (self.dir.clone(), self.segment.clone());
        self.close()?;
        fs::rename(segment.aside(), &segment.path)?;
        sync_directory(&dir)
    }

    /// A write or fsync failed: what is not known to be on disk goes, so that it takes no room.
    pub(super) fn abandon(self) {
        let cut = if self.synced == 0 {
            fs::remove_file(&self.segment.path)
        } else {
            self.file.set_len(self.synced)
        };
        self.segment.bytes.store(self.synced, Ordering::Relaxed);
        if let Err(error) = cut {
            // A start finds those blocks beside the same entries in the journal.
            tracing::debug!(%error, "blocks that nobody needs stay on disk");
        }
    }
}

/// What was found in a file.
#[derive(Debug)]
pub(super) struct Contents {
    pub(super) segment: Arc<Segment>,
    pub(super) blocks: Vec<Placed>,
    /// Stretches that are no blocks although blocks follow.
    pub(super) damaged: Vec<String>,
    /// Bytes of a write that a crash cut short.
    pub(super) torn_bytes: u64,
}

/// The segments in a folder, oldest first.
pub(super) fn list(dir: &Path) -> io::Result<Vec<Generation>> {
    let names = entries(dir)?.into_iter().map(|entry| entry.file_name());
    let mut found: Vec<_> = names
        .filter_map(|name| parse_name(name.to_str()?))
        .collect();
    found.sort();
    Ok(found)
}

/// Removes files that a crash left before they were whole.
pub(super) fn remove_aside(dir: &Path) -> io::Result<()> {
    let paths = entries(dir)?.into_iter().map(|entry| entry.path());
    let mut aside = paths.filter(|path| path.extension().is_some_and(|end| end == ASIDE));
    aside.try_for_each(|path| before_write().and_then(|()| fs::remove_file(path)))
}

fn file_name(number: Generation) -> String {
    format!("cold-{:016x}", number.0)
}

fn parse_name(name: &str) -> Option<Generation> {
    let digits = name
        .strip_prefix("cold-")
        .filter(|digits| digits.len() == 16)?;
    u64::from_str_radix(digits, 16).ok().map(Generation)
}

/// Reads what a file holds: its index, or, if it has none, all of it. With `mend` an unfinished
/// end is cut off, and a file that has no index gets one, if the disk takes that.
pub(super) fn contents(dir: &Path, number: Generation, mend: bool) -> io::Result<Contents> {
    let file = File::open(dir.join(file_name(number)))?;
    let len = file.metadata()?.len();
    let segment = Arc::new(Segment::new(dir, number, len));
    if let Some(blocks) = read_index(&file, &segment)? {
        return Ok(Contents {
            segment,
            blocks,
            damaged: Vec::new(),
            torn_bytes: 0,
        });
    }
    let (found, end) = scan(&segment)?;
    if mend && let Err(error) = add_index(dir, &found, end) {
        // It is as good without, only slower to read; the next start tries again.
        unmended(&segment.path, "has no index", &error);
    }
    Ok(found)
}

/// Cuts a file off at the `end` of its blocks, and puts their index there: all of it, or none.
fn add_index(dir: &Path, found: &Contents, end: u64) -> io::Result<()> {
    let Some(log) = found.blocks.first().map(|block| block.head.log.clone()) else {
        return Ok(());
    };
    let segment = found.segment.clone();
    before_write()?;
    let file = OpenOptions::new().append(true).open(&segment.path)?;
    file.set_len(end)?;
    segment.bytes.store(end, Ordering::Relaxed);
    let again = file.try_clone()?;
    let writer = SegmentWriter {
        log,
        segment: segment.clone(),
        dir: dir.to_owned(),
        file,
        synced: end,
        len: end,
        blocks: found.blocks.clone(),
        group: Group::default(),
    };
    writer.close().inspect_err(|_| {
        segment.bytes.store(end, Ordering::Relaxed);
        // A part of an index that stays is cut off by the next start.
        drop(again.set_len(end));
    })
}

/// Reads the file through; and where what is good of it ends.
fn scan(segment: &Arc<Segment>) -> io::Result<(Contents, u64)> {
    let mut reader = JournalReader::open(&segment.path, frame::COLD_MAGIC, segment.number)?;
    let mut found = Contents {
        segment: segment.clone(),
        blocks: Vec::new(),
        damaged: Vec::new(),
        torn_bytes: 0,
    };
    let mut end = reader.len();
    while let Some(next) = reader.next()? {
        match next {
            Found::Record(record) => {
                let offset = reader.record_offset();
                match BlockHead::of(&record) {
                    Ok(head) => found.blocks.push(placed(segment, head, offset)),
                    Err(_) if record.first() == Some(&KIND_INDEX) => {}
                    Err(error) => found.damaged.push(format!("{offset}: {}", error.0)),
                }
            }
            // At the end it may be the index, which is made anew; entries that are missing show.
            Found::Damaged { from, to } if to < reader.len() => {
                let place = format!("bytes {from}..{to} fail their check");
                found.damaged.push(place);
            }
            Found::Damaged { from, to } | Found::Torn { from, to, .. } => {
                found.torn_bytes = to - from;
                end = from;
            }
        }
    }
    Ok((found, end))
}

fn placed(segment: &Arc<Segment>, head: BlockHead, offset: u64) -> Placed {
    let cold = Cold {
        segment: segment.clone(),
        offset,
        since: head.since,
        bytes_hot: head.stretch.bytes_hot,
    };
    Placed { head, cold }
}

/// The blocks that the index at the end of `file` names; none if there is no good one.
fn read_index(file: &File, segment: &Arc<Segment>) -> io::Result<Option<Vec<Placed>>> {
    let Some(end_at) = segment.bytes().checked_sub(END_BYTES) else {
        return Ok(None);
    };
    let mut end = [0; END_BYTES as usize];
    file.read_exact_at(&mut end, end_at)?;
    let (at, magic) = end.split_at(8);
    let mut offset = [0; 8];
    offset.copy_from_slice(at);
    let at = u64::from_le_bytes(offset);
    if magic != END_MAGIC || at >= end_at {
        return Ok(None);
    }
    let index = frame::read_at(file, segment.number, at)?;
    Ok(index.and_then(|index| decode_index(segment, &index, at).ok()))
}

fn encode_index(log: &LogName, blocks: &[Placed]) -> Vec<u8> {
    let mut out = vec![KIND_INDEX];
    log.put(&mut out);
    put(&mut out, blocks.len() as u64);
    for Placed { head, cold } in blocks {
        put(&mut out, cold.offset);
        head.stretch.put(&mut out);
        put(&mut out, u64::from(head.since));
    }
    out
}

/// Reads what [`encode_index`] wrote, of a file whose blocks end at `end`.
fn decode_index(segment: &Arc<Segment>, index: &[u8], end: u64) -> Result<Vec<Placed>, Malformed> {
    let mut reader = Reader::new(index);
    if reader.byte()? != KIND_INDEX {
        return Err(Malformed("no index"));
    }
    let log = LogName::read(&mut reader)?;
    let count = reader.bounded(index.len() / INDEX_ENTRY_BYTES_MIN)?;
    let mut blocks = Vec::with_capacity(count);
    for _ in 0..count {
        let offset = reader.varint()?;
        let head = BlockHead {
            log: log.clone(),
            stretch: Stretch::read(&mut reader)?,
            since: reader.bounded(u32::MAX as usize)? as u32,
        };
        if offset >= end || u64::from(head.since) > offset {
            return Err(Malformed("a block outside the file"));
        }
        blocks.push(placed(segment, head, offset));
    }
    Ok(blocks)
}

/// How many blocks an index names, whatever its bytes are.
#[cfg(test)]
pub(in crate::grid) fn blocks_of_index(index: &[u8]) -> Option<usize> {
    let segment = Arc::new(Segment::new(Path::new("none"), Generation(1), 0));
    let blocks = decode_index(&segment, index, u64::MAX);
    blocks.ok().map(|blocks| blocks.len())
}
