//! How far a peer is behind: in time, in records, in bytes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::grid::{Feed, FlushNumber, Flushed, Grid};

/// Flushes whose times are kept. When they are full every second one goes, so a
/// long outage is still measured, only less finely.
const MARKS_MAX: usize = 4096;

/// When each flush became durable, and how much it held: what a peer's lag is
/// measured against.
#[derive(Debug, Default)]
pub struct FlushClock {
    marks: Mutex<VecDeque<Mark>>,
}

/// What somebody lacks of one feed.
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
    /// By [`Feed`].
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
                // What is not kept any more is not counted.
                let flushed = Feed::ALL.map(|feed| grid.flushed(feed, noted));
                self.note(noted, flushed, Instant::now());
            }
        }
    }

    fn note(&self, number: FlushNumber, flushed: [Option<Arc<Flushed>>; 2], at: Instant) {
        let mut marks = self.marks.lock();
        let mut sums = marks.back().map_or([Sum::default(); 2], |last| last.sums);
        for (sum, flushed) in sums.iter_mut().zip(&flushed) {
            for record in flushed.iter().flat_map(|flushed| flushed.all()) {
                sum.records += 1;
                sum.bytes += record.len() as u64;
            }
        }
        if marks.len() == MARKS_MAX {
            let mut keep = false;
            marks.retain(|_| {
                keep = !keep;
                keep
            });
        }
        marks.push_back(Mark { number, at, sums });
    }

    /// What somebody lacks who holds everything up to `acked`, of what was flushed since
    /// the gateway started.
    pub fn lag(&self, feed: Feed, acked: FlushNumber, now: Instant) -> Lag {
        let sum = |mark: &Mark| mark.sums[feed as usize];
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

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::grid::Epoch;

    fn note(clock: &FlushClock, number: u64, records: [&[&'static [u8]]; 2], at: Instant) {
        let flushed = records.map(|records| {
            Some(Arc::new(Flushed {
                number: FlushNumber(number),
                epoch: Epoch(number),
                relayed: Vec::new(),
                records: records.iter().map(|r| Bytes::from_static(r)).collect(),
            }))
        });
        clock.note(FlushNumber(number), flushed, at);
    }

    #[test]
    fn lag_begins_with_the_first_flush_that_is_lacking() {
        let clock = FlushClock::default();
        let start = Instant::now();
        let at = |s| start + Duration::from_secs(s);
        for n in 1..=10 {
            let log: &[&[u8]] = if n == 9 { &[b"01234"] } else { &[] };
            note(&clock, n, [&[b"0123456789"], log], at(n));
        }
        let lag = |acked, feed| clock.lag(feed, FlushNumber(acked), at(20));
        assert_eq!(lag(10, Feed::Counters), Lag::default());
        let expected = Lag {
            age: Duration::from_secs(12),
            records: 3,
            bytes: 30,
        };
        assert_eq!(lag(7, Feed::Counters), expected);
        let expected = Lag {
            age: Duration::from_secs(11),
            records: 1,
            bytes: 5,
        };
        assert_eq!(
            lag(7, Feed::Logs),
            expected,
            "only the ninth had a log record"
        );
        assert_eq!(lag(9, Feed::Logs), Lag::default());
    }

    #[test]
    fn a_long_outage_keeps_its_sums() {
        let clock = FlushClock::default();
        let start = Instant::now();
        for n in 1..=100_000 {
            note(
                &clock,
                n,
                [&[b"0123456789"], &[]],
                start + Duration::from_millis(n),
            );
        }
        assert!(clock.marks.lock().len() <= MARKS_MAX);
        let now = start + Duration::from_secs(100);
        let lag = clock.lag(Feed::Counters, FlushNumber(0), now);
        assert_eq!(lag.records, 100_000);
        assert!(lag.age >= Duration::from_secs(90), "{:?}", lag.age);
    }
}
