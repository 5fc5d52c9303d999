//! decode(encode(x)) = x, whatever the split into batches, the order of arrival, broken
//! connections and eviction.

use crate::link::{self, Wire};
use crate::noise::noise;
use proptest::prelude::*;
use strait_dedup::BatchId;

/// Bytes with long repeats, short repeats and noise, all from one seed.
pub(crate) fn material(seed: u64, len: usize) -> Vec<u8> {
    let mut out: Vec<u8> = Vec::with_capacity(len);
    let mut noise = blake3::Hasher::new()
        .update(&seed.to_le_bytes())
        .finalize_xof();
    while out.len() < len {
        let mut dice = [0; 8];
        noise.fill(&mut dice);
        let amount = usize::from(u16::from_le_bytes([dice[1], dice[2]]));
        let back = usize::from(dice[3]) * 1000 + usize::from(dice[4]);
        match dice[0] % 4 {
            0 => {
                let mut fresh = vec![0; amount];
                noise.fill(&mut fresh);
                out.extend(fresh);
            }
            1 => out.extend(
                format!("{amount} rows at {back}\n")
                    .repeat(usize::from(dice[5]))
                    .bytes(),
            ),
            _ => {
                let from = out.len().saturating_sub(back);
                let again = out[from..(from + amount).min(out.len())].to_vec();
                out.extend(again);
            }
        }
    }
    out.truncate(len);
    out
}

#[derive(Clone, Debug)]
enum Step {
    Send { stream: u64, lane: u8, len: usize },
    Arrive(usize),
    Reconnect,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0u64..4, prop_oneof![1usize..300, 1usize..20_000, 1usize..400_000])
            .prop_map(|(stream, len)| Step::Send { stream, lane: stream as u8 % 3, len }),
        6 => (0usize..100).prop_map(Step::Arrive),
        1 => Just(Step::Reconnect),
    ]
}

fn play(steps: &[Step], seed: u64, memory_bytes_max: u64) -> Wire {
    let mut wire = Wire::new(memory_bytes_max);
    let source = material(seed, 2 << 20);
    let (mut at, mut seqs) = ([0usize; 4], [0u64; 4]);
    for step in steps {
        match *step {
            Step::Send { stream, lane, len } => {
                let index = stream as usize;
                let from = at[index] % source.len();
                let raw = &source[from..(from + len).min(source.len())];
                at[index] += raw.len();
                wire.send(
                    BatchId {
                        stream,
                        seq: seqs[index],
                    },
                    lane,
                    raw,
                );
                seqs[index] += 1;
            }
            Step::Arrive(n) if wire.in_flight() > 0 => {
                wire.arrive(n % wire.in_flight());
            }
            Step::Arrive(_) => {}
            Step::Reconnect => wire.reconnect(),
        }
    }
    wire
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_split_order_and_break(steps in prop::collection::vec(step(), 1..60), seed: u64) {
        let mut wire = play(&steps, seed, 64 << 20);
        wire.drain();
        prop_assert_eq!(wire.resent, 0, "nothing is missing while nothing is evicted");
    }

    #[test]
    fn eviction_never_dangles(steps in prop::collection::vec(step(), 1..60), seed: u64) {
        let mut wire = play(&steps, seed, 8 << 20);
        wire.drain();
    }

    #[test]
    fn urgent_lanes_never_wait_for_others(steps in prop::collection::vec(step(), 1..60), seed: u64) {
        let mut wire = play(&steps, seed, 64 << 20);
        for lane in 0..3 {
            let mut n = 0;
            while n < wire.in_flight() {
                if wire.lane_of(n) > lane {
                    n += 1;
                } else {
                    prop_assert!(wire.arrive(n), "lane {} waits for a less urgent one", lane);
                }
            }
        }
        prop_assert_eq!(wire.in_flight(), 0);
    }
}

fn send_all(wire: &mut Wire, stream: u64, data: &[u8], batch: usize) -> usize {
    let before = wire.wire_bytes;
    for (seq, raw) in data.chunks(batch).enumerate() {
        wire.send(
            BatchId {
                stream,
                seq: seq as u64,
            },
            2,
            raw,
        );
        wire.drain();
    }
    wire.wire_bytes - before
}

#[test]
fn a_second_pass_costs_only_frames_whatever_the_split() {
    for batch in [1 << 20, 300_000, 50_000] {
        let mut wire = Wire::new(64 << 20);
        let data = noise(1, 4 << 20);
        send_all(&mut wire, 0, &data, 1 << 20);
        let again = send_all(&mut wire, 1, &data, batch);
        let batches = data.len().div_ceil(batch);
        assert!(
            again < 30_000 + batches * 60,
            "{again} B for {batches} batches of {batch}"
        );
    }
}

#[test]
fn an_edit_costs_the_edit() {
    let mut wire = Wire::new(64 << 20);
    let mut data = noise(2, 4 << 20);
    send_all(&mut wire, 0, &data, 1 << 20);
    data.splice(1_500_000..1_500_010, b"nineteen new bytes".iter().copied());
    let again = send_all(&mut wire, 1, &data, 1 << 20);
    assert!(again < 16_000, "{again} B");
}

#[test]
fn small_records_profit_from_their_stream() {
    let mut wire = Wire::new(64 << 20);
    let record = |n: usize| -> Vec<u8> {
        (0..4).flat_map(|i| format!("{{\"level\":\"info\",\"request\":{},\"path\":\"/api/v1/items/{}\",\"status\":200}}\n", n * 4 + i, (n * 7919 + i * 31) % 1000).into_bytes()).collect()
    };
    for n in 0..50 {
        wire.send(
            BatchId {
                stream: 3,
                seq: n as u64,
            },
            1,
            &record(n),
        );
        wire.drain();
    }
    let before = wire.wire_bytes;
    wire.send(BatchId { stream: 3, seq: 50 }, 1, &record(50));
    let cost = wire.wire_bytes - before;
    let alone = zstd::bulk::compress(&record(50), 3).unwrap().len();
    assert!(
        cost < alone,
        "{cost} B with the stream's past, {alone} B alone"
    );
}

#[test]
fn empty_batches_pass() {
    let mut wire = Wire::new(1 << 20);
    wire.send(BatchId { stream: 0, seq: 0 }, 0, &[]);
    wire.drain();
}

#[test]
fn a_receiver_that_lost_its_history_costs_bytes_only() {
    let mut wire = Wire::new(64 << 20);
    let data = noise(3, 2 << 20);
    send_all(&mut wire, 0, &data, 1 << 20);
    (_, wire.decoder) = link::memory_store(64 << 20).link("sender");
    wire.reconnect();
    let again = send_all(&mut wire, 1, &data, 1 << 20);
    assert!(again > data.len());
    let once_more = send_all(&mut wire, 2, &data, 1 << 20);
    assert!(once_more < 20_000, "{once_more} B");
    (wire.encoder, _) = link::memory_store(64 << 20).link("receiver");
    wire.reconnect();
    assert!(send_all(&mut wire, 3, &data, 1 << 20) > data.len());
}

#[test]
fn a_receiver_that_keeps_less_is_asked_for_nothing_it_dropped() {
    let mut wire = Wire::new(64 << 20);
    (_, wire.decoder) = link::memory_store(8 << 20).link("sender");
    wire.reconnect();
    let data = noise(4, 20 << 20);
    send_all(&mut wire, 0, &data, 1 << 20);
    send_all(&mut wire, 1, &data[16 << 20..], 1 << 20);
    assert_eq!(wire.resent, 0);
}
