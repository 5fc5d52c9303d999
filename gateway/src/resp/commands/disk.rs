//! Reading what is on disk, away from the lock and from tokio's threads.

use std::fmt;

use super::super::reply::Replies;
use super::{CommandError, Later, Next, Outcome};
use crate::grid::Grid;

type Read = dyn FnOnce(&Grid, &mut Replies) -> Result<(), CommandError> + Send;

/// The rest of a command that waits for the disk. It changes nothing.
pub(in crate::resp) struct DiskRead(Box<Read>);

impl fmt::Debug for DiskRead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DiskRead")
    }
}

impl DiskRead {
    pub(super) fn new(
        read: impl FnOnce(&Grid, &mut Replies) -> Result<(), CommandError> + Send + 'static,
    ) -> Self {
        Self(Box::new(read))
    }

    /// What a command gives that goes on like this.
    pub(super) fn later(
        read: impl FnOnce(&Grid, &mut Replies) -> Result<(), CommandError> + Send + 'static,
    ) -> Outcome {
        Ok(Next::Later(Later::OnDisk(Self::new(read))))
    }

    /// Writes the reply. Waits for the disk: not for tokio's threads.
    pub(in crate::resp) fn run(self, grid: &Grid, replies: &mut Replies) {
        let before = replies.bytes.len();
        if let Err(error) = (self.0)(grid, replies) {
            replies.bytes.truncate(before);
            replies.error(&error.to_string());
        }
        replies.end(before);
    }
}
