//! Polling for requests without going to sleep, as long as they come closely one after the other:
//! to be put to sleep and woken for each costs the server and its clients more than most commands.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::task::yield_now;

/// Requests further apart than this are waited for asleep. As much of a core is spent in vain after
/// the last of those that came more closely.
const GAP_MAX: Duration = Duration::from_micros(50);

/// Of one thread that serves clients; no other uses it.
#[derive(Debug)]
pub(super) struct BusyPoll {
    gap_max: Duration,
    requests: AtomicU64,
    asleep: AtomicBool,
    woken: Notify,
}

impl Default for BusyPoll {
    fn default() -> Self {
        Self::within(GAP_MAX)
    }
}

impl BusyPoll {
    fn within(gap_max: Duration) -> Self {
        Self {
            gap_max,
            requests: AtomicU64::new(0),
            asleep: AtomicBool::new(false),
            woken: Notify::new(),
        }
    }

    /// A request was read.
    pub(super) fn saw_request(&self) {
        // One thread: nobody adds to it meanwhile.
        let requests = self.requests.load(Ordering::Relaxed) + 1;
        self.requests.store(requests, Ordering::Relaxed);
        if self.asleep.load(Ordering::Relaxed) {
            self.asleep.store(false, Ordering::Relaxed);
            self.woken.notify_one();
        }
    }

    /// Keeps the thread awake while that pays: a task that always yields has the runtime look for
    /// what has become readable again and again, without waiting. Never done.
    pub(super) async fn run(&self) {
        let mut last = Instant::now();
        loop {
            self.asleep.store(true, Ordering::Relaxed);
            self.woken.notified().await;
            let gap = last.elapsed();
            last = Instant::now();
            if gap > self.gap_max {
                continue;
            }
            let mut seen = self.requests.load(Ordering::Relaxed);
            while last.elapsed() < self.gap_max {
                yield_now().await;
                let requests = self.requests.load(Ordering::Relaxed);
                if requests != seen {
                    (seen, last) = (requests, Instant::now());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::Arc;
    use std::task::{Context, Wake, Waker};

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicU64);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Polls `busy` until it sleeps, 100 times at most; how often it was awake.
    fn rounds_awake(busy: &BusyPoll, requests: u64) -> u64 {
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(woken.clone());
        let mut running = pin!(busy.run());
        let mut poll = || running.as_mut().poll(&mut Context::from_waker(&waker));
        assert!(poll().is_pending());
        assert_eq!(woken.0.load(Ordering::Relaxed), 0, "asleep at first");
        let mut rounds = 0;
        for _ in 0..requests {
            busy.saw_request();
        }
        while rounds < 100 && woken.0.swap(0, Ordering::Relaxed) > 0 {
            rounds += 1;
            assert!(poll().is_pending());
        }
        rounds
    }

    #[test]
    fn a_thread_stays_awake_after_requests_that_came_closely() {
        assert_eq!(rounds_awake(&BusyPoll::within(Duration::MAX), 0), 0);
        assert_eq!(rounds_awake(&BusyPoll::within(Duration::MAX), 2), 100);
    }

    #[test]
    fn a_thread_sleeps_between_requests_that_are_far_apart() {
        assert_eq!(rounds_awake(&BusyPoll::within(Duration::ZERO), 2), 1);
    }
}
