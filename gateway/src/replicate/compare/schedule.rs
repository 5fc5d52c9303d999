//! When a peer is compared: by schedule, whatever becomes of sessions, and soon where our disk may have
//! lost what the peer holds.

use std::time::{Duration, Instant};

use crate::grid::LogDepth;

/// How long a doubt is left alone that a comparison did not end, at first and at last.
const RETRY: Duration = Duration::from_secs(5);
const RETRY_MAX: Duration = Duration::from_secs(600);

/// Kept across the sessions of a link.
#[derive(Debug)]
pub(super) struct Schedule {
    /// Between two comparisons; none: only on demand, and in doubt.
    every: Option<Duration>,
    /// When the last one began, or the gateway started.
    last: Instant,
    /// What a doubt waits for that the last comparison did not end.
    retry: Option<(Instant, Duration)>,
}

/// What is known of a link at a moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing {
    /// This site is the one of the two that compares by schedule.
    pub(super) is_first: bool,
    /// Our disk may have lost what the peer holds.
    pub(super) is_doubtful: bool,
    /// What one of the two lacks is on its way.
    pub(super) is_catching_up: bool,
}

impl Schedule {
    pub(super) fn new(every: Option<Duration>, now: Instant) -> Self {
        Self {
            every,
            last: now,
            retry: None,
        }
    }

    /// What is to be compared now, if anything is.
    pub(super) fn due(&self, standing: Standing, now: Instant) -> Option<LogDepth> {
        let rests = self.retry.is_some_and(|(until, _)| now < until);
        if standing.is_doubtful && !standing.is_catching_up && !rests {
            return Some(LogDepth::Disk);
        }
        let every = self.every.filter(|_| standing.is_first)?;
        (now.saturating_duration_since(self.last) >= every).then_some(LogDepth::Memory)
    }

    /// A comparison begins. In doubt the next one comes later each time.
    pub(super) fn begun(&mut self, is_doubtful: bool, now: Instant) {
        self.last = now;
        self.retry = is_doubtful.then(|| {
            let wait = self
                .retry
                .map_or(RETRY, |(_, wait)| (wait * 2).min(RETRY_MAX));
            (now + wait, wait)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const QUIET: Standing = Standing {
        is_first: true,
        is_doubtful: false,
        is_catching_up: false,
    };

    #[test]
    fn a_schedule_goes_on_across_sessions_and_one_of_the_two_keeps_it() {
        let begun = Instant::now();
        let mut schedule = Schedule::new(Some(HOUR), begun);
        // However many sessions there were by then.
        assert_eq!(schedule.due(QUIET, begun + HOUR / 2), None);
        assert_eq!(schedule.due(QUIET, begun + HOUR), Some(LogDepth::Memory));
        let other = Standing {
            is_first: false,
            ..QUIET
        };
        assert_eq!(schedule.due(other, begun + HOUR), None);
        schedule.begun(false, begun + HOUR);
        assert_eq!(schedule.due(QUIET, begun + HOUR * 2 - RETRY), None);
        assert_eq!(Schedule::new(None, begun).due(QUIET, begun + HOUR), None);
    }

    #[test]
    fn a_doubt_is_looked_into_at_once_and_then_less_and_less_often() {
        let begun = Instant::now();
        let mut schedule = Schedule::new(None, begun);
        let doubtful = Standing {
            is_first: false,
            is_doubtful: true,
            is_catching_up: true,
        };
        assert_eq!(schedule.due(doubtful, begun), None, "it is on its way");
        let in_step = Standing {
            is_catching_up: false,
            ..doubtful
        };
        assert_eq!(schedule.due(in_step, begun), Some(LogDepth::Disk));
        let (mut now, mut waits) = (begun, Vec::new());
        for _ in 0..10 {
            schedule.begun(true, now);
            let before = now;
            while schedule.due(in_step, now).is_none() {
                now += RETRY;
            }
            waits.push(now - before);
        }
        assert_eq!(waits[..3], [RETRY, RETRY * 2, RETRY * 4]);
        assert_eq!(waits[9], RETRY_MAX);
        schedule.begun(false, now);
        assert_eq!(schedule.due(in_step, now), Some(LogDepth::Disk));
    }
}
