//! How far a peer is behind: in time, in records, in bytes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::progress::Kind;
use crate::grid::{FlushNumber, Flushed, Grid};

/// Flushes whose times are kept. When they are full every second one goes, so a
/// long outage is still measured, only less finely.
const MARKS_MAX: usize = 4096;

/// When each flush became durable, and how much it held: what a peer's lag is
/// measured against.
#[derive(Debug, Default)]
pub struct FlushClock {
    marks: Mutex<VecDeque<Mark>>,
}

/// What somebody lacks of one kind of records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lag {
    /// Age of the oldest change that they lack.
    pub age: Duration,
    pub records: u64,
    pub bytes: u64,
}

/// One flush, with the sums of all since the start.
#[derive(Clone, Copy, Debug)]
struct Mark {
    number: FlushNumber,
    at: Instant,
    sums: [Sum; 2],
}

#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    records: u64,
    bytes: u64,
}

impl FlushClock {
    /// Notes each flush as it happens, until the grid is gone.
    pub async fn run(&self, grid: Arc<Grid>, mut flushes: watch::Receiver<FlushNumber>) {
        let mut noted = *flushes.borrow_and_update();
        while flushes.changed().await.is_ok() {
            let durable = *flushes.borrow_and_update();
            while noted < durable {
                noted = noted.next();
                // One that is not kept any more counts with the next.
                if let Some(flushed) = grid.flushed(noted) {
                    self.note(&flushed, Instant::now());
                }
            }
        }
    }

    fn note(&self, flushed: &Flushed, at: Instant) {
        let mut marks = self.marks.lock();
        let mut sums = marks.back().map_or([Sum::default(); 2], |last| last.sums);
        let mut add = |kind: Kind, record: &Bytes| {
            let sum = &mut sums[kind as usize];
            sum.records += 1;
            sum.bytes += record.len() as u64;
        };
        for (kind, record) in flushed_records(flushed) {
            add(kind, record);
        }
        if marks.len() == MARKS_MAX {
            let mut keep = false;
            marks.retain(|_| {
                keep = !keep;
                keep
            });
        }
        marks.push_back(Mark {
            number: flushed.number,
            at,
            sums,
        });
    }

    /// What somebody lacks who holds everything up to `acked`, of what was flushed since
    /// the gateway started.
    pub fn lag(&self, acked: FlushNumber, kind: Kind, now: Instant) -> Lag {
        let sum = |mark: &Mark| mark.sums[kind as usize];
        let marks = self.marks.lock();
        let lacking = marks.partition_point(|mark| mark.number <= acked);
        let before = lacking.checked_sub(1).and_then(|index| marks.get(index));
        let held = before.map_or(Sum::default(), sum);
        let first = marks
            .range(lacking..)
            .find(|mark| sum(mark).records > held.records);
        let (Some(first), Some(last)) = (first, marks.back()) else {
            return Lag::default();
        };
        Lag {
            age: now.saturating_duration_since(first.at),
            records: sum(last).records - held.records,
            bytes: sum(last).bytes - held.bytes,
        }
    }
}

/// All records of a flush, others' too.
fn flushed_records(flushed: &Flushed) -> impl Iterator<Item = (Kind, &Bytes)> {
    let counters = flushed.counters.iter().map(|r| (Kind::Counters, r));
    let logs = flushed.logs.iter().map(|r| (Kind::Logs, r));
    let relayed = flushed.relayed.iter();
    let relayed = relayed.map(|relayed| (Kind::of(relayed), &relayed.record));
    counters.chain(logs).chain(relayed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grid::Epoch;

    fn flush(number: u64, counters: usize, logs: usize) -> Flushed {
        Flushed {
            number: FlushNumber(number),
            epoch: Epoch(number),
            relayed: Vec::new(),
            counters: vec![Bytes::from_static(b"0123456789"); counters],
            logs: vec![Bytes::from_static(b"01234"); logs],
        }
    }

    #[test]
    fn lag_begins_with_the_first_flush_that_is_lacking() {
        let clock = FlushClock::default();
        let start = Instant::now();
        let at = |s| start + Duration::from_secs(s);
        for n in 1..=10 {
            clock.note(&flush(n, 1, usize::from(n == 9)), at(n));
        }
        let lag = |acked, kind| clock.lag(FlushNumber(acked), kind, at(20));
        assert_eq!(lag(10, Kind::Counters), Lag::default());
        let expected = Lag {
            age: Duration::from_secs(12),
            records: 3,
            bytes: 30,
        };
        assert_eq!(lag(7, Kind::Counters), expected);
        let expected = Lag {
            age: Duration::from_secs(11),
            records: 1,
            bytes: 5,
        };
        assert_eq!(
            lag(7, Kind::Logs),
            expected,
            "only the ninth had a log record"
        );
        assert_eq!(lag(9, Kind::Logs), Lag::default());
    }

    #[test]
    fn a_long_outage_keeps_its_sums() {
        let clock = FlushClock::default();
        let start = Instant::now();
        for n in 1..=100_000 {
            clock.note(&flush(n, 1, 0), start + Duration::from_millis(n));
        }
        assert!(clock.marks.lock().len() <= MARKS_MAX);
        let now = start + Duration::from_secs(100);
        let lag = clock.lag(FlushNumber(0), Kind::Counters, now);
        assert_eq!(lag.records, 100_000);
        assert!(lag.age >= Duration::from_secs(90), "{:?}", lag.age);
    }
}
