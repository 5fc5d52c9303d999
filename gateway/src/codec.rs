//! Joins dedup to transport: transport asks for batches to be turned into bytes
//! for the wire and back, dedup does it; neither knows the other.

use bytes::Bytes;
use strait_dedup as dedup;
use strait_dedup::HistoryEvent;
use strait_transport::{BatchRef, Class, Decode, Decoding, Encode, EncodedBatch, Seq, StreamId};
use tracing::{info, warn};

/// The sending half of a link's codec.
#[derive(Debug)]
pub struct LinkEncoder(pub dedup::Encoder);

/// The receiving half of a link's codec.
#[derive(Debug)]
pub struct LinkDecoder(pub dedup::Decoder);

fn id(stream: StreamId, seq: Seq) -> dedup::BatchId {
    dedup::BatchId {
        stream: stream.0,
        seq: seq.0,
    }
}

fn lane(class: Class) -> u8 {
    class.index() as u8
}

/// What befalls a history is handled there; here it is said.
fn log(event: Option<HistoryEvent>) {
    match event {
        Some(event @ HistoryEvent::Writable { .. }) => info!("history: {event}"),
        Some(event) => warn!("history: {event}"),
        None => {}
    }
}

impl Encode for LinkEncoder {
    fn encode(&mut self, batch: BatchRef<'_>) -> EncodedBatch {
        let options = dedup::EncodeOptions {
            id: id(batch.stream, batch.seq),
            lane: lane(batch.class),
            literal: batch.literal,
            hurried: batch.hurried,
        };
        let encoded = self.0.encode(options, batch.raw);
        log(self.0.poll_event());
        EncodedBatch {
            bytes: encoded.bytes,
            literal_bytes: encoded.stats.literal_bytes,
            level: encoded.stats.level,
        }
    }

    fn handle_acked(&mut self, stream: StreamId, seq: Seq) {
        self.0.handle_acked(id(stream, seq));
    }

    fn handle_hello(&mut self, hello: &[u8]) -> Result<(), String> {
        self.0
            .handle_hello(hello)
            .map_err(|error| error.to_string())
    }

    fn handle_drain(&mut self, bytes_per_s: Option<f64>) {
        self.0.handle_drain(bytes_per_s);
    }
}

impl Decode for LinkDecoder {
    fn hello(&mut self) -> Bytes {
        self.0.hello().into()
    }

    fn decode(&mut self, wire: Bytes) -> Decoding {
        let decoding = self.0.decode(&wire);
        log(self.0.poll_event());
        match decoding {
            Ok(dedup::Decoding::Ready(raw)) => Decoding::Ready(raw),
            Ok(dedup::Decoding::Waiting) => Decoding::Waiting,
            Ok(dedup::Decoding::Missing) => Decoding::Missing,
            Err(error) => Decoding::Corrupt(error.to_string()),
        }
    }
}
