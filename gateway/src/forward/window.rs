//! How far a flow's sender may be ahead of its reader: grows while the reader keeps up,
//! out of memory that all flows share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Bytes that both ends know may be sent before anything is granted.
pub(super) const WINDOW_INITIAL: u64 = 256 << 10;
/// At 100 ms round trip: 670 MB/s.
const WINDOW_MAX: u64 = 64 << 20;
/// How much larger a window becomes that is too small: it bounds memory, the link has a congestion
/// window of its own, so there is no harm in going beyond what turns out to be needed.
const GROWTH: u64 = 8;
/// What all flows together may have beyond their first window.
const SHARED_BYTES_MAX: u64 = 256 << 20;

/// Memory for windows beyond the first, shared by all flows of a gateway.
#[derive(Clone, Debug)]
pub(super) struct WindowPool(Arc<AtomicU64>);

impl Default for WindowPool {
    fn default() -> Self {
        Self(Arc::new(AtomicU64::new(SHARED_BYTES_MAX)))
    }
}

impl WindowPool {
    fn take(&self, bytes: u64) -> bool {
        let take = |left: u64| left.checked_sub(bytes);
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
            .is_ok()
    }

    fn give(&self, bytes: u64) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// The credit of one direction, at its receiver.
#[derive(Debug)]
pub(super) struct Window {
    pool: WindowPool,
    size: u64,
    consumed: u64,
    granted: u64,
    granted_at: Instant,
    /// Since when all that was granted is here: the sender waits for more.
    used_up_at: Option<Instant>,
}

impl Window {
    pub(super) fn new(pool: WindowPool, now: Instant) -> Self {
        Self {
            pool,
            size: WINDOW_INITIAL,
            consumed: 0,
            granted: WINDOW_INITIAL,
            granted_at: now,
            used_up_at: None,
        }
    }

    /// Bytes that the sender may have sent in all.
    pub(super) fn granted(&self) -> u64 {
        self.granted
    }

    /// So many bytes have arrived in all.
    pub(super) fn handle_arrived(&mut self, bytes: u64, now: Instant) {
        if bytes >= self.granted && self.used_up_at.is_none() {
            self.used_up_at = Some(now);
        }
    }

    /// The reader took so many bytes; the new credit, if it is time to grant more. A
    /// window is too small if it lasted for less than two round trips, and also, however long a
    /// link that is busy took to bring it, if the sender ran dry and the reader did not keep it
    /// waiting.
    pub(super) fn handle_consumed(
        &mut self,
        bytes: u64,
        now: Instant,
        rtt: impl FnOnce() -> Duration,
    ) -> Option<u64> {
        self.consumed += bytes;
        let ahead = self.granted - self.consumed;
        if ahead > self.size / 2 {
            return None;
        }
        if self.size < WINDOW_MAX {
            let (took, rtt) = (now.duration_since(self.granted_at), rtt());
            let waited = self.used_up_at.map(|at| now.duration_since(at));
            if took < 2 * rtt || waited.is_some_and(|waited| waited < rtt) {
                self.grow();
            }
        }
        self.granted = self.consumed + self.size;
        self.granted_at = now;
        self.used_up_at = None;
        Some(self.granted)
    }

    fn grow(&mut self) {
        let larger = (self.size * GROWTH).min(WINDOW_MAX);
        if self.pool.take(larger - self.size) {
            self.size = larger;
        }
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        self.pool.give(self.size - WINDOW_INITIAL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(100);

    /// A sender that always uses its whole credit and a reader that takes `rate` bytes/s;
    /// the size of the window after `rounds` of 10 ms.
    fn after(window: &mut Window, rate: u64, rounds: u32) -> u64 {
        let start = Instant::now();
        for n in 0..rounds {
            let now = start + n * Duration::from_millis(10);
            let bytes = (rate / 100).min(window.granted() - window.consumed);
            window.handle_consumed(bytes, now, || RTT);
            assert!(window.granted() - window.consumed <= window.size);
            assert!(window.granted() > window.consumed);
        }
        window.size
    }

    #[test]
    fn it_grows_to_what_the_reader_takes_and_no_further() {
        let pool = WindowPool::default();
        let mut slow = Window::new(pool.clone(), Instant::now());
        assert_eq!(after(&mut slow, 100_000, 500), WINDOW_INITIAL);
        let mut fast = Window::new(pool.clone(), Instant::now());
        let size = after(&mut fast, 100_000_000, 500);
        assert!((20 << 20..=64 << 20).contains(&size), "{size}");
        drop((slow, fast));
        assert_eq!(pool.0.load(Ordering::Relaxed), SHARED_BYTES_MAX);
    }

    /// A link that is still slow brings each window late, and whole; its reader takes `pause` for
    /// it.
    fn after_late_windows(pause: Duration) -> u64 {
        let mut window = Window::new(WindowPool::default(), Instant::now());
        let mut now = Instant::now();
        for _ in 0..10 {
            now += 3 * RTT;
            window.handle_arrived(window.granted(), now);
            now += pause;
            let bytes = window.granted() - window.consumed;
            window.handle_consumed(bytes, now, || RTT);
        }
        window.size
    }

    #[test]
    fn a_sender_that_runs_dry_gets_more_unless_its_reader_is_slow() {
        assert_eq!(after_late_windows(RTT / 20), WINDOW_MAX);
        assert_eq!(after_late_windows(2 * RTT), WINDOW_INITIAL);
    }

    #[test]
    fn a_fast_link_is_filled_within_a_few_round_trips() {
        let mut window = Window::new(WindowPool::default(), Instant::now());
        // Four times compressed, 100 Mbit/s of link take 50 MB/s of flow.
        assert!(after(&mut window, 50_000_000, 20) >= 50_000_000 / 10);
    }

    #[test]
    fn all_together_stay_within_the_pool() {
        let pool = WindowPool::default();
        let mut windows: Vec<_> = (0..50)
            .map(|_| Window::new(pool.clone(), Instant::now()))
            .collect();
        let sizes: u64 = windows.iter_mut().map(|w| after(w, 1 << 30, 300)).sum();
        assert!(sizes <= SHARED_BYTES_MAX + 50 * WINDOW_INITIAL);
        drop(windows);
        assert_eq!(pool.0.load(Ordering::Relaxed), SHARED_BYTES_MAX);
    }
}
