//! What a peer or the wire may do to a batch: each a typed outcome, never a panic, never other
//! bytes than were sent.

use crate::link::Wire;
use proptest::prelude::*;
use strait_dedup::{BatchId, Decoding, EncodeOptions};

fn text(len: usize) -> Vec<u8> {
    (0..)
        .flat_map(|n: u64| format!("row {n}: {}\n", n * n % 9973).into_bytes())
        .take(len)
        .collect()
}

/// A link with some history, and a batch that has references, bases and literals.
fn prepared() -> (Wire, Vec<u8>, Vec<u8>) {
    let mut wire = Wire::new(64 << 20);
    let mut data = text(300_000);
    wire.send(BatchId { stream: 0, seq: 0 }, 2, &data);
    wire.drain();
    data.splice(150_000..150_003, b"edited".iter().copied());
    let options = EncodeOptions {
        id: BatchId { stream: 1, seq: 0 },
        lane: 2,
        literal: false,
        hurried: false,
    };
    let encoded = wire.encoder.encode(options, &data).bytes.to_vec();
    (wire, data, encoded)
}

#[test]
fn every_flipped_bit_is_found() {
    let (mut wire, data, encoded) = prepared();
    for at in 0..encoded.len() {
        for bit in 0..8 {
            let mut damaged = encoded.clone();
            damaged[at] ^= 1 << bit;
            if let Ok(Decoding::Ready(bytes)) = wire.decode(&damaged) {
                assert!(
                    bytes == data && bytes.is_empty(),
                    "byte {at} bit {bit} went unseen"
                );
            }
        }
    }
    assert_eq!(wire.decode(&encoded), Ok(Decoding::Ready(data.into())));
}

#[test]
fn every_cut_is_found() {
    let (mut wire, data, encoded) = prepared();
    for len in 0..encoded.len() {
        assert!(
            !matches!(wire.decode(&encoded[..len]), Ok(Decoding::Ready(_))),
            "cut to {len}"
        );
    }
    assert_eq!(wire.decode(&encoded), Ok(Decoding::Ready(data.into())));
}

#[test]
fn a_stale_batch_is_refused() {
    let (mut wire, _, encoded) = prepared();
    wire.reconnect();
    assert!(wire.decode(&encoded).is_err());
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let mut wire = Wire::new(1 << 20);
        let _outcome = wire.decode(&bytes);
        let _hello = wire.encoder.handle_hello(&bytes);
    }

    #[test]
    fn garbled_batches_never_pass(edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        let (mut wire, data, encoded) = prepared();
        let mut damaged = encoded.clone();
        for (at, byte) in edits {
            *at.get_mut(&mut damaged) = byte;
        }
        if let Ok(Decoding::Ready(bytes)) = wire.decode(&damaged) {
            prop_assert!(damaged == encoded && bytes == data);
        }
    }
}
