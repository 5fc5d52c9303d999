//! Both ends of a link on disks that lose, tear and refuse writes: whatever happens and whenever, a
//! start never fails, what comes out is what went in, and the link is as cheap again afterwards.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use strait_dedup::{
    BatchId, Decoder, Decoding, EncodeOptions, Encoder, HistoryEvent, Store, StoreConfig,
};

use crate::noise::noise;
use crate::round_trip::material;
use crate::simulated::{Fault, SimulatedDisk};

/// Cases of each property; `STRAIT_CASES=1000` for a long run.
fn cases(default: u32) -> ProptestConfig {
    let cases = std::env::var("STRAIT_CASES")
        .ok()
        .and_then(|n| n.parse().ok());
    ProptestConfig::with_cases(cases.unwrap_or(default))
}

struct Site {
    disk: SimulatedDisk,
    store: Store,
    ends: Option<(Encoder, Decoder)>,
    /// Encoded here, not yet decoded there, in sending order.
    flying: VecDeque<(EncodeOptions, Vec<u8>, Bytes)>,
    seq: u64,
}

fn open(disk: &SimulatedDisk) -> Store {
    let config = StoreConfig {
        dir: Some(PathBuf::from("/history")),
        memory_bytes_max: 16 << 20,
        disk_bytes_max: 128 << 20,
        links: 1,
    };
    Store::open_on(config, Arc::new(disk.clone()))
}

impl Site {
    fn new() -> Self {
        let disk = SimulatedDisk::default();
        let store = open(&disk);
        let ends = Some(store.link("peer"));
        let flying = VecDeque::new();
        Self {
            disk,
            store,
            ends,
            flying,
            seq: 0,
        }
    }

    /// Ends the process, at once or in order, and starts it again on what `disk` is then.
    fn restart(&mut self, how: Restart) {
        self.disk = match how {
            Restart::Orderly => {
                self.ends = None;
                self.disk.after_kill()
            }
            Restart::Kill => self.disk.after_kill(),
            Restart::PowerCut(dice) => self.disk.after_power_cut(dice),
        };
        self.ends = None;
        self.store = open(&self.disk);
        self.ends = Some(self.store.link("peer"));
    }

    fn encoder(&mut self) -> &mut Encoder {
        &mut self.ends.as_mut().expect("started").0
    }

    fn decoder(&mut self) -> &mut Decoder {
        &mut self.ends.as_mut().expect("started").1
    }

    fn events(&mut self) -> Vec<HistoryEvent> {
        let (encoder, decoder) = self.ends.as_mut().expect("started");
        let sent = std::iter::from_fn(|| encoder.poll_event());
        sent.chain(std::iter::from_fn(|| decoder.poll_event()))
            .collect()
    }
}

/// Two gateways that send to each other.
struct Pair {
    sites: [Site; 2],
    wire_bytes: usize,
}

#[derive(Clone, Copy, Debug)]
enum Restart {
    Orderly,
    Kill,
    PowerCut(u64),
}

impl Pair {
    fn new() -> Self {
        let sites = [Site::new(), Site::new()];
        let mut pair = Self {
            sites,
            wire_bytes: 0,
        };
        pair.reconnect();
        pair
    }

    /// Everything in flight is lost and sent again.
    fn reconnect(&mut self) {
        for from in [0, 1] {
            let hello = self.sites[1 - from].decoder().hello();
            self.sites[from]
                .encoder()
                .handle_hello(&hello)
                .expect("a hello");
        }
        for site in &mut self.sites {
            let mut flying = std::mem::take(&mut site.flying);
            for (options, raw, wire) in &mut flying {
                *wire = site.encoder().encode(*options, raw).bytes;
            }
            site.flying = flying;
        }
    }

    fn restart(&mut self, site: usize, how: Restart) {
        self.sites[site].restart(how);
        self.reconnect();
    }

    fn send(&mut self, from: usize, raw: &[u8]) {
        let site = &mut self.sites[from];
        let (stream, seq) = (site.seq % 3, site.seq / 3);
        site.seq += 1;
        let options = EncodeOptions {
            id: BatchId { stream, seq },
            lane: 2,
            literal: false,
            hurried: false,
        };
        let wire = site.encoder().encode(options, raw).bytes;
        self.wire_bytes += wire.len();
        site.flying.push_back((options, raw.to_vec(), wire));
    }

