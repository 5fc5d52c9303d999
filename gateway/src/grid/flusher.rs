//! The thread that flushes: at every tick, or when woken.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::{Grid, now_ms};

/// From one walk over all names to the next.
const WALK_EVERY: Duration = Duration::from_secs(5);
/// Steps of 256 keys.
const EXPIRE_STEPS_PER_TICK: usize = 200;

/// What wakes the thread.
#[derive(Debug, Default)]
pub(super) struct Wake {
    asked: Mutex<Asked>,
    changed: Condvar,
}

#[derive(Debug, Default, Clone, Copy)]
struct Asked {
    flush: bool,
    stop: bool,
}

impl Wake {
    fn ask(&self, change: impl FnOnce(&mut Asked)) {
        change(&mut self.asked.lock());
        self.changed.notify_all();
    }
}

/// The running thread. Dropping it without [`Flusher::stop`] leaves it running.
#[derive(Debug)]
pub struct Flusher {
    grid: Arc<Grid>,
    thread: JoinHandle<()>,
}

impl Flusher {
    /// Starts the thread.
    pub fn spawn(grid: Arc<Grid>) -> std::io::Result<Self> {
        let own = grid.clone();
        let thread = std::thread::Builder::new()
            .name("grid-flush".to_owned())
            .spawn(move || own.flush_until_stopped())?;
        Ok(Self { grid, thread })
    }

    /// Flushes once more and ends the thread. Blocks for an fsync.
    pub fn stop(self) {
        self.grid.wake.ask(|asked| asked.stop = true);
        if self.thread.join().is_err() {
            tracing::error!("the thread that flushes the grid has panicked");
        }
    }
}

impl Grid {
    /// Wakes the thread that flushes, ahead of its tick.
    pub fn flush_soon(&self) {
        self.wake.ask(|asked| asked.flush = true);
    }

    fn flush_until_stopped(&self) {
        let mut walked = Instant::now();
        loop {
            let asked = self.wait_for_tick();
            self.expire();
            if let Err(error) = self.flush() {
                // The flush has logged it; only the last one is not repeated.
                if asked.stop {
                    tracing::error!(%error, "what was written last is not on disk");
                }
            }
            if asked.stop {
                return;
            }
            self.forget_in_turn(&mut walked);
        }
    }

    /// Goes on with the walk that forgets deleted counters, or begins the next a while after the last,
    /// which ended at `walked`.
    fn forget_in_turn(&self, walked: &mut Instant) {
        if self.go_on_forgetting() {
            *walked = Instant::now();
        } else if walked.elapsed() >= WALK_EVERY {
            *walked = Instant::now();
            self.begin_forgetting();
        }
    }

    /// Deletes keys whose deadline has passed, up to so many that the flush is not held up.
    fn expire(&self) {
        for _ in 0..EXPIRE_STEPS_PER_TICK {
            if !self.state.lock().expire_some(now_ms()) {
                return;
            }
        }
    }

    fn wait_for_tick(&self) -> Asked {
        let mut asked = self.wake.asked.lock();
        if !asked.flush && !asked.stop {
            self.wake
                .changed
                .wait_for(&mut asked, self.config.flush_interval);
        }
        let seen = *asked;
        asked.flush = false;
        seen
    }
}
