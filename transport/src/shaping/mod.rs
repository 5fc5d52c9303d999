//! Holds a link to its configured rate, so that the queue stands here, in order of urgency, and
//! not in a router.

mod bucket;

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::sleep;

use self::bucket::Bucket;
use crate::class::Class;
use crate::session::Schedule;

/// Part of the configured rate that is used.
const USED_PART: f64 = 0.975;
/// Part of it that may be under way: with what is sent again and the acknowledgements.
const UNDER_WAY_PART: f64 = 0.99;
/// What a byte of a batch costs on the link: headers of IP, UDP and QUIC, at 1452 bytes a datagram.
const WIRE_COST: f64 = 1.047;
/// A piece takes the link no longer than this, so that what is urgent soon follows.
const PIECE_TIME: Duration = Duration::from_millis(4);
const PIECE_BYTES: std::ops::RangeInclusive<f64> = 4096.0..=65536.0;

/// One link's token bucket and those who wait for it: at most one writer of each class.
#[derive(Debug)]
pub(crate) struct Shaper {
    /// `None`: the link's rate is not known, and nobody waits.
    state: Option<Mutex<State>>,
    /// A turn was given, or there may be one.
    turn: [Notify; Class::COUNT],
    piece_bytes: usize,
    link_bytes_s: Option<f64>,
    rate_bits_s: Option<u64>,
}

#[derive(Debug)]
struct State {
    bucket: Bucket,
    schedule: Schedule,
    waiting: [Option<u64>; Class::COUNT],
}

/// What a writer does next.
enum Turn {
    Now,
    /// Unless woken before.
    After(Duration),
    /// Another class goes first.
    Other(Class),
}

impl Shaper {
    pub(crate) fn new(rate_bits_s: Option<u64>, now: Instant) -> Self {
        let rate_bytes_s = rate_bits_s.map(|rate| rate as f64 / 8.0 * USED_PART / WIRE_COST);
        let piece = rate_bytes_s.map_or(f64::MAX, |rate| rate * PIECE_TIME.as_secs_f64());
        let state = rate_bytes_s.map(|rate| {
            Mutex::new(State {
                bucket: Bucket::new(rate, PIECE_TIME, now),
                schedule: Schedule::default(),
                waiting: [None; Class::COUNT],
            })
        });
        Self {
            state,
            rate_bits_s,
            turn: Default::default(),
            link_bytes_s: rate_bits_s.map(|rate| rate as f64 / 8.0 * UNDER_WAY_PART),
            piece_bytes: piece.clamp(*PIECE_BYTES.start(), *PIECE_BYTES.end()) as usize,
        }
    }

    /// The link's rate as configured.
    pub(crate) fn rate_bits_s(&self) -> Option<u64> {
        self.rate_bits_s
    }

    /// Bytes a second that congestion control should count on.
    pub(crate) fn link_bytes_s(&self) -> Option<f64> {
        self.link_bytes_s
    }

    /// Most bytes to ask for at a time.
    pub(crate) fn piece_bytes(&self) -> usize {
        self.piece_bytes
    }

    /// Waits until `bytes` of this class may go.
    pub(crate) async fn take(&self, class: Class, bytes: usize) {
        let Some(state) = &self.state else {
            return;
        };
        let waiting = Waiting::new(state, class, bytes as u64);
        loop {
            match waiting.poll(Instant::now()) {
                Turn::Now => break,
                Turn::Other(other) => {
                    self.turn[other.index()].notify_one();
                    self.turn[class.index()].notified().await;
                }
                Turn::After(wait) => {
                    tokio::select! {
                        () = sleep(wait) => {}
                        () = self.turn[class.index()].notified() => {}
                    }
                }
            }
        }
        drop(waiting);
        for class in Class::ALL {
            self.turn[class.index()].notify_one();
        }
    }
}

/// A writer in the queue; leaves it when dropped, also in the middle of waiting.
struct Waiting<'a> {
    state: &'a Mutex<State>,
    class: Class,
    bytes: u64,
}

impl<'a> Waiting<'a> {
    fn new(state: &'a Mutex<State>, class: Class, bytes: u64) -> Self {
        state.lock().waiting[class.index()] = Some(bytes);
        Self {
            state,
            class,
            bytes,
        }
    }

    fn poll(&self, now: Instant) -> Turn {
        let mut state = self.state.lock();
        if let Some(wait) = state.bucket.wait(now) {
            return Turn::After(wait);
        }
        let waiting = state.waiting;
        match state.schedule.peek(waiting) {
            Some(other) if other != self.class => Turn::Other(other),
            Some(_) | None => {
                state.schedule.pick(waiting);
                state.bucket.take(self.bytes);
                Turn::Now
            }
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.state.lock().waiting[self.class.index()] = None;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn holds_the_rate() {
        let shaper = Arc::new(Shaper::new(Some(80_000_000), Instant::now()));
        let start = Instant::now();
        let bulk = tokio::spawn({
            let shaper = Arc::clone(&shaper);
            async move {
                for _ in 0..60 {
                    shaper.take(Class::Bulk, 40_000).await;
                }
            }
        });
        for _ in 0..10 {
            sleep(Duration::from_millis(10)).await;
            shaper.take(Class::Control, 100).await;
        }
        bulk.await.unwrap();
        // 2.4 MB at 9.31 MB/s.
        let took = start.elapsed();
        assert!(took > Duration::from_millis(250), "{took:?}");
    }

    #[test]
    fn the_urgent_go_first() {
        let start = Instant::now();
        let shaper = Shaper::new(Some(80_000_000), start);
        let state = shaper.state.as_ref().unwrap();
        let (mut bulk, mut urgent) = (None, None);
        let (mut sent, mut slowest) = (0, 0);
        for ms in 0..1000 {
            let now = start + Duration::from_millis(ms);
            if ms % 10 == 0 {
                urgent.get_or_insert_with(|| (ms, Waiting::new(state, Class::Control, 100)));
            }
            let waiting = bulk.get_or_insert_with(|| Waiting::new(state, Class::Bulk, 40_000));
            if matches!(waiting.poll(now), Turn::Now) {
                bulk = None;
                sent += 40_000;
            }
            if let Some((asked, waiting)) = &urgent
                && matches!(waiting.poll(now), Turn::Now)
            {
                slowest = slowest.max(ms - asked);
                urgent = None;
            }
        }
        let expected = 10_000_000.0 * USED_PART / WIRE_COST;
        let part = f64::from(sent) / expected;
        assert!((0.98..=1.01).contains(&part), "{sent} bytes in a second");
        // What another piece takes that had just begun.
        assert!(slowest <= 5, "{slowest} ms");
    }

    #[tokio::test]
    async fn a_writer_that_gives_up_is_forgotten() {
        let shaper = Shaper::new(Some(8_000_000), Instant::now());
        shaper.take(Class::Bulk, 1 << 20).await;
        let give_up = Duration::from_millis(5);
        let waited = tokio::time::timeout(give_up, shaper.take(Class::Control, 1)).await;
        assert!(waited.is_err());
        tokio::time::timeout(5 * Duration::from_secs(1), shaper.take(Class::Bulk, 1))
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn without_a_rate_nobody_waits() {
        let shaper = Shaper::new(None, Instant::now());
        for _ in 0..1000 {
            shaper.take(Class::Bulk, 1 << 20).await;
        }
        assert_eq!(shaper.piece_bytes(), 1 << 16);
    }
}
