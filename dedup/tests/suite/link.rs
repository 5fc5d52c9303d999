//! Two gateways and the wire between them, in memory: batches may arrive in any order the
//! transport allows, connections may break at any time.

use std::collections::VecDeque;

use bytes::Bytes;
use strait_dedup::{
    BatchId, DecodeError, Decoder, Decoding, EncodeOptions, Encoder, Store, StoreConfig,
};

pub(crate) fn memory_store(memory_bytes_max: u64) -> Store {
    Store::open(StoreConfig {
        dir: None,
        memory_bytes_max,
        disk_bytes_max: 0,
        links: 1,
    })
}

/// One direction of a link.
pub(crate) struct Wire {
    pub(crate) encoder: Encoder,
    pub(crate) decoder: Decoder,
    /// Encoded, not yet decoded, in sending order.
    flying: VecDeque<(EncodeOptions, Vec<u8>, Bytes)>,
    pub(crate) wire_bytes: usize,
    pub(crate) resent: usize,
}

impl Wire {
    pub(crate) fn new(memory_bytes_max: u64) -> Self {
        let (encoder, _) = memory_store(memory_bytes_max).link("receiver");
        let (_, decoder) = memory_store(memory_bytes_max).link("sender");
        Self::between(encoder, decoder)
    }

    pub(crate) fn between(encoder: Encoder, decoder: Decoder) -> Self {
        let flying = VecDeque::new();
        let mut wire = Self {
            encoder,
            decoder,
            flying,
            wire_bytes: 0,
            resent: 0,
        };
        wire.reconnect();
        wire
    }

    pub(crate) fn send(&mut self, id: BatchId, lane: u8, raw: &[u8]) {
        let options = EncodeOptions {
            id,
            lane,
            literal: false,
            hurried: false,
        };
        let encoded = self.encoder.encode(options, raw);
        self.wire_bytes += encoded.bytes.len();
        self.flying
            .push_back((options, raw.to_vec(), encoded.bytes));
    }

    /// Everything in flight is lost and sent again.
    pub(crate) fn reconnect(&mut self) {
        let hello = self.decoder.hello();
        self.encoder.handle_hello(&hello).expect("our own hello");
        for (options, raw, wire) in &mut self.flying {
            *wire = self.encoder.encode(*options, raw).bytes;
        }
    }

    /// The `n`th batch in flight arrives. True if it was delivered, false if it must wait.
    pub(crate) fn arrive(&mut self, n: usize) -> bool {
        let (options, raw, wire) = self.flying.remove(n).expect("in flight");
        match self.decoder.decode(&wire).expect("our own batch") {
            Decoding::Ready(bytes) => {
                assert!(bytes == raw, "batch {:?} came out different", options.id);
                self.encoder.handle_acked(options.id);
                true
            }
            Decoding::Waiting => {
                self.flying.insert(n, (options, raw, wire));
                false
            }
            Decoding::Missing => {
                self.resent += 1;
                let literal = EncodeOptions {
                    literal: true,
                    ..options
                };
                let wire = self.encoder.encode(literal, &raw).bytes;
                self.wire_bytes += wire.len();
                self.flying.insert(n, (options, raw, wire));
                false
            }
        }
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.flying.len()
    }

    pub(crate) fn lane_of(&self, n: usize) -> u8 {
        self.flying[n].0.lane
    }

    /// Delivers what is in flight, in order: the first is never waiting for anything.
    pub(crate) fn drain(&mut self) {
        while self.in_flight() > 0 {
            assert!(
                self.arrive(0) || self.arrive(0),
                "the first in flight waits for nothing"
            );
        }
    }

    pub(crate) fn decode(&mut self, wire: &[u8]) -> Result<Decoding, DecodeError> {
        self.decoder.decode(wire)
    }
}
