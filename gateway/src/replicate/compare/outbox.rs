//! What one side of a comparison sends: a little at a time, so that nothing of its class waits for it.

use std::collections::VecDeque;

use strait_transport::{Class, LinkHandle, OutStream, SendError, Seq};

use super::message::Message;
use crate::streams::StreamOpen;

/// Bytes that are not acknowledged, at most, or one message: what counters may wait for behind it.
const UNACKED_BYTES_MAX: usize = 256 << 10;

/// The stream, and what of it is under way.
pub(super) struct Outbox {
    stream: OutStream,
    unacked: VecDeque<(Seq, usize)>,
    unacked_bytes: usize,
}

impl Outbox {
    /// In the class of counters and logs: who compares waits for an answer, and backups may have no hours
    /// at all.
    pub(super) fn open(link: &LinkHandle, open: &StreamOpen) -> Result<Self, SendError> {
        Ok(Self {
            stream: link.open(Class::Interactive, open.encode())?,
            unacked: VecDeque::new(),
            unacked_bytes: 0,
        })
    }

    pub(super) async fn send(&mut self, message: &Message) -> Result<(), SendError> {
        let batch = message.encode();
        while let Some((oldest, bytes)) = self.unacked.front().copied()
            && self.unacked_bytes + batch.len() > UNACKED_BYTES_MAX
        {
            self.stream.acked(oldest).await?;
            self.unacked.pop_front();
            self.unacked_bytes -= bytes;
        }
        let bytes = batch.len();
        let seq = self.stream.send(batch, false).await?;
        self.unacked.push_back((seq, bytes));
        self.unacked_bytes += bytes;
        Ok(())
    }
}
