//! The file system as a store sees it: a seam, so that tests can lose, tear and refuse writes.

use std::fmt::Debug;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

/// What a [`Store`](crate::Store) asks of a file system. No call is tried again when it fails.
///
/// Nothing is expected to outlast a power failure but what was synced: a file's bytes by
/// [`StoredFile::sync`], names by [`Storage::sync_dir`].
pub trait Storage: Debug + Send + Sync {
    /// Makes a directory, and those above it.
    ///
    /// # Errors
    /// It can't be made, and is not there.
    fn make_dir(&self, dir: &Path) -> io::Result<()>;

    /// The names in a directory, in any order.
    ///
    /// # Errors
    /// It can't be read.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Opens a file that is there, to read and write.
    ///
    /// # Errors
    /// It is not there, or can't be opened.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn StoredFile>>;

    /// Begins an empty file, over one that is there.
    ///
    /// # Errors
    /// It can't be made.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn StoredFile>>;

    /// Renames a file, over one that is there.
    ///
    /// # Errors
    /// It can't be renamed; either name stands as before.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// It is not there, or can't be removed.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a directory durable.
    ///
    /// # Errors
    /// Nobody knows which are.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
}

/// A file that is open.
pub trait StoredFile: Debug + Send + Sync {
    /// Bytes in the file.
    ///
    /// # Errors
    /// The file system can't tell.
    fn size(&self) -> io::Result<u64>;

    /// Fills `out` with the bytes from `at` on.
    ///
    /// # Errors
    /// The file ends before, or can't be read.
    fn read_exact_at(&self, out: &mut [u8], at: u64) -> io::Result<()>;

    /// Writes all of `bytes` from `at` on.
    ///
    /// # Errors
    /// Some of it may have been written.
    fn write_all_at(&self, bytes: &[u8], at: u64) -> io::Result<()>;

    /// Cuts the file, or lengthens it with zeros.
    ///
    /// # Errors
    /// It is as long as before.
    fn set_size(&self, size: u64) -> io::Result<()>;

    /// Makes the bytes durable.
    ///
    /// # Errors
    /// Nobody knows which are.
    fn sync(&self) -> io::Result<()>;
}

/// The operating system's.
#[derive(Clone, Copy, Debug, Default)]
pub struct FileSystem;

impl Storage for FileSystem {
    fn make_dir(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir_all(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        // A name that is no text is none of ours.
        let name = |entry: io::Result<fs::DirEntry>| match entry {
            Ok(entry) => entry.file_name().into_string().ok().map(Ok),
            Err(error) => Some(Err(error)),
        };
        fs::read_dir(dir)?.filter_map(name).collect()
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn StoredFile>> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        Ok(Arc::new(file))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn StoredFile>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true);
        Ok(Arc::new(options.open(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }
}

impl StoredFile for File {
    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_exact_at(&self, out: &mut [u8], at: u64) -> io::Result<()> {
        FileExt::read_exact_at(self, out, at)
    }

    fn write_all_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        FileExt::write_all_at(self, bytes, at)
    }

    fn set_size(&self, size: u64) -> io::Result<()> {
        self.set_len(size)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_all()
    }
}

/// Reads a file that must be just `N` bytes long.
pub(crate) fn read_small<const N: usize>(
    storage: &dyn Storage,
    path: &Path,
) -> io::Result<[u8; N]> {
    let file = storage.open(path)?;
    if file.size()? != N as u64 {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut bytes = [0; N];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

/// Replaces a small file whole, also across a power failure.
pub(crate) fn replace(storage: &dyn Storage, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let fresh = path.with_extension("new");
    let file = storage.create(&fresh)?;
    file.write_all_at(bytes, 0)?;
    file.sync()?;
    storage.rename(&fresh, path)?;
    path.parent().map_or(Ok(()), |dir| storage.sync_dir(dir))
}
