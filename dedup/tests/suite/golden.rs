//! Batches as release 0.1 writes them are read for as long as their version is spoken.

use std::fs;
use std::path::PathBuf;

use strait_dedup::{BatchId, Decoding, EncodeOptions};

use crate::link::memory_store;

pub(crate) fn path(n: usize) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/batch-v2-{n}.bin"))
}

/// Fresh data, then an edit of it, then a piece of either: literals, runs, both kinds of base.
pub(crate) fn batches() -> [Vec<u8>; 3] {
    let rows = |range: std::ops::Range<u64>| -> Vec<u8> {
        range
            .flat_map(|n| format!("row {n}: {}\n", n.wrapping_mul(n) % 99_991).into_bytes())
            .collect()
    };
    let fresh = rows(0..3000);
    let mut edited = fresh.clone();
    edited.splice(20_000..20_040, rows(9000..9004));
    edited.splice(9_000..9_003, *b"an edit");
    let pieces = [
        &edited[8_000..30_000],
        &rows(5000..5100)[..],
        &fresh[100..9_000],
    ]
    .concat();
    [fresh, edited, pieces]
}

#[test]
fn golden_batches_are_read() {
    let (_, mut decoder) = memory_store(16 << 20).link("golden");
    for (n, raw) in batches().into_iter().enumerate() {
        let wire = fs::read(path(n)).expect("a golden file");
        assert_eq!(
            decoder.decode(&wire),
            Ok(Decoding::Ready(raw.into())),
            "batch {n}"
        );
    }
}

#[test]
#[ignore = "writes the golden files anew: only for a new version of the format"]
fn write_golden_batches() {
    let (mut encoder, _) = memory_store(16 << 20).link("golden");
    for (n, raw) in batches().into_iter().enumerate() {
        let id = BatchId {
            stream: 0,
            seq: n as u64,
        };
        let options = EncodeOptions {
            id,
            lane: 2,
            literal: false,
            hurried: false,
        };
        fs::write(path(n), encoder.encode(options, &raw).bytes).expect("written");
    }
}
