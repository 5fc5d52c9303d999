//! What a site holds of everyone's data: what it tells a peer so that the peer can go on from there.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{Epoch, LogName, LogPosition, Origin};

/// How far a site holds everything of each origin and each log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Positions {
    /// Every component of the origin up to this version is held.
    pub watermarks: BTreeMap<Origin, Epoch>,
    /// How much of each log is held.
    pub logs: BTreeMap<LogName, LogPosition>,
}

/// A piece of positions that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("positions are malformed")]
pub struct PositionsError;

impl Positions {
    /// Encodes them in pieces of at most [`RECORD_BYTES_MAX`](super::RECORD_BYTES_MAX) bytes;
    /// at least one.
    pub fn encode(&self) -> Vec<Bytes> {
        vec![Bytes::new()]
    }

    /// Adds what one piece from a peer says.
    pub fn extend_from(&mut self, _piece: &[u8]) -> Result<(), PositionsError> {
        Ok(())
    }

    /// The version up to which everything of `origin` is held.
    pub fn watermark(&self, origin: &Origin) -> Epoch {
        self.watermarks.get(origin).copied().unwrap_or_default()
    }

    /// How much of `log` is held.
    pub fn log(&self, log: &LogName) -> LogPosition {
        self.logs.get(log).copied().unwrap_or_default()
    }
}
