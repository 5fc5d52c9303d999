//! Writing the journal.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::frame;
use crate::datadir::sync_directory;
use crate::grid::disk_fault::before_write;

/// Frames are collected up to this, then written: what one call takes costs more than the call.
const WRITE_BYTES: usize = 256 << 10;

/// Number of a journal's file. Each rewrite begins the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::grid) struct Generation(pub(in crate::grid) u64);

impl Generation {
    pub(in crate::grid) fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// The file's name in the journal's folder.
    pub(in crate::grid) fn file_name(self) -> String {
        format!("journal-{:016x}", self.0)
    }

    /// The generation that a file's name stands for.
    pub(in crate::grid) fn parse(file_name: &str) -> Option<Self> {
        let digits = file_name.strip_prefix("journal-")?;
        let number = (digits.len() == 16).then(|| u64::from_str_radix(digits, 16).ok());
        number.flatten().map(Self)
    }
}

/// The file that is appended to, and older ones that are still needed.
#[derive(Debug)]
pub(in crate::grid) struct Journal {
    dir: PathBuf,
    generation: Generation,
    /// None: it could not be opened, and the journal is poisoned.
    file: Option<File>,
    /// Length of the current file.
    len: u64,
    /// The highest that was ever begun; a number is not used twice.
    last: Generation,
    older: Vec<(Generation, u64)>,
    /// A write or fsync of the current file failed: nobody knows what of it is on disk.
    poisoned: bool,
    written_total: u64,
    /// Tests let the disk fail.
    #[cfg(test)]
    pub(in crate::grid) broken: bool,
    /// Or be slow.
    #[cfg(test)]
    pub(in crate::grid) gate: std::sync::Arc<parking_lot::Mutex<()>>,
}

impl Journal {
    /// Goes on with the file of `generation`, or makes it.
    pub(in crate::grid) fn open(
        dir: &Path,
        generation: Generation,
        older: Vec<(Generation, u64)>,
    ) -> io::Result<Self> {
        let (file, len) = open_file(dir, generation)?;
        Ok(Self {
            file: Some(file),
            len,
            poisoned: false,
            ..Self::unwritable(dir, generation, 0, older)
        })
    }

    /// A journal that cannot be written now, whose last file has `len` good bytes: the next flush
    /// tries to begin another one.
    pub(in crate::grid) fn unwritable(
        dir: &Path,
        generation: Generation,
        len: u64,
        older: Vec<(Generation, u64)>,
    ) -> Self {
        Self {
            dir: dir.to_owned(),
            generation,
            file: None,
            len,
            last: generation,
            older,
            poisoned: true,
            written_total: 0,
            #[cfg(test)]
            broken: false,
            #[cfg(test)]
            gate: std::sync::Arc::default(),
        }
    }

    /// Appends records and waits until they are on disk. After an error nothing more is written
    /// to this file: see [`Journal::begin_next`].
    pub(in crate::grid) fn write(&mut self, records: &[Bytes]) -> io::Result<()> {
        if self.poisoned {
            return Err(io::Error::other("an earlier write failed"));
        }
        let begin = self.len;
        let written = self
            .append(records)
            .and_then(|()| self.file()?.sync_data())
            .and_then(|()| self.check_name());
        if written.is_err() {
            self.poisoned = true;
            if let Err(error) = self.cut_to_whole(begin, records) {
                tracing::debug!(%error, "the end of the journal is cut at the next start");
            }
        }
        written
    }

    /// Cuts off what was written of a record in part. Whole ones stay: should the process end before
    /// there is space again, a start finds them.
    fn cut_to_whole(&mut self, begin: u64, records: &[Bytes]) -> io::Result<()> {
        let written = self.file()?.metadata()?.len();
        let frames = records.iter().map(|record| frame::len_of(record));
        let ends = frames.scan(begin, |end, len| {
            *end += len;
            Some(*end)
        });
        let whole = ends.take_while(|end| *end <= written).last();
        self.len = whole.unwrap_or(begin);
        self.file()?.set_len(self.len)
    }

    fn file(&self) -> io::Result<&File> {
        let file = self.file.as_ref();
        file.ok_or_else(|| io::Error::other("the journal's file could not be opened"))
    }

    /// What is written to a file without a name is lost with the process.
    fn check_name(&self) -> io::Result<()> {
        match self.file()?.metadata()?.nlink() {
            0 => Err(io::Error::other("the journal's file was removed")),
            _ => Ok(()),
        }
    }

