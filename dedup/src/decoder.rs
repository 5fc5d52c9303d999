//! The receiving half of a link: the wire form in, the batch out.

use bytes::Bytes;

use crate::BATCH_BYTES_MAX;

/// What became of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decoding {
    /// The stream's bytes, proved by their digest.
    Ready(Bytes),
    /// It refers to a batch still in flight: decode it again after another one.
    Waiting,
    /// It refers to what we no longer hold: ask for it as literals.
    Missing,
}

/// Why a batch was refused: always the peer's fault, or the wire's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// It ends early, or holds a value out of range.
    #[error("malformed batch: {0}")]
    Malformed(&'static str),
    /// Its compressed part does not decompress to what it declares.
    #[error("damaged batch: its compressed part does not decompress")]
    Compressed,
}

/// The receiving half of a link. Runs on its own thread.
#[derive(Debug)]
pub struct Decoder {}

impl Decoder {
    pub(crate) fn new() -> Self {
        Self {}
    }

    /// What we hold, for the peer's encoder: to be called at each new connection, after every
    /// batch of the old one was decoded or dropped. At most 1 KiB.
    pub fn hello(&mut self) -> Vec<u8> {
        Vec::new()
    }

    /// Decodes one batch.
    pub fn decode(&mut self, wire: &[u8]) -> Result<Decoding, DecodeError> {
        let raw =
            zstd::bulk::decompress(wire, BATCH_BYTES_MAX).map_err(|_| DecodeError::Compressed)?;
        Ok(Decoding::Ready(raw.into()))
    }
}
