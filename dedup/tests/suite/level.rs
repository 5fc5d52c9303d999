//! The adaptive level follows the link, up and down.

use strait_dedup::{BATCH_BYTES_MAX, BatchId, EncodeOptions};

use crate::link::memory_store;

/// Records that occur nowhere else.
fn fresh(seed: u64) -> Vec<u8> {
    let numbers = (seed << 32..).map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let mut records: Vec<u8> = numbers
        .take(BATCH_BYTES_MAX / 32)
        .flat_map(|n| format!("user {} did {n:016x}\n", n % 1000).into_bytes())
        .collect();
    records.truncate(BATCH_BYTES_MAX);
    records
}

#[test]
fn the_level_follows_the_drain_rate_in_both_directions() {
    let (mut encoder, _) = memory_store(64 << 20).link("receiver");
    let mut seq = 0;
    let mut level_at = |megabytes_per_s: f64| {
        encoder.handle_drain(Some(megabytes_per_s * 1e6));
        let options = EncodeOptions {
            id: BatchId { stream: 0, seq },
            lane: 2,
            literal: false,
            hurried: false,
        };
        seq += 1;
        encoder.encode(options, &fresh(seq)).stats.level
    };
    let slower = [1000.0, 12.5, 5.0, 1.0].map(&mut level_at);
    assert!(slower.is_sorted_by(|a, b| a < b), "{slower:?} as it slows");
    let faster = [5.0, 12.5, 1000.0].map(&mut level_at);
    assert!(
        faster.is_sorted_by(|a, b| a > b),
        "{faster:?} as it quickens"
    );
    assert_eq!((slower[0], slower[1]), (faster[2], faster[1]));
}
