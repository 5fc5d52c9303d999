//! Blocks on disk, read and unpacked.

use std::num::NonZeroUsize;
use std::sync::Arc;

use lru::LruCache;
use parking_lot::Mutex;

use super::super::journal::frame::FRAME_HEAD_BYTES;
use super::super::packed::HeardEntries;
use super::block::{Loaded, decode};
use super::{Absent, Cold, ColdError};

/// Blocks that were read last stay unpacked, about 1 MiB each: who reads on finds them.
const LOADED_MAX: NonZeroUsize = NonZeroUsize::new(16).unwrap();
/// Groups that were read last, up to some 6 MiB each: the next block is read without those before.
const GROUPS_MAX: NonZeroUsize = NonZeroUsize::new(4).unwrap();

/// A block's file and where it begins there.
type Place = (u64, u64);

/// What was read last. Whoever uses it may wait for the disk, and unpacks: not for tokio's threads.
#[derive(Debug)]
pub(in crate::grid) struct ReadCache {
    loaded: Mutex<LruCache<Place, Arc<Loaded>>>,
    /// By the place of the first block.
    groups: Mutex<LruCache<Place, Group>>,
}

/// A group that was read in part.
#[derive(Debug)]
struct Group {
    heard: Option<HeardEntries>,
    /// Where its next block begins.
    next: u64,
}

impl Default for ReadCache {
    fn default() -> Self {
        Self {
            loaded: Mutex::new(LruCache::new(LOADED_MAX)),
            groups: Mutex::new(LruCache::new(GROUPS_MAX)),
        }
    }
}

impl ReadCache {
    /// Reads a block, or finds it among those read last.
    pub(in crate::grid) fn load(&self, absent: &Absent) -> Result<Arc<Loaded>, ColdError> {
        let Some(cold) = &absent.cold else {
            let (first, last) = (absent.first, absent.last);
            return Err(match absent.is_doubtful {
                true => ColdError::Doubtful { first, last },
                false => ColdError::Lost { first, last },
            });
        };
        let number = cold.segment.number.0;
        if let Some(known) = self.loaded.lock().get(&(number, cold.offset)) {
            return Ok(known.clone());
        }
        let first = cold.group();
        let begun = self.groups.lock().pop(&first);
        let begun = begun.filter(|group| group.next <= cold.offset);
        let mut group = begun.unwrap_or(Group {
            heard: None,
            next: first.1,
        });
        let loaded = self.read_on(absent, cold, &mut group)?;
        self.groups.lock().put(first, group);
        Ok(loaded)
    }

    /// Reads the blocks of a group from where that was left up to this one.
    fn read_on(
        &self,
        absent: &Absent,
        cold: &Cold,
        group: &mut Group,
    ) -> Result<Arc<Loaded>, ColdError> {
        let segment = &cold.segment;
        let failed = |error| segment.failed(cold.offset, error);
        let file = segment.open().map_err(failed)?;
        loop {
            let offset = group.next;
            let damaged = |what| segment.damaged(offset, what);
            let record = segment.record(&file, offset).map_err(failed)?;
            let record = record.ok_or_else(|| damaged("it fails its check"))?;
            let loaded = decode(&mut group.heard, &record).map_err(|error| damaged(error.0))?;
            let loaded = Arc::new(loaded);
            let place = (segment.number.0, offset);
            self.loaded.lock().put(place, loaded.clone());
            group.next += (FRAME_HEAD_BYTES + record.len()) as u64;
            if offset >= cold.offset {
                let found = (loaded.stretch.first, loaded.stretch.last);
                let is_it = offset == cold.offset && found == (absent.first, absent.last);
                return is_it
                    .then_some(loaded)
                    .ok_or_else(|| damaged("it is another block"));
            }
        }
    }
}
