//! Bytes to batches and back: chunking, history, similarity, compression.
//!
//! Synchronous and silent: no tokio, no network, no clock.

/// Most bytes of a stream in one batch.
pub const BATCH_BYTES_MAX: usize = 1 << 20;
