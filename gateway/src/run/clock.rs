//! Watches the machine's clock: that it was set is said, as deadlines and ids of logs go by it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use tracing::warn;

/// How often it is looked at.
const EVERY: Duration = Duration::from_secs(1);
/// Less than this is no step: clocks are kept right little by little.
const STEP_S_MIN: f64 = 1.0;
/// Both clocks are read within this, or once more.
const READ_WITHIN: Duration = Duration::from_millis(50);

/// Counts how often the machine's clock was set.
#[derive(Debug, Default)]
pub(super) struct ClockWatch {
    steps: AtomicU64,
}

impl ClockWatch {
    /// How often it was set since the start, by a second or more.
    pub(super) fn steps(&self) -> u64 {
        self.steps.load(Ordering::Relaxed)
    }

    /// Looks at it, for ever.
    pub(super) async fn run(self: Arc<Self>) {
        let mut before = None;
        loop {
            let now = Reading::take();
            if let (Some(before), Some(now)) = (before, now) {
                self.note(before, now);
            }
            before = now.or(before);
            tokio::time::sleep(EVERY).await;
        }
    }

    fn note(&self, before: Reading, now: Reading) {
        let by_s = before.step_s(now);
        if by_s.abs() >= STEP_S_MIN {
            self.steps.fetch_add(1, Ordering::Relaxed);
            warn!(
                by_s = (by_s * 1000.0).round() / 1000.0,
                "the clock of this machine was set: deadlines go by what it says now, ids of logs do not go back"
            );
        }
    }
}

/// What the machine's clock said at a moment of the one that nobody sets.
#[derive(Clone, Copy, Debug)]
struct Reading {
    said: SystemTime,
    at: Instant,
}

impl Reading {
    /// None where the thread was held up between the two.
    fn take() -> Option<Self> {
        let at = Instant::now();
        let said = SystemTime::now();
        (at.elapsed() < READ_WITHIN).then_some(Self { said, at })
    }

    /// By how many seconds the clock was set until `later`: ahead, or, negative, back.
    fn step_s(self, later: Self) -> f64 {
        let due = self.said + later.at.saturating_duration_since(self.at);
        match later.said.duration_since(due) {
            Ok(ahead) => ahead.as_secs_f64(),
            Err(back) => -back.duration().as_secs_f64(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_told_from_the_course_of_time() {
        let (watch, at, hour) = (
            ClockWatch::default(),
            Instant::now(),
            Duration::from_secs(3600),
        );
        let said = SystemTime::UNIX_EPOCH + 10 * hour;
        let start = Reading { said, at };
        let later = |said| Reading {
            said,
            at: at + hour,
        };
        assert_eq!(start.step_s(later(said)), -3600.0);
        assert_eq!(start.step_s(later(said + 3 * hour)), 7200.0);
        for (said, steps) in [
            (said + hour, 0),
            (said + hour + Duration::from_millis(900), 0),
            (said, 1),
            (said + hour - Duration::from_secs(2), 2),
        ] {
            watch.note(start, later(said));
            assert_eq!(watch.steps(), steps);
        }
    }
}
