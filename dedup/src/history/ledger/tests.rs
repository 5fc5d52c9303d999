use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::Recovery;
use crate::noise::noise;
use crate::storage::FileSystem;

fn bytes(at: u64, len: usize) -> Vec<u8> {
    (at..at + len as u64)
        .map(|p| (p * 31 % 251) as u8)
        .collect()
}

fn check(ledger: &Ledger, from: u64, to: u64) {
    let extent = Extent {
        at: Position(from),
        len: (to - from) as usize,
    };
    let mut out = Vec::new();
    assert_eq!(ledger.read(extent, &mut out), Ok(()));
    assert!(out == bytes(from, extent.len), "{from}..{to}");
}

#[test]
fn appends_evicts_and_truncates() {
    let mut ledger = Ledger::default();
    ledger.append(&bytes(0, 5 << 20));
    check(&ledger, 0, 5 << 20);
    ledger.evict_below(Position(2_500_000));
    check(&ledger, 2_500_000, 5 << 20);
    assert!(ledger.held_bytes() < 4 << 20);
    let gone = Extent {
        at: Position(2_499_999),
        len: 1,
    };
    assert_eq!(ledger.read(gone, &mut Vec::new()), Err(Absent::Evicted));
    assert!(ledger.preceding(Position(2_500_000)).is_empty());
    assert_eq!(*ledger.preceding(Position(2_500_002)), bytes(2_500_000, 2));
    ledger.truncate(Position(3 << 20));
    check(&ledger, 2_500_000, 3 << 20);
    ledger.append(&bytes(3 << 20, 100));
    check(&ledger, 2_500_000, (3 << 20) + 100);
    ledger.truncate(Position(100));
    ledger.append(&bytes(100, 100));
    check(&ledger, 100, 200);
}

#[test]
fn overlaps_are_refused_and_repeats_are_not() {
    let mut ledger = Ledger::default();
    assert_eq!(ledger.insert(Position(10), &bytes(10, 10)), Ok(()));
    assert_eq!(ledger.insert(Position(10), &bytes(10, 10)), Ok(()));
    assert_eq!(ledger.insert(Position(5), &bytes(5, 6)), Err(Overlap));
    assert_eq!(ledger.insert(Position(0), &bytes(0, 11)), Err(Overlap));
    assert_eq!(ledger.insert(Position(0), &bytes(0, 10)), Ok(()));
    assert_eq!(ledger.tail(), Position(20));
    assert_eq!(ledger.insert(Position(3), &bytes(3, 9)), Ok(()));
    assert_eq!(ledger.insert(Position(3), &bytes(4, 9)), Err(Overlap));
}

proptest! {
    #[test]
    fn any_order_of_arrival_gives_the_same_log(lens in prop::collection::vec(1usize..300_000, 1..12), seed in any::<u64>()) {
        let mut starts: Vec<(u64, usize)> = lens.iter().scan(0, |at, &len| {
            let start = *at;
            *at += len as u64;
            Some((start, len))
        }).collect();
        let end = starts.last().map_or(0, |(at, len)| at + *len as u64);
        starts.sort_by_key(|(at, _)| blake3::hash(&(at ^ seed).to_le_bytes()).as_bytes()[0]);
        let mut ledger = Ledger::default();
        for (at, len) in starts {
            prop_assert_eq!(ledger.insert(Position(at), &bytes(at, len)), Ok(()));
            check(&ledger, at, at + len as u64);
        }
        prop_assert_eq!(ledger.tail(), Position(end));
        check(&ledger, 0, end);
    }
}

/// A block that was used again outlives its turn among the newest, in memory: here the file is gone.
#[test]
fn what_is_used_again_stays_in_memory() {
    let dir = tempfile::tempdir().unwrap();
    let mut recovery = Recovery::default();
    let disk = Disk::open(Arc::new(FileSystem), dir.path(), &mut recovery).unwrap();
    let share = Share {
        history_bytes_max: 1 << 30,
        memory_bytes_max: 16 << 20,
        chunks_max: 1,
    };
    let mut ledger = Ledger::on_disk(disk, share);
    ledger.reset(HistoryId([1; 16]), 0);
    ledger.append(&bytes(0, 5 << 20));
    check(&ledger, 1 << 20, (1 << 20) + 10);
    ledger.append(&bytes(5 << 20, 6 << 20));
    assert!(ledger.hot > Position(2 << 20), "no longer among the newest");
    std::fs::write(dir.path().join("0000000000000000.seg"), b"").unwrap();
    check(&ledger, 1 << 20, 2 << 20);
    let unused = Extent {
        at: Position(0),
        len: 10,
    };
    assert_eq!(ledger.read(unused, &mut Vec::new()), Err(Absent::Evicted));
}

/// A stretch that is written anew after a truncation keeps what of it was evicted before: the next
/// start finds that again.
#[test]
fn a_truncation_puts_no_zeros_where_bytes_were_evicted() {
    let dir = tempfile::tempdir().unwrap();
    let mut ledger = on_disk(dir.path());
    ledger.reset(HistoryId([1; 16]), 0);
    ledger.append(&bytes(0, 3 << 20));
    let (stretch, tail) = (15 * WRITE_BYTES, 15 * WRITE_BYTES + 20_000);
    ledger.evict_below(Position(stretch + 10_000));
    ledger.truncate(Position(tail));
    assert!(ledger.written < ledger.oldest, "the stretch is cut");
    drop(ledger);
    let ledger = on_disk(dir.path());
    assert_eq!(
        (ledger.oldest(), ledger.tail()),
        (Position(0), Position(tail))
    );
    check(&ledger, stretch, tail);
}

