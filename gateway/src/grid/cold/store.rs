//! All files of cold blocks: writing to some, and removing those that nobody needs any more.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use super::super::LogName;
use super::super::blocks::Stretch;
use super::super::journal::Generation;
use super::Cold;
use super::segment::{Segment, SegmentWriter};

/// A file takes no more blocks beyond this.
const SEGMENT_BYTES_MAX: u64 = 64 << 20;
/// Or this: its index must fit a frame.
const SEGMENT_BLOCKS_MAX: usize = 10_000;
/// Files that are written to at a time: one for a log.
const WRITERS_MAX: usize = 16;

/// The folder of cold blocks. Only one thread may write to it at a time.
#[derive(Debug)]
pub(in crate::grid) struct ColdStore {
    dir: PathBuf,
    /// The one used last at the end.
    writers: Vec<SegmentWriter>,
    segments: Vec<Arc<Segment>>,
    next: Generation,
    /// Tests let the disk fail.
    #[cfg(test)]
    pub(in crate::grid) broken: bool,
}

impl ColdStore {
    /// Goes on in `dir`, where `segments` were found.
    pub(in crate::grid) fn new(dir: PathBuf, segments: Vec<Arc<Segment>>) -> Self {
        let last = segments.iter().map(|segment| segment.number).max();
        Self {
            dir,
            writers: Vec::new(),
            segments,
            next: last.map_or(Generation(1), Generation::next),
            #[cfg(test)]
            broken: false,
        }
    }

    /// Bytes on disk.
    pub(super) fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes()).sum()
    }

    /// Appends a block with the entries of `section` to its log's file; it is on disk after [`Self::sync`].
    pub(super) fn append(
        &mut self,
        log: &LogName,
        stretch: Stretch,
        section: &Bytes,
    ) -> io::Result<Cold> {
        let place = self.writer_of(log)?;
        let appended = self.writers[place].append(stretch, section);
        #[cfg(test)]
        let appended = match self.broken {
            true => Err(io::ErrorKind::StorageFull.into()),
            false => appended,
        };
        if appended.is_err() {
            self.abandon();
        }
        appended
    }

    /// Writes blocks of a log, oldest first, to a file of their own: all of them are on disk then,
    /// or none is. A start takes them instead of older ones with the same ids.
    pub(super) fn write_apart(
        &mut self,
        log: &LogName,
        blocks: &[(Stretch, Bytes)],
    ) -> io::Result<Vec<Cold>> {
        fs::create_dir_all(&self.dir)?;
        let number = self.next;
        self.next = number.next();
        let mut writer = SegmentWriter::create_aside(&self.dir, number, log.clone())?;
        let segment = writer.segment.clone();
        let appended = blocks
            .iter()
            .map(|(stretch, section)| writer.append(*stretch, section));
        let colds = appended.collect::<io::Result<Vec<_>>>();
        #[cfg(test)]
        let colds = match self.broken {
            true => Err(io::ErrorKind::StorageFull.into()),
            false => colds,
        };
        let written = colds.and_then(|colds| writer.publish().map(|()| colds));
        match written {
            Ok(_) => self.segments.push(segment),
            Err(_) => segment.remove(),
        }
        written
    }

    /// Blocks that are not known to be on disk are forgotten.
    fn abandon(&mut self) {
        self.writers.drain(..).for_each(SegmentWriter::abandon);
    }

    /// Where the writer of `log` stands, at the end of the list.
    fn writer_of(&mut self, log: &LogName) -> io::Result<usize> {
        let place = self.writers.iter().position(|writer| writer.log == *log);
        let writer = place.map(|place| self.writers.remove(place));
        let full = |writer: &SegmentWriter| {
            writer.len() >= SEGMENT_BYTES_MAX || writer.blocks() >= SEGMENT_BLOCKS_MAX
        };
        let writer = match writer {
            Some(writer) if full(&writer) => {
                writer.close()?;
                self.create(log)?
            }
            Some(writer) => writer,
            None => self.create(log)?,
        };
        self.writers.push(writer);
        if self.writers.len() > WRITERS_MAX {
            self.writers.remove(0).close()?;
        }
        Ok(self.writers.len() - 1)
    }

    fn create(&mut self, log: &LogName) -> io::Result<SegmentWriter> {
        fs::create_dir_all(&self.dir)?;
        let number = self.next;
        self.next = number.next();
        let writer = SegmentWriter::create(&self.dir, number, log.clone())?;
        self.segments.push(writer.segment.clone());
        Ok(writer)
    }

    /// Waits until every block that was appended is on disk. After an error none that was not
    /// before is.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        let failed = self
            .writers
            .iter_mut()
            .find_map(|writer| writer.sync().err());
        match failed {
            None => Ok(()),
            Some(error) => {
                self.abandon();
                Err(error)
            }
        }
    }

    /// Gives every file that is written to its index: an orderly stop.
    pub(super) fn close(&mut self) -> io::Result<()> {
        self.writers.drain(..).try_for_each(SegmentWriter::close)
    }

    /// Removes files of which no block is referred to any more.
    pub(super) fn sweep(&mut self) {
        self.segments.retain(|segment| {
            if Arc::strong_count(segment) > 1 {
                return true;
            }
            match fs::remove_file(&segment.path) {
                Ok(()) => false,
                Err(error) if error.kind() == io::ErrorKind::NotFound => false,
                Err(error) => {
                    // It takes space, nothing else; the next sweep tries again.
                    tracing::debug!(%error, "a file of cold blocks that nobody needs stays");
                    true
                }
            }
        });
    }
}
