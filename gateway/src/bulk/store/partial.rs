//! A file being received: hidden until it is whole, checked and on disk.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::FileType;

use super::unfinished::{PushKey, RESUMED_BYTES_MIN};
use super::{FileMeta, NewFile, Shared, StoreError, Trailer};
use crate::bulk::path::SitePath;
use crate::streams::TransferId;

/// A file that grows in the folder of unfinished files. Dropped before
/// [`Partial::commit`], it is removed, unless it was to be kept.
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
    /// It has its final name, or is kept for the next push.
    settled: bool,
}

impl Partial {
    pub(super) fn create(shared: Arc<Shared>, new: NewFile) -> Result<Self, StoreError> {
        check_target(&shared, &new.target)?;
        let key = PushKey::of(&new);
        let (file, name) = match (&key, new.offset) {
            (_, 0) => begin(&shared, key.as_ref(), new.transfer)?,
            (Some(key), _) => shared
                .unfinished
                .claim(key)
                .map_err(|error| StoreError::io("looking for an unfinished file", error))?
                .ok_or(StoreError::NothingKept)?,
            (None, _) => return Err(StoreError::NothingKept),
        };
        let mut partial = Self {
            shared,
            file,
            name,
            key,
            target: new.target,
            meta: new.meta,
            no_replace: new.no_replace,
            hasher: blake3::Hasher::new(),
            length: 0,
            settled: false,
        };
        partial.resume(new.offset)?;
        let rest = new.length.unwrap_or(0).saturating_sub(new.offset);
        partial.shared.check_room(rest)?;
        Ok(partial)
    }

    /// Hashes what is there, and cuts what is beyond.
    fn resume(&mut self, offset: u64) -> Result<(), StoreError> {
        if offset == 0 {
            return Ok(());
        }
        let reading = |error| StoreError::io("reading an unfinished file", error);
        // From here on dropping this gives the right number of bytes back.
        self.length = self.file.metadata().map_err(reading)?.len();
        if self.length < offset {
            return Err(StoreError::NothingKept);
        }
        self.hasher
            .update_reader((&self.file).take(offset))
            .map_err(reading)?;
        self.file.set_len(offset).map_err(reading)?;
        self.file.seek(SeekFrom::Start(offset)).map_err(reading)?;
        self.shared.usage.release(self.length - offset);
        self.length = offset;
        Ok(())
    }

    /// Leaves the file so that the same push can go on with it, if it is worth it.
    pub fn keep(mut self) {
        self.settled = self.key.is_some() && self.length >= RESUMED_BYTES_MIN;
    }

    /// Appends bytes. After an error the file is good for nothing but dropping.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.shared
            .usage
            .reserve(&self.shared, bytes.len() as u64)?;
        self.length += bytes.len() as u64;
        self.hasher.update(bytes);
        self.file
            .write_all(bytes)
            .map_err(|source| self.shared.write_failed(source))
    }

    /// Compares with what the sender says it sent, makes the file durable and gives
    /// it its name, all or nothing. What had that name before is replaced, or stays if the file
    /// is to replace nothing: then this succeeds if the same bytes have the name already.
    pub fn commit(mut self, trailer: &Trailer) -> Result<(), StoreError> {
        if self.length != trailer.length {
            let (declared, received) = (trailer.length, self.length);
            return Err(StoreError::LengthDiffers { declared, received });
        }
        if self.hasher.finalize() != trailer.digest {
            return Err(StoreError::DigestDiffers);
        }
        self.meta
            .apply(&self.file)
            .map_err(|error| StoreError::io("setting permissions and time", error))?;
        self.file
            .sync_all()
            .map_err(|source| self.shared.write_failed(source))?;
        let (folder, name) = self.target.split_last()?;
        let folder = self.shared.tree.make_folder(&folder)?;
        match self.no_replace {
            true => self.settled = self.place_new(&folder, name, trailer)?,
            false => {
                let replaced = self.shared.rename(&self.name, &folder, name)?;
                self.settled = true;
                self.shared.usage.release(replaced);
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
        if !self.settled {
            self.shared.usage.release(self.length);
            if let Err(error) = self.shared.unfinished.remove(&self.name) {
                // A later start sweeps it.
                tracing::warn!(file = self.name, %error, "an unfinished file stays");
            }
        }
        self.shared.unfinished.release(&self.name);
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
    shared
        .unfinished
        .create(key, transfer)
        .map_err(|errno| shared.writing("starting a file", errno))
}

/// What an earlier push of the same file left here: how much, and its digest.
pub(super) fn kept(shared: &Shared, new: &NewFile) -> Result<Option<Trailer>, StoreError> {
    let Some(key) = PushKey::of(new) else {
        return Ok(None);
    };
    let reading = |error| StoreError::io("reading an unfinished file", error);
    let Some((file, name)) = shared.unfinished.claim(&key).map_err(reading)? else {
        return Ok(None);
    };
    let mut hasher = blake3::Hasher::new();
    let read = hasher.update_reader(&file).map(|_| ());
    shared.unfinished.release(&name);
    read.map_err(reading)?;
    let (length, digest) = (hasher.count(), hasher.finalize());
    Ok(Some(Trailer { length, digest }))
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
