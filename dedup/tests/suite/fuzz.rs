//! What peers send, mutated: never a panic, never much memory, never bytes that were not sent.

use std::fs;
use std::path::Path;

use strait_dedup::{BatchId, Decoder, Decoding, EncodeOptions, Encoder};
use strait_fuzz::Target;

use crate::golden;
use crate::link::memory_store;

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden");
const BATCHES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus/batch");
const HELLOS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus/hello");

/// The batches that encoders of their own wrote into the corpus.
fn fresh() -> [Vec<u8>; 4] {
    let mut noise = vec![0; 3000];
    blake3::Hasher::new().finalize_xof().fill(&mut noise);
    let text = b"some text, said again and again; ".repeat(100);
    [Vec::new(), b"x".to_vec(), noise, text]
}

fn fresh_name(n: usize) -> String {
    format!("{BATCHES}/fresh-{n}.bin")
}

fn encode(encoder: &mut Encoder, seq: u64, raw: &[u8]) -> Vec<u8> {
    let options = EncodeOptions {
        id: BatchId { stream: 0, seq },
        lane: 2,
        literal: false,
        hurried: false,
    };
    encoder.encode(options, raw).bytes.to_vec()
}

/// A decoder that holds the first golden batch, to which the others refer.
fn decoder() -> Decoder {
    let (_, mut decoder) = memory_store(16 << 20).link("golden");
    let first = fs::read(golden::path(0)).expect("a golden file");
    decoder.decode(&first).expect("decodes");
    decoder
}

#[test]
fn batches() {
    let sent: Vec<Vec<u8>> = golden::batches().into_iter().chain(fresh()).collect();
    let mut held = decoder();
    let mut delivered = 0;
    let target = Target {
        name: "dedup-batch",
        corpora: &[Path::new(GOLDEN), Path::new(BATCHES)],
        memory_bytes_max: 8 << 20,
        per_mille: 1000,
    };
    target.run(|input| {
        if let Ok(Decoding::Ready(bytes)) = held.decode(input) {
            // Some bits of a compressed frame mean nothing: other input, the same bytes.
            assert!(
                sent.iter().any(|raw| bytes == raw),
                "bytes that nobody sent"
            );
            delivered += 1;
            held = decoder();
        }
    });
    // The last golden batch needs the one before.
    assert!(delivered >= sent.len() - 1, "only {delivered} delivered");
}

#[test]
fn hellos() {
    let target = Target {
        name: "dedup-hello",
        corpora: &[Path::new(HELLOS)],
        memory_bytes_max: 1 << 20,
        per_mille: 1000,
    };
    let (mut encoder, _) = memory_store(16 << 20).link("receiver");
    let mut seq = 0;
    target.run(|input| {
        if encoder.handle_hello(input).is_ok() {
            seq += 1;
            encode(
                &mut encoder,
                seq,
                b"goes on encoding, whatever the peer says",
            );
        }
    });
    assert!(seq > 0, "no hello was understood");
}

#[test]
#[ignore = "writes the corpus anew: only for a new version of the formats"]
fn write_corpus() {
    for dir in [BATCHES, HELLOS] {
        fs::create_dir_all(dir).expect("made");
    }
    for (n, raw) in fresh().into_iter().enumerate() {
        let (mut encoder, _) = memory_store(16 << 20).link("receiver");
        fs::write(fresh_name(n), encode(&mut encoder, 0, &raw)).expect("written");
    }
    let (_, mut decoder) = memory_store(16 << 20).link("sender");
    for n in 0..3 {
        let hello = decoder.hello();
        fs::write(format!("{HELLOS}/{n}.bin"), &hello).expect("written");
        let (mut encoder, _) = memory_store(16 << 20).link("receiver");
        encoder.handle_hello(&hello).expect("our own hello");
        let batch = encode(&mut encoder, 0, &vec![n; 10_000]);
        decoder.decode(&batch).expect("our own batch");
    }
}
