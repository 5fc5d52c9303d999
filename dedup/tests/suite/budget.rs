//! What encoding may read besides the batch, and that how a stream is cut into batches costs nothing.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use strait_dedup::{BatchId, Decoding, EncodeOptions, EncodeStats};

use crate::link::Wire;
use crate::noise::noise;

/// Sends a batch, checks what encoding it read, and says what it did.
fn send(wire: &mut Wire, stream: u64, seq: u64, raw: &[u8]) -> EncodeStats {
    let id = BatchId { stream, seq };
    let options = EncodeOptions {
        id,
        lane: 2,
        literal: false,
        hurried: false,
    };
    let encoded = wire.encoder.encode(options, raw);
    let decoded = wire.decode(&encoded.bytes);
    assert_eq!(decoded, Ok(Decoding::Ready(raw.to_vec().into())));
    wire.encoder.handle_acked(id);
    check_bases(&encoded.stats);
    encoded.stats
}

/// Sends `data` in batches of these lengths, over and over.
fn send_cut(wire: &mut Wire, stream: u64, data: &[u8], lens: &[usize]) -> (u64, u64) {
    let (mut rest, mut wire_bytes, mut seq) = (data, 0, 0);
    for len in lens.iter().cycle() {
        let (raw, after) = rest.split_at(rest.len().min(*len));
        wire_bytes += send(wire, stream, seq, raw).wire_bytes;
        seq += 1;
        rest = after;
        if rest.is_empty() {
            break;
        }
    }
    (wire_bytes, seq)
}

/// Bases of a batch: twice its literals and 64 KiB, and never more than 3 MiB (rule H9).
fn check_bases(stats: &EncodeStats) {
    let most = (2 * stats.literal_bytes + (64 << 10)).min(3 << 20);
    assert!(stats.base_bytes <= most, "{stats:?}");
}

/// An edit: where, how much goes, how much comes, as parts of the whole.
type Edit = (prop::sample::Index, usize, usize);

fn edited(data: &[u8], edits: &[Edit]) -> Vec<u8> {
    let mut edited = data.to_vec();
    for (n, (place, gone, new)) in edits.iter().enumerate() {
        let at = place.index(edited.len());
        let end = edited.len().min(at + gone);
        edited.splice(at..end, noise(1000 + n as u64, *new));
    }
    edited
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    prop::collection::vec(
        (any::<prop::sample::Index>(), 0usize..3000, 0usize..3000),
        1..40,
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn bases_stay_in_proportion(edits in edits(), lens in prop::collection::vec(100usize..400_000, 2..5)) {
        let mut wire = Wire::new(64 << 20);
        let old = noise(1, 2 << 20);
        send_cut(&mut wire, 0, &old, &[1 << 20]);
        let new = edited(&old, &edits);
        send_cut(&mut wire, 1, &new, &lens);
    }
}

/// However either version is cut into batches, the second costs what it costs in full batches, and
/// the heads of its batches. Taken together: chunks are cut by a key drawn at random, and now and
/// then one edit between two batches costs a chunk.
#[test]
fn boundaries_cost_no_dedup() {
    let cuts = || prop::collection::vec(20_000usize..1 << 20, 1..5);
    let cases = (edits(), cuts(), cuts());
    let mut runner = TestRunner::default();
    let old = noise(2, 3 << 20);
    let (mut cut, mut most) = (0, 0);
    for _ in 0..24 {
        let case = cases.new_tree(&mut runner).expect("any values do");
        let (edits, old_cut, new_cut) = case.current();
        let new = edited(&old, &edits);
        let cost = |old_cut: &[usize], new_cut: &[usize]| {
            let mut wire = Wire::new(64 << 20);
            send_cut(&mut wire, 0, &old, old_cut);
            send_cut(&mut wire, 1, &new, new_cut)
        };
        let (full, _) = cost(&[1 << 20], &[1 << 20]);
        let (bytes, batches) = cost(&old_cut, &new_cut);
        cut += bytes;
        most += full + full / 20 + batches * 150;
    }
    assert!(cut <= most, "{cut} B, and {most} B at most");
}

#[test]
fn small_batches_profit_from_their_stream_and_read_little() {
    let mut wire = Wire::new(64 << 20);
    let line = |n: u64| {
        let mixed = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        format!(
            "{{\"ts\":\"2026-03-01T10:{:02}:{:02}\",\"request\":\"{mixed:016x}\",\"path\":\"/api/v1/items/{}\",\"status\":200,\"ms\":{}}}\n",
            n / 3000 % 60,
            n / 50 % 60,
            mixed >> 50,
            mixed >> 20 & 0x3ff,
        )
    };
    let batch = |seq: u64| {
        (seq * 50..(seq + 1) * 50)
            .map(line)
            .collect::<String>()
            .into_bytes()
    };
    for seq in 0..30 {
        send(&mut wire, 3, seq, &batch(seq));
    }
    let raw = batch(30);
    let stats = send(&mut wire, 3, 30, &raw);
    assert_eq!(stats.reference_bytes, 0, "no chunk of it was there before");
    let alone = zstd::bulk::compress(&raw, 3).expect("compresses").len() as u64;
    assert!(
        stats.wire_bytes * 10 < alone * 9,
        "{stats:?}, {alone} B alone"
    );
}
