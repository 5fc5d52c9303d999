//! The segment files of one history: the few used last are kept open, however many there are.

use std::cell::RefCell;
use std::io;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lru::LruCache;

use super::Position;
use super::segment::SEGMENT_BYTES;
use crate::storage::{Storage, StoredFile};

/// Most files of one history that are open at a time.
const OPEN_MAX: NonZeroUsize = NonZeroUsize::new(16).expect("not zero");
/// Where the segment put aside last is kept, for a person to look at: one, so that the disk's cap
/// holds.
const PUT_ASIDE: &str = "put-aside.bad";

/// A directory of segments, by the position that each begins at.
#[derive(Debug)]
pub(super) struct Files {
    storage: Arc<dyn Storage>,
    dir: PathBuf,
    open: RefCell<LruCache<Position, Arc<dyn StoredFile>>>,
}

impl Files {
    pub(super) fn new(storage: Arc<dyn Storage>, dir: &Path) -> Self {
        Self {
            storage,
            dir: dir.to_path_buf(),
            open: RefCell::new(LruCache::new(OPEN_MAX)),
        }
    }

    pub(super) fn storage(&self) -> &dyn Storage {
        &*self.storage
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    fn path(&self, base: Position) -> PathBuf {
        self.dir.join(format!("{:016x}.seg", base.0))
    }

    /// Where segments begin, in order.
    pub(super) fn bases(&self) -> io::Result<Vec<Position>> {
        let base = |name: String| {
            let base = u64::from_str_radix(name.strip_suffix(".seg")?, 16).ok()?;
            (base % SEGMENT_BYTES == 0).then_some(Position(base))
        };
        let names = self.storage.list(&self.dir)?;
        let mut bases: Vec<_> = names.into_iter().filter_map(base).collect();
        bases.sort_unstable();
        Ok(bases)
    }

    pub(super) fn open(&self, base: Position) -> io::Result<Arc<dyn StoredFile>> {
        let mut open = self.open.borrow_mut();
        if let Some(file) = open.get(&base) {
            return Ok(file.clone());
        }
        let file = self.storage.open(&self.path(base))?;
        open.put(base, file.clone());
        Ok(file)
    }

    pub(super) fn create(&self, base: Position) -> io::Result<Arc<dyn StoredFile>> {
        let file = self.storage.create(&self.path(base))?;
        self.open.borrow_mut().put(base, file.clone());
        Ok(file)
    }

    /// Removes a segment. One that can't be removed is found again, and dealt with, at the next
    /// start.
    pub(super) fn remove(&self, base: Position) {
        self.open.borrow_mut().pop(&base);
        self.storage.remove(&self.path(base)).unwrap_or_default();
    }

    /// Puts a segment aside.
    pub(super) fn put_aside(&self, base: Position) {
        self.open.borrow_mut().pop(&base);
        let renamed = self
            .storage
            .rename(&self.path(base), &self.dir.join(PUT_ASIDE));
        // What can't be moved is passed over.
        renamed.unwrap_or_default();
    }
}
