//! A file being received: hidden until it is whole, checked and on disk.

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::FileType;

use super::unfinished::{PushKey, RESUMED_BYTES_MIN};
use super::{FileMeta, NewFile, Shared, StoreError, Stored, Trailer, read_on};
use crate::bulk::path::SitePath;
use crate::streams::TransferId;

/// A file that grows in the folder of unfinished files. Dropped before
/// [`Partial::commit`], it is removed, unless the same push can go on with it.
#[derive(Debug)]
pub struct Partial {
    shared: Arc<Shared>,
    file: File,
    name: String,
    key: Option<PushKey>,
    target: SitePath,
    meta: FileMeta,
    no_replace: bool,
    hasher: blake3::Hasher,
    length: u64,
    fate: Fate,
}

/// What becomes of an unfinished file when nobody writes to it any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It stays if the same push can go on with it and it is long enough.
    Kept,
    /// Its bytes are of no use.
    Removed,
    /// It has its final name, or none.
    Placed,
}

impl Partial {
    pub(super) fn create(shared: &Arc<Shared>, new: NewFile) -> Result<Self, StoreError> {
        check_target(shared, &new.target)?;
        let key = PushKey::of(&new);
        let (file, name) = match (&key, new.offset) {
            (_, 0) => begin(shared, key.as_ref(), new.transfer)?,
            (Some(key), _) => shared
                .unfinished
                .claim(key)
                .map_err(|error| StoreError::io("looking for an unfinished file", error))?
                .ok_or(StoreError::NothingKept)?,
            (None, _) => return Err(StoreError::NothingKept),
        };
        let mut partial = Self {
            shared: shared.clone(),
            file,
            name,
            key,
            target: new.target,
            meta: new.meta,
            no_replace: new.no_replace,
            hasher: blake3::Hasher::new(),
            length: 0,
            fate: Fate::Kept,
        };
        partial.cut(new.offset)?;
        let rest = new.length.unwrap_or(0).saturating_sub(new.offset);
        partial.shared.check_room(rest)?;
        Ok(partial)
    }

    /// Cuts off what an earlier push left beyond `offset`.
    fn cut(&mut self, offset: u64) -> Result<(), StoreError> {
        if offset == 0 {
            return Ok(());
        }
        let reading = |error| StoreError::io("reading an unfinished file", error);
        // From here on dropping this gives the right number of bytes back.
        self.length = self.file.metadata().map_err(reading)?.len();
        if self.length < offset {
            return Err(StoreError::NothingKept);
        }
        self.file.set_len(offset).map_err(reading)?;
        let bytes = self.length - offset;
        self.shared.usage.release(Stored { bytes, entries: 0 });
        self.length = offset;
        Ok(())
    }

    /// Reads on in what an earlier push left; to be called until it returns that this is done.
    pub fn catch_up(&mut self) -> Result<bool, StoreError> {
        let reading = |error| StoreError::io("reading an unfinished file", error);
        if self.hasher.count() == self.length {
            return Ok(true);
        }
        let ended = read_on(&self.file, &mut self.hasher, self.length).map_err(reading)?;
        match ended && self.hasher.count() < self.length {
            true => Err(StoreError::NothingKept),
            false => Ok(ended),
        }
    }

