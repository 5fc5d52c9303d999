//! Reading logs whose entries are partly on disk. All of this may wait for the disk, and unpacks:
//! not for tokio's threads.

use std::sync::Arc;

use super::super::state::LogId;
use super::super::{EntryId, Grid, LogName, LogPosition};
use super::block::Loaded;
use super::{Absent, ColdError, ReadAhead};

/// Entries handed out under the lock at a time.
const SLICE: usize = 1024;
/// Which entries of a log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IdRange {
    pub(crate) start: EntryId,
    pub(crate) end: EntryId,
    pub(crate) newest_first: bool,
}

impl IdRange {
    /// All that clients see.
    pub(crate) const ALL: Self = Self {
        start: EntryId::MIN,
        end: EntryId::MAX,
        newest_first: false,
    };

    /// The same entries, newest first.
    pub(crate) fn back(self) -> Self {
        Self {
            newest_first: true,
            ..self
        }
    }

    /// From `start` on.
    pub(crate) fn from(start: EntryId) -> Self {
        Self { start, ..Self::ALL }
    }

    /// What is left when everything up to `id` was handed out; none at the end.
    fn beyond(self, id: EntryId) -> Option<Self> {
        let mut left = self;
        if self.newest_first {
            left.end = id.previous()?;
        } else {
            left.start = id.next()?;
        }
        (left.start <= left.end).then_some(left)
    }
}

/// Where reading stands after a slice.
enum Slice {
    Over,
    More(IdRange),
    Absent(IdRange, Absent, LogPosition),
}

impl Grid {
    /// Hands `found` the entries that clients see, until it returns false.
    pub(crate) fn read_log(
        &self,
        id: LogId,
        range: IdRange,
        mut found: impl FnMut(EntryId, &[u8]) -> bool,
    ) -> Result<(), ColdError> {
        let mut left = Some(range);
        while let Some(range) = left {
            left = match self.read_slice(id, range, &mut found) {
                Slice::Over => None,
                Slice::More(range) => Some(range),
                Slice::Absent(range, absent, position) => {
                    let loaded = self.load(id, &absent)?;
                    if !loaded.hand_out(range, position.trimmed_to, &mut found) {
                        return Ok(());
                    }
                    range.beyond(if range.newest_first {
                        absent.first
                    } else {
                        absent.last
                    })
                }
            };
        }
        Ok(())
    }

    fn read_slice(
        &self,
        id: LogId,
        range: IdRange,
        found: &mut impl FnMut(EntryId, &[u8]) -> bool,
    ) -> Slice {
        let state = self.lock();
        let log = state.log(id);
        let mut left = range;
        for (taken, entry) in log.read(range).enumerate() {
            if taken == SLICE {
                return Slice::More(left);
            }
            let (id, payload) = match entry {
                Ok(entry) => entry,
                Err(absent) => return Slice::Absent(left, absent, log.position()),
            };
            if !found(id, payload) {
                return Slice::Over;
            }
            match range.beyond(id) {
                Some(range) => left = range,
                None => return Slice::Over,
            }
        }
        Slice::Over
    }

    /// Reads a block of a log. One that is damaged is named, and lost from then on.
    pub(in crate::grid) fn load(
        &self,
        id: LogId,
        absent: &Absent,
    ) -> Result<Arc<Loaded>, ColdError> {
        let loaded = self.cold_cache.load(absent);
        if let Err(error @ ColdError::Damaged { .. }) = &loaded {
            self.lose(id, absent, error);
        }
        loaded
    }

    pub(super) fn lose(&self, id: LogId, absent: &Absent, error: &ColdError) {
        let mut state = self.lock();
        if !state.rehouse_log(id, |log| log.lose(absent.first)) {
            return;
        }
        state.tally.lost_blocks += 1;
        tracing::error!(
            log = %state.log(id).name,
            first = %absent.first,
            last = %absent.last,
            %error,
            "entries of a log are lost: they are damaged on disk"
        );
        drop(state);
        self.holes_found.send_modify(|found| *found += 1);
    }

    /// Takes a block into memory because a command has to look into it. One that is lost is not
    /// looked into.
    pub(crate) fn thaw(&self, id: LogId, absent: &Absent) -> Result<(), ColdError> {
        let loaded = match self.load(id, absent) {
            Err(
                ColdError::Damaged { .. } | ColdError::Lost { .. } | ColdError::Doubtful { .. },
            ) => return Ok(()),
            loaded => loaded?,
        };
        let entries = loaded.entries();
        let mut state = self.lock();
        state.rehouse_log(id, |log| log.thaw(absent.first, &entries));
        Ok(())
    }

    /// Reads a block for somebody who will read on under the lock. One that cannot be read is noted.
    pub(crate) fn read_ahead(&self, id: LogId, absent: &Absent, ahead: &mut ReadAhead) {
        ahead.push(id, absent, self.load(id, absent).ok());
    }

    /// What [`Grid::read_log`] wants.
    pub(crate) fn log_id(&self, log: &LogName) -> Option<LogId> {
        self.lock().log_ids.get(log).copied()
    }
}
