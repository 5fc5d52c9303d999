//! Bytes to batches and back: chunking, history, similarity, compression.
//!
//! The sender's [`Encoder`] turns a batch of a stream into references to what the peer already
//! holds, plus the rest compressed against what is most like it. The peer's [`Decoder`] turns it
//! back and proves it by a BLAKE3 digest. Both append the new chunks to the same history, so that
//! the next batch finds more.
//!
//! Synchronous and silent: no tokio, no network, no clock. What a batch means is the gateway's
//! business, how it gets across is the transport's.

mod budget;
mod chunker;
mod decoder;
mod encoder;
mod history;
mod link;
#[cfg(test)]
#[path = "../tests/suite/noise.rs"]
mod noise;
pub mod range;
mod similarity;
mod storage;
mod wire;

pub use chunker::chunk_lengths;
pub use decoder::{DecodeError, Decoder, Decoding};
pub use encoder::{EncodeOptions, EncodeStats, Encoded, Encoder, HelloError, Level, is_noise};
pub use history::HistoryEvent;
pub use link::{Recovery, Store, StoreConfig, StoreFigures};
pub use storage::{FileSystem, Storage, StoredFile};

/// Most bytes of a stream in one batch.
pub const BATCH_BYTES_MAX: usize = 1 << 20;

/// Most memory that the encoder and the decoder of a link take beside the history: the batch at hand
/// with its bases either way, and what the compressor knows at the hardest level.
pub const CODEC_BYTES_MAX: u64 = 32 << 20;

/// One batch of one stream, as the transport numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BatchId {
    /// The stream, unique within a session of the link.
    pub stream: u64,
    /// The batch's place in its stream, from 0.
    pub seq: u64,
}