    /// The `n`th batch in flight arrives, if it need not wait.
    fn arrive(&mut self, from: usize, n: usize) {
        let Some((mut options, raw, mut wire)) = self.sites[from].flying.remove(n) else {
            return;
        };
        let decoding = self.sites[1 - from].decoder().decode(&wire);
        match decoding.expect("our own batch") {
            Decoding::Ready(bytes) => {
                assert!(bytes == raw, "batch {:?} came out different", options.id);
                return self.sites[from].encoder().handle_acked(options.id);
            }
            Decoding::Waiting => assert!(n > 0, "the first in flight waits for nothing"),
            Decoding::Missing => {
                assert!(!options.literal, "literals lack nothing");
                options.literal = true;
                wire = self.sites[from].encoder().encode(options, &raw).bytes;
                self.wire_bytes += wire.len();
            }
        }
        self.sites[from].flying.insert(n, (options, raw, wire));
    }

    fn drain(&mut self) {
        for from in [0, 1] {
            while !self.sites[from].flying.is_empty() {
                self.arrive(from, 0);
            }
        }
    }

    /// Bytes on the wire for all of `data`, one batch after the other.
    fn cost(&mut self, from: usize, data: &[u8]) -> usize {
        let before = self.wire_bytes;
        for raw in data.chunks(1 << 20) {
            self.send(from, raw);
            self.drain();
        }
        self.wire_bytes - before
    }

