//! Reading what is on disk, away from the lock and from tokio's threads.

use std::fmt;

use super::super::reply::Replies;
use super::{CommandError, Later, Next, Outcome};
use crate::grid::{Absent, Grid, LogId};

type Read = dyn FnOnce(&Grid, &mut Replies) -> Result<(), CommandError> + Send;

/// The rest of a command that waits for the disk. It changes nothing.
pub(in crate::resp) struct DiskRead {
    /// The first block that it has to read.
    pub(super) needs: (LogId, Absent),
    read: Box<Read>,
}

impl fmt::Debug for DiskRead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiskRead")
            .field("needs", &self.needs)
            .finish_non_exhaustive()
    }
}

impl DiskRead {
    pub(super) fn new(
        needs: (LogId, Absent),
        read: impl FnOnce(&Grid, &mut Replies) -> Result<(), CommandError> + Send + 'static,
    ) -> Self {
        let read = Box::new(read);
        Self { needs, read }
    }

    /// What a command gives that goes on like this.
    pub(super) fn later(
        needs: (LogId, Absent),
        read: impl FnOnce(&Grid, &mut Replies) -> Result<(), CommandError> + Send + 'static,
    ) -> Outcome {
        Ok(Next::Later(Later::OnDisk(Self::new(needs, read))))
    }

    /// Writes the reply. Waits for the disk: not for tokio's threads.
    pub(in crate::resp) fn run(self, grid: &Grid, replies: &mut Replies) {
        let before = replies.bytes.len();
        if let Err(error) = (self.read)(grid, replies) {
            replies.bytes.truncate(before);
            replies.error(&error.to_string());
        }
        replies.end(before);
    }
}
