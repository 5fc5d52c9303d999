//! Blocks that were read from the disk for somebody who then reads on under the lock: what a
//! transaction reads is there before it begins.

use std::sync::Arc;

use super::super::EntryId;
use super::super::state::{LogId, State};
use super::{Absent, IdRange, Loaded};

/// Blocks that one reader may have in memory, of some 900 KiB each.
const BLOCKS_MAX: usize = 64;

/// What has been read. Entries never change, so it stays true, however long ago that was.
#[derive(Debug, Default)]
pub(crate) struct ReadAhead {
    /// By log and first entry; none: it cannot be read.
    blocks: Vec<(LogId, EntryId, Option<Arc<Loaded>>)>,
    thawed: usize,
}

impl ReadAhead {
    /// Whether a block is still to be read, and may be.
    pub(crate) fn wants(&self, log: LogId, absent: &Absent) -> bool {
        self.blocks.len() < BLOCKS_MAX && self.find(log, absent).is_none()
    }

    /// Takes what has been read of a block.
    pub(in crate::grid) fn push(&mut self, log: LogId, absent: &Absent, read: Option<Arc<Loaded>>) {
        self.blocks.push((log, absent.first, read));
    }

    /// Whether one more block may be thawed.
    pub(crate) fn may_thaw(&mut self) -> bool {
        self.thawed += 1;
        self.thawed <= BLOCKS_MAX
    }

    fn find(&self, log: LogId, absent: &Absent) -> Option<&Option<Arc<Loaded>>> {
        let mut blocks = self.blocks.iter();
        let found = blocks.find(|(of, first, _)| (*of, *first) == (log, absent.first));
        found.map(|(_, _, read)| read)
    }
}

impl State {
    /// Hands `found` the entries that clients see, from memory and from what was read ahead, until
    /// it returns false. The error is the block that is lacking.
    pub(crate) fn read_log(
        &self,
        id: LogId,
        range: IdRange,
        ahead: &ReadAhead,
        mut found: impl FnMut(EntryId, &[u8]) -> bool,
    ) -> Result<(), Absent> {
        let log = self.log(id);
        for entry in log.read(range) {
            let goes_on = match entry {
                Ok((id, payload)) => found(id, payload),
                Err(absent) => match ahead.find(id, &absent).and_then(Option::as_ref) {
                    Some(loaded) => loaded.hand_out(range, log.position().trimmed_to, &mut found),
                    None => return Err(absent),
                },
            };
            if !goes_on {
                break;
            }
        }
        Ok(())
    }
}