    /// Appends records without waiting for the disk; the next [`Journal::write`] does.
    fn append(&mut self, records: &[Bytes]) -> io::Result<()> {
        let mut buffer = Vec::new();
        for record in records {
            let offset = self.len + buffer.len() as u64;
            frame::put(&mut buffer, self.generation, offset, record);
            if buffer.len() >= WRITE_BYTES {
                self.append_bytes(&buffer)?;
                buffer.clear();
            }
        }
        self.append_bytes(&buffer)
    }

    fn append_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        #[cfg(test)]
        drop(self.gate.lock());
        #[cfg(test)]
        if self.broken {
            // Half of it reaches the disk, as when space runs out.
            self.file()?.write_all(&bytes[..bytes.len() / 2])?;
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.file()?.write_all(bytes)?;
        self.len += bytes.len() as u64;
        self.written_total += bytes.len() as u64;
        Ok(())
    }

    /// A file of this number stays on disk without having been begun: it goes with the older ones.
    pub(in crate::grid) fn leave_out(&mut self, generation: Generation) {
        self.last = self.last.max(generation);
        self.older.push((generation, 0));
    }

    /// What is behind the good bytes of a poisoned file is an unfinished write; in an older file a
    /// start would take it for damage.
    fn cut_poisoned(&self) -> io::Result<()> {
        let path = self.dir.join(self.generation.file_name());
        let file = OpenOptions::new().write(true).open(path)?;
        match file.metadata()?.len() > self.len {
            true => file.set_len(self.len),
            false => Ok(()),
        }
    }

    /// Begins the file of the next generation; the current one becomes an older one.
    pub(in crate::grid) fn begin_next(&mut self) -> io::Result<()> {
        if self.poisoned
            && let Err(error) = self.cut_poisoned()
        {
            tracing::debug!(%error, "the end of the journal is not cut");
        }
        let next = self.last.next();
        self.last = next;
        let (file, len) = open_file(&self.dir, next).inspect_err(|_| {
            // It may be there without its head; a start removes it as well.
            drop(fs::remove_file(self.dir.join(next.file_name())));
        })?;
        self.older.push((self.generation, self.len));
        self.generation = next;
        self.file = Some(file);
        self.len = len;
        self.poisoned = false;
        Ok(())
    }

    /// Takes back the last [`Journal::begin_next`]: nothing of the current file counts, and its
    /// room is wanted. The one before it, which failed, is the current one again.
    pub(in crate::grid) fn take_back_next(&mut self) {
        self.poisoned = true;
        let Some((generation, len)) = self.older.pop() else {
            return;
        };
        // One of the two gives the room back: we hold the file open.
        if let Some(file) = &self.file {
            drop(file.set_len(0));
        }
        drop(fs::remove_file(self.dir.join(self.generation.file_name())));
        (self.generation, self.len) = (generation, len);
    }

    /// Removes all older files: the current one holds everything.
    pub(in crate::grid) fn drop_older(&mut self) -> io::Result<()> {
        while let Some((generation, _)) = self.older.last() {
            match fs::remove_file(self.dir.join(generation.file_name())) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
            self.older.pop();
        }
        sync_directory(&self.dir)
    }

    /// Nothing more is written to the current file.
    pub(in crate::grid) fn poison(&mut self) {
        self.poisoned = true;
    }

    pub(in crate::grid) fn is_poisoned(&self) -> bool {
        self.poisoned
    }

    /// Bytes of the current file.
    pub(in crate::grid) fn len(&self) -> u64 {
        self.len
    }

    /// Bytes of all files.
    pub(in crate::grid) fn bytes(&self) -> u64 {
        self.len + self.older.iter().map(|(_, len)| len).sum::<u64>()
    }

    /// Whether there is more than the current file.
    pub(in crate::grid) fn has_older(&self) -> bool {
        !self.older.is_empty()
    }

    /// Bytes written since the start.
    pub(in crate::grid) fn written_total(&self) -> u64 {
        self.written_total
    }
}

fn open_file(dir: &Path, generation: Generation) -> io::Result<(File, u64)> {
    let path = dir.join(generation.file_name());
    before_write()?;
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    let mut len = file.metadata()?.len();
    if len == 0 {
        before_write()?;
        file.write_all(&frame::file_head(frame::JOURNAL_MAGIC, generation))?;
        before_write()?;
        file.sync_all()?;
        sync_directory(dir)?;
        len = frame::FILE_HEAD_BYTES as u64;
    }
    Ok((file, len))
}

/// What is in `dir`; nothing when there is no such folder.
pub(in crate::grid) fn entries(dir: &Path) -> io::Result<Vec<fs::DirEntry>> {
    match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        entries => entries?.collect(),
    }
}