    /// Appends bytes, once it has caught up. After an error the file is good for nothing but
    /// dropping.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let more = Stored {
            bytes: bytes.len() as u64,
            entries: 0,
        };
        let shared = &self.shared;
        shared
            .take_room(more)
            .and_then(|()| {
                self.length += more.bytes;
                self.hasher.update(bytes);
                let written = self.file.write_all(bytes);
                written.map_err(|source| shared.write_failed(source))
            })
            .inspect_err(|_| self.fate = Fate::Removed)
    }

    /// Compares with what the sender says it sent, makes the file durable and gives
    /// it its name, all or nothing. What had that name before is replaced, or stays if the file
    /// is to replace nothing: then this succeeds if the same bytes have the name already.
    pub fn commit(mut self, trailer: &Trailer) -> Result<(), StoreError> {
        self.fate = Fate::Removed;
        if self.length != trailer.length {
            let (declared, received) = (trailer.length, self.length);
            return Err(StoreError::LengthDiffers { declared, received });
        }
        if self.hasher.finalize() != trailer.digest {
            return Err(StoreError::DigestDiffers);
        }
        let shared = self.shared.clone();
        self.meta
            .apply(&self.file)
            .map_err(|error| StoreError::io("setting permissions and time", error))?;
        self.file
            .sync_all()
            .map_err(|source| shared.write_failed(source))?;
        let (folder, name) = self.target.split_last()?;
        let folder = shared.make_folder(&folder)?;
        match self.no_replace {
            true => {
                if self.place_new(&folder, name, trailer)? {
                    self.fate = Fate::Placed;
                }
            }
            false => {
                let replaced = shared.rename(&self.name, &folder, name)?;
                self.fate = Fate::Placed;
                shared.usage.release(replaced);
            }
        }
        rustix::fs::fsync(&folder).map_err(|errno| StoreError::io("flushing a folder", errno))
    }

    /// Of two that come at the same time one gets the name. Returns whether it was this one, or
    /// the same bytes had it already.
    fn place_new(
        &self,
        folder: &OwnedFd,
        name: &str,
        trailer: &Trailer,
    ) -> Result<bool, StoreError> {
        match self.shared.rename_new(&self.name, folder, name) {
            Ok(()) => Ok(true),
            Err(StoreError::Exists) if self.is_there(trailer)? => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether a plain file with these bytes has the target's name, durable.
    fn is_there(&self, trailer: &Trailer) -> Result<bool, StoreError> {
        let file = match self.shared.tree.open_file(&self.target) {
            Ok((file, stat)) if u64::try_from(stat.st_size) == Ok(trailer.length) => {
                File::from(file)
            }
            Ok(_) | Err(StoreError::NotAFile | StoreError::IsFolder | StoreError::NotFound) => {
                return Ok(false);
            }
            Err(error) => return Err(error),
        };
        let reading = |error| StoreError::io("reading the file that is there", error);
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(&file).map_err(reading)?;
        file.sync_all().map_err(reading)?;
        Ok((hasher.count(), hasher.finalize()) == (trailer.length, trailer.digest))
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        let shared = &self.shared;
        let goes_on = self.key.is_some() && self.length >= RESUMED_BYTES_MIN;
        if self.fate == Fate::Removed || (self.fate == Fate::Kept && !goes_on) {
            shared.usage.release(Stored {
                bytes: self.length,
                entries: 1,
            });
            if let Err(error) = shared.unfinished.remove(&self.name) {
                // A later start sweeps it.
                tracing::warn!(file = self.name, %error, "an unfinished file stays");
            }
        }
        shared.unfinished.release(&self.name);
    }
}

/// An empty file. What earlier pushes under this key left is of no use any more.
fn begin(
    shared: &Shared,
    key: Option<&PushKey>,
    transfer: TransferId,
) -> Result<(File, String), StoreError> {
    if key.is_some() {
        let freed = shared.unfinished.remove_idle(key);
        let freed = freed.map_err(|e| StoreError::io("removing an unfinished file", e))?;
        shared.usage.release(freed);
    }
    shared.take_room(Stored::ENTRY)?;
    let begun = shared.unfinished.create(key, transfer);
    begun.map_err(|errno| {
        shared.usage.release(Stored::ENTRY);
        shared.writing("starting a file", errno)
    })
}

/// What an earlier push of the same file left here.
#[derive(Debug)]
pub struct Kept {
    shared: Arc<Shared>,
    file: File,
    name: String,
    hasher: blake3::Hasher,
}

impl Kept {
    pub(super) fn open(shared: &Arc<Shared>, new: &NewFile) -> Result<Option<Self>, StoreError> {
        let Some(key) = PushKey::of(new) else {
            return Ok(None);
        };
        let claimed = shared.unfinished.claim(&key);
        let claimed =
            claimed.map_err(|error| StoreError::io("reading an unfinished file", error))?;
        Ok(claimed.map(|(file, name)| Self {
            shared: shared.clone(),
            file,
            name,
            hasher: blake3::Hasher::new(),
        }))
    }

    /// Reads on; how long it is, and its digest, once all is read.
    pub fn read_on(&mut self) -> Result<Option<Trailer>, StoreError> {
        let ended = read_on(&self.file, &mut self.hasher, u64::MAX)
            .map_err(|error| StoreError::io("reading an unfinished file", error))?;
        Ok(ended.then(|| Trailer {
            length: self.hasher.count(),
            digest: self.hasher.finalize(),
        }))
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.shared.unfinished.release(&self.name);
    }
}

/// Finds out before a long transfer what would stop its last step.
fn check_target(shared: &Shared, target: &SitePath) -> Result<(), StoreError> {
    target.split_last()?;
    match shared.tree.stat(target)? {
        Some(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
            Err(StoreError::IsFolder)
        }
        Some(_) | None => Ok(()),
    }
}