/// The history as a plain row of bytes.
struct Naive {
    bytes: Vec<u8>,
    oldest: usize,
    drawn: u64,
}

impl Naive {
    /// Bytes that were never there before.
    fn draw(&mut self, len: usize) -> Vec<u8> {
        self.drawn += 1;
        noise(self.drawn, len)
    }
}

#[derive(Clone, Debug)]
enum Step {
    Append(usize),
    /// Pieces that arrive last first.
    Reordered(Vec<usize>),
    Evict(prop::sample::Index),
    Truncate(prop::sample::Index),
    Restart,
    Look(prop::sample::Index, usize),
}

fn step() -> impl Strategy<Value = Step> {
    let len = || prop_oneof![1..5000usize, 1..900_000usize];
    let pieces = prop::collection::vec(1..70_000usize, 2..6);
    prop_oneof![
        4 => len().prop_map(Step::Append),
        2 => pieces.prop_map(Step::Reordered),
        1 => any::<prop::sample::Index>().prop_map(Step::Evict),
        1 => any::<prop::sample::Index>().prop_map(Step::Truncate),
        1 => Just(Step::Restart),
        6 => (any::<prop::sample::Index>(), len()).prop_map(|(at, len)| Step::Look(at, len)),
    ]
}

fn on_disk(dir: &Path) -> Ledger {
    let mut recovery = Recovery::default();
    let disk = Disk::open(Arc::new(FileSystem), dir, &mut recovery).unwrap();
    assert_eq!((recovery.quarantined, recovery.cut_bytes), (0, 0));
    // The least there can be: 2 blocks and 16 stretches.
    Ledger::on_disk(
        disk,
        Share {
            history_bytes_max: 1 << 30,
            memory_bytes_max: 4 << 20,
            chunks_max: 1,
        },
    )
}

fn look(ledger: &Ledger, naive: &Naive, range: Range<usize>) {
    let extent = Extent {
        at: Position(range.start as u64),
        len: range.len(),
    };
    let mut out = Vec::new();
    let read = ledger.read(extent, &mut out);
    if range.start >= naive.oldest {
        assert_eq!(read, Ok(()), "{range:?} of {}", naive.bytes.len());
    }
    if read.is_ok() {
        assert!(out == naive.bytes[range.clone()], "{range:?}");
    }
    let after = ledger.following(extent.at);
    assert!(naive.bytes[range.start..].starts_with(&after));
    let before = ledger.preceding(extent.end());
    assert!(naive.bytes[..range.end].ends_with(&before));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_ledger_on_disk_is_a_row_of_bytes(steps in prop::collection::vec(step(), 1..60)) {
        let dir = tempfile::tempdir().unwrap();
        let mut naive = Naive { bytes: Vec::new(), oldest: 0, drawn: 0 };
        let mut ledger = on_disk(dir.path());
        ledger.reset(HistoryId([1; 16]), 0);
        for step in steps {
            let tail = naive.bytes.len();
            match step {
                Step::Append(len) => {
                    let bytes = naive.draw(len);
                    prop_assert_eq!(ledger.append(&bytes), Position(tail as u64));
                    naive.bytes.extend(bytes);
                }
                Step::Reordered(lens) => {
                    let mut pieces = Vec::new();
                    for len in lens {
                        let bytes = naive.draw(len);
                        pieces.push((Position(naive.bytes.len() as u64), bytes.clone()));
                        naive.bytes.extend(bytes);
                    }
                    for (at, bytes) in pieces.into_iter().rev() {
                        prop_assert_eq!(ledger.insert(at, &bytes), Ok(()));
                    }
                }
                Step::Evict(at) => {
                    naive.oldest = naive.oldest.max(at.index(tail + 1));
                    ledger.evict_below(Position(naive.oldest as u64));
                }
                Step::Truncate(at) => {
                    naive.bytes.truncate(naive.oldest + at.index(tail - naive.oldest + 1));
                    ledger.truncate(Position(naive.bytes.len() as u64));
                }
                Step::Restart => {
                    drop(ledger);
                    ledger = on_disk(dir.path());
                    if ledger.identity().is_none() {
                        // Nothing was held: a history without bytes is begun anew.
                        prop_assert_eq!(naive.oldest, tail);
                        ledger.reset(HistoryId([1; 16]), 0);
                        (naive.bytes, naive.oldest) = (Vec::new(), 0);
                    }
                }
                Step::Look(at, len) if tail > 0 => {
                    let at = at.index(tail);
                    look(&ledger, &naive, at..(at + len).min(tail));
                }
                Step::Look(..) => {}
            }
            prop_assert_eq!(ledger.tail(), Position(naive.bytes.len() as u64));
            prop_assert!(ledger.memory_bytes() <= 6 << 20);
        }
        look(&ledger, &naive, naive.oldest..naive.bytes.len());
    }
}
