//! The sending half of a link: a batch in, its wire form out.

use bytes::Bytes;

use crate::BatchId;

/// What the caller says about a batch.
#[derive(Clone, Copy, Debug)]
pub struct EncodeOptions {
    /// Which batch this is; the same again when it is sent again.
    pub id: BatchId,
    /// How urgent, 0 first: a batch never refers to what is in flight in a less urgent lane.
    pub lane: u8,
    /// Refer to nothing: the peer could not resolve what this batch referred to.
    pub literal: bool,
}

/// A batch ready for the wire.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// The wire form.
    pub bytes: Bytes,
    /// What encoding did.
    pub stats: EncodeStats,
}

/// What encoding one batch did, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EncodeStats {
    /// Bytes of the stream.
    pub raw_bytes: u64,
    /// Bytes that were left after references, before compression.
    pub literal_bytes: u64,
    /// Bytes that became references.
    pub reference_bytes: u64,
    /// Bytes of history that literals were compressed against.
    pub base_bytes: u64,
    /// Bytes of the wire form.
    pub wire_bytes: u64,
    /// The zstd level used; 0 when literals went raw.
    pub level: i32,
}

/// How hard to compress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// As hard as the link's drain rate leaves time for.
    Adaptive,
    /// Always this zstd level, 1..=19.
    Fixed(i32),
}

/// Why a peer's hello was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HelloError {
    /// It ends early, or holds a value out of range.
    #[error("the peer's history hello is malformed: {0}")]
    Malformed(&'static str),
    /// It speaks a version of the batch format that we don't.
    #[error("the peer speaks batch format {theirs}, we speak {ours}: upgrade the older gateway")]
    Version {
        /// The peer's version.
        theirs: u8,
        /// Our version.
        ours: u8,
    },
}

/// The sending half of a link. Runs on its own thread.
#[derive(Debug)]
pub struct Encoder {
    level: Level,
}

impl Encoder {
    pub(crate) fn new() -> Self {
        Self {
            level: Level::Adaptive,
        }
    }

    /// Encodes one batch of at most [`BATCH_BYTES_MAX`](crate::BATCH_BYTES_MAX) bytes.
    ///
    /// Never fails: history that can't be read costs bytes on the wire.
    pub fn encode(&mut self, _options: EncodeOptions, raw: &[u8]) -> Encoded {
        let level = match self.level {
            Level::Adaptive => 3,
            Level::Fixed(level) => level,
        };
        let body = zstd::bulk::compress(raw, level).unwrap_or_default();
        let stats = EncodeStats {
            raw_bytes: raw.len() as u64,
            literal_bytes: raw.len() as u64,
            wire_bytes: body.len() as u64,
            level,
            ..EncodeStats::default()
        };
        Encoded {
            bytes: body.into(),
            stats,
        }
    }

    /// The peer holds this batch and what it appended to history.
    pub fn handle_acked(&mut self, _id: BatchId) {}

    /// The peer decoder's hello, at each new connection: rolls back to the tail it confirms. All
    /// that was in flight is forgotten and must be encoded again.
    pub fn handle_hello(&mut self, _hello: &[u8]) -> Result<(), HelloError> {
        Ok(())
    }

    /// The rate at which the link drains, for [`Level::Adaptive`]; `None` when nothing is queued.
    pub fn handle_drain(&mut self, _bytes_per_s: Option<f64>) {}

    /// Sets how hard to compress.
    pub fn set_level(&mut self, level: Level) {
        self.level = level;
    }
}
