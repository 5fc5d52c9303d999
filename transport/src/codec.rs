//! The seam to whoever turns batches into bytes for the wire and back.

use bytes::Bytes;

use crate::class::Class;
use crate::ids::{Seq, StreamId};

/// A batch about to be sent.
#[derive(Clone, Copy, Debug)]
pub struct BatchRef<'a> {
    /// Its stream.
    pub stream: StreamId,
    /// Its place in the stream.
    pub seq: Seq,
    /// How urgent it is.
    pub class: Class,
    /// The peer lacks what the batch referred to: refer to nothing this time.
    pub literal: bool,
    /// Others wait to be encoded.
    pub hurried: bool,
    /// Its bytes.
    pub raw: &'a Bytes,
}

/// A batch as it goes over the wire.
#[derive(Clone, Debug)]
pub struct EncodedBatch {
    /// At most [`ENCODED_SLACK_BYTES`](crate::frame::ENCODED_SLACK_BYTES) more than the raw bytes.
    pub bytes: Bytes,
    /// Raw bytes that were left after references.
    pub literal_bytes: u64,
    /// Compression level that was used; 0 where literals went as they are.
    pub level: i32,
}

/// Turns batches into bytes for the wire. Runs on its link's own encoder thread, so it
/// may take its time; every batch is encoded at the moment it is sent.
pub trait Encode: Send {
    /// Encodes one batch. After a broken connection the same batch comes again.
    fn encode(&mut self, batch: BatchRef<'_>) -> EncodedBatch;
    /// The peer holds this batch's literals.
    fn handle_acked(&mut self, stream: StreamId, seq: Seq);
    /// The peer's decoder says what it holds: once for each connection, before anything
    /// is encoded for it. All batches in flight are forgotten. An error ends the
    /// connection.
    fn handle_hello(&mut self, hello: &[u8]) -> Result<(), String>;
    /// How fast the link drains; `None` while that is not known, and while it could carry more
    /// than it gets.
    fn handle_drain(&mut self, _bytes_per_s: Option<f64>) {}
}

/// What a decoder makes of a batch.
#[derive(Clone, Debug)]
pub enum Decoding {
    /// The raw bytes.
    Ready(Bytes),
    /// It refers to a batch still in flight: try again after another batch was decoded.
    Waiting,
    /// It refers to what is no longer held: the peer is asked to send it as literals.
    Missing,
    /// The peer sent nonsense: the connection is dropped.
    Corrupt(String),
}

/// Turns bytes from the wire back into batches. Runs on its link's own decoder thread.
pub trait Decode: Send {
    /// What we hold, for the peer's [`Encode::handle_hello`]; at most 4 KiB. Called for each
    /// new connection, after every batch of the old one was decoded or dropped.
    fn hello(&mut self) -> Bytes;
    /// Decodes one batch.
    fn decode(&mut self, wire: Bytes) -> Decoding;
}

/// Batches as they are: neither compresses nor remembers. For links whose payloads are small, and
/// to look at links without what a codec does.
#[derive(Clone, Copy, Debug, Default)]
pub struct PassThrough;

impl Encode for PassThrough {
    fn encode(&mut self, batch: BatchRef<'_>) -> EncodedBatch {
        EncodedBatch {
            bytes: batch.raw.clone(),
            literal_bytes: batch.raw.len() as u64,
            level: 0,
        }
    }

    fn handle_acked(&mut self, _stream: StreamId, _seq: Seq) {}

    fn handle_hello(&mut self, _hello: &[u8]) -> Result<(), String> {
        Ok(())
    }
}

impl Decode for PassThrough {
    fn hello(&mut self) -> Bytes {
        Bytes::new()
    }

    fn decode(&mut self, wire: Bytes) -> Decoding {
        Decoding::Ready(wire)
    }
}