    /// With both disks sound again, and whatever they hold, the link works as ever: the second pass
    /// is as cheap as any. A bit that was flipped shows when something near it is referred to, and
    /// takes its segment along, so there may be as many passes before as there are batches in one.
    fn settle(&mut self, flipped: bool) {
        for site in &self.sites {
            site.disk.repair();
        }
        self.restart(0, Restart::Orderly);
        self.restart(1, Restart::Orderly);
        self.drain();
        for from in [0, 1] {
            let data = noise(1000 + from as u64, 3 << 20);
            self.cost(from, &data);
            self.restart(from, Restart::Orderly);
            let heals = if flipped { data.len() >> 20 } else { 0 };
            for _ in 0..heals {
                self.cost(from, &data);
            }
            let again = self.cost(from, &data);
            assert!(again < 30_000, "{again} B for the second pass");
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Send {
        from: usize,
        at: usize,
        len: usize,
    },
    Arrive {
        from: usize,
        n: usize,
    },
    Reconnect,
    Restart {
        site: usize,
        how: Restart,
    },
    Fault {
        site: usize,
        after: u64,
        count: u64,
        fault: Fault,
    },
    Flip {
        site: usize,
        dice: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let site = 0..2usize;
    let how = prop_oneof![
        Just(Restart::Orderly),
        Just(Restart::Kill),
        any::<u64>().prop_map(Restart::PowerCut),
        any::<u64>().prop_map(Restart::PowerCut),
    ];
    let fault = prop_oneof![Just(Fault::Halt), Just(Fault::Full), Just(Fault::Error)];
    let count = prop_oneof![Just(1u64), 1..50u64, Just(u64::MAX)];
    prop_oneof![
        8 => (site.clone(), 0..5usize << 20, prop_oneof![1..300usize, 1..1usize << 20])
            .prop_map(|(from, at, len)| Step::Send { from, at, len }),
        8 => (site.clone(), 0..4usize).prop_map(|(from, n)| Step::Arrive { from, n }),
        1 => Just(Step::Reconnect),
        2 => (site.clone(), how).prop_map(|(site, how)| Step::Restart { site, how }),
        2 => (site.clone(), 0..60u64, count, fault)
            .prop_map(|(site, after, count, fault)| Step::Fault { site, after, count, fault }),
        1 => (site, any::<u64>()).prop_map(|(site, dice)| Step::Flip { site, dice }),
    ]
}

fn play(steps: &[Step], source: &[u8]) {
    let mut pair = Pair::new();
    for step in steps {
        match *step {
            Step::Send { from, at, len } => {
                let raw = &source[at..(at + len).min(source.len())];
                pair.send(from, raw);
            }
            Step::Arrive { from, n } => pair.arrive(from, n),
            Step::Reconnect => pair.reconnect(),
            Step::Restart { site, how } => pair.restart(site, how),
            Step::Fault {
                site,
                after,
                count,
                fault,
            } => {
                pair.sites[site].disk.fail(after, count, fault);
            }
            Step::Flip { site, dice } => {
                pair.sites[site].disk.flip("seg", dice);
            }
        }
    }
    let flipped = steps.iter().any(|step| matches!(step, Step::Flip { .. }));
    pair.settle(flipped);
}

proptest! {
    #![proptest_config(cases(24))]

    #[test]
    fn whatever_the_disks_do_the_link_goes_on(steps in prop::collection::vec(step(), 1..50), seed: u64) {
        play(&steps, &material(seed, 6 << 20));
    }
}

/// Every operation of a short life, one after the other, is the one at which the power fails, or
/// which fails.
#[test]
fn the_power_may_fail_at_any_operation() {
    let data = noise(1, 3 << 20);
    let stride = if std::env::var("STRAIT_CASES").is_ok() {
        1
    } else {
        23
    };
    for fault in [Fault::Halt, Fault::Error, Fault::Full] {
        for site in [0, 1] {
            for after in (0..).step_by(stride) {
                let mut pair = Pair::new();
                pair.cost(0, &data[..1 << 20]);
                let disk = &pair.sites[site].disk;
                disk.fail(after, u64::MAX, fault);
                let begin = disk.operations();
                pair.cost(0, &data);
                pair.restart(site, Restart::PowerCut(after));
                let reached = pair.sites[site].disk.operations() - begin >= after;
                pair.sites[site].disk.repair();
                pair.restart(site, Restart::Orderly);
                pair.cost(0, &data);
                let again = pair.cost(0, &data);
                assert!(again < 30_000, "{fault:?} at {after} of {site}: {again} B");
                if !reached {
                    break;
                }
            }
        }
    }
}

#[test]
fn a_torn_end_is_cut_and_said() {
    let mut pair = Pair::new();
    pair.cost(0, &noise(2, 3 << 20));
    pair.sites[0].disk.fail(3, u64::MAX, Fault::Halt);
    pair.cost(0, &noise(3, 1 << 20));
    pair.restart(0, Restart::Kill);
    let found = pair.sites[0].store.recovery();
    assert!(found.cut_bytes > 0 && found.quarantined == 0, "{found:?}");
    assert!(found.to_string().contains("cut"), "{found}");
}

/// A full disk is said once, costs history and nothing else, and is written again when there is room.
#[test]
fn a_full_disk_leaves_the_history_in_memory() {
    let mut pair = Pair::new();
    let before = noise(4, 6 << 20);
    pair.cost(0, &before);
    pair.sites[1].disk.fail(0, u64::MAX, Fault::Full);
    let recent = noise(5, 1 << 20);
    for seed in 6..30 {
        pair.cost(0, &noise(seed, 1 << 20));
        assert!(pair.sites[1].store.figures().memory_bytes <= 16 << 20);
    }
    pair.cost(0, &recent);
    assert_eq!(pair.sites[1].store.figures().unwritable, 1);
    assert_eq!(pair.sites[0].store.figures().unwritable, 0);
    let events = pair.sites[1].events();
    assert!(
        matches!(events[..], [HistoryEvent::Unwritable { .. }]),
        "{events:?}"
    );
    assert!(pair.cost(0, &recent) < 30_000, "the newest is in memory");

    pair.sites[1].disk.repair();
    for seed in 30..50 {
        pair.cost(0, &noise(seed, 1 << 20));
    }
    assert_eq!(pair.sites[1].store.figures().unwritable, 0);
    let events = pair.sites[1].events();
    assert!(
        matches!(events[..], [HistoryEvent::Writable { .. }]),
        "{events:?}"
    );
    let newest = noise(49, 1 << 20);
    pair.restart(1, Restart::Kill);
    assert!(pair.cost(0, &newest) < 30_000, "and is on disk again");
}

/// A flipped bit anywhere in a segment of either end is found, put aside, and healed by what is sent
/// again; what is delivered is checked at each arrival.
#[test]
fn a_flipped_bit_is_found_and_healed() {
    let data = noise(50, 2 << 20);
    let flips: u64 = if std::env::var("STRAIT_CASES").is_ok() {
        2000
    } else {
        40
    };
    for (site, dice) in (0..flips).flat_map(|dice| [(0, dice), (1, dice)]) {
        let mut pair = Pair::new();
        pair.cost(0, &data);
        pair.sites[site].ends = None;
        let path = pair.sites[site].disk.flip("seg", dice).expect("a segment");
        pair.restart(site, Restart::Kill);
        pair.cost(0, &data);
        let store = &pair.sites[site].store;
        let found = store.recovery();
        let found = found.quarantined + found.cut_bytes + store.figures().quarantined;
        assert!(found > 0, "flip {dice} in {} went unseen", path.display());
        // What was not referred to again may be met once more.
        pair.cost(0, &data);
        let again = pair.cost(0, &data);
        assert!(
            again < 30_000,
            "flip {dice} in {}: {again} B",
            path.display()
        );
    }
}
