//! Measuring in rounds: what is delivered from one round trip to the next.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Shorter rounds measure the scheduler more than the link.
const ROUND_MIN: Duration = Duration::from_millis(5);
/// Rounds whose fastest counts as the link's rate.
const ROUNDS_REMEMBERED: usize = 10;
/// What is clearly faster.
const GROWTH: f64 = 1.03;

/// What one round saw.
#[derive(Clone, Copy, Debug)]
pub(super) struct Round {
    pub(super) rate_bytes_s: f64,
    /// Part of what was sent, 0 to 1.
    pub(super) lost: f64,
    pub(super) rtt_min: Duration,
    /// The sender had at times nothing to send: the link may be faster than measured.
    pub(super) app_limited: bool,
    /// It was clearly faster than all remembered ones.
    pub(super) has_grown: bool,
}

/// The round under way, and the fastest of the last ones.
#[derive(Clone, Debug, Default)]
pub(super) struct Rounds {
    started: Option<Instant>,
    delivered_bytes: u64,
    lost_bytes: u64,
    rtt_min: Option<Duration>,
    app_limited: bool,
    /// What was sent since is of the next round.
    is_over: bool,
    rates: VecDeque<f64>,
}

impl Rounds {
    pub(super) fn handle_ack(
        &mut self,
        now: Instant,
        sent: Instant,
        bytes: u64,
        app_limited: bool,
    ) {
        let rtt = now.saturating_duration_since(sent);
        self.rtt_min = Some(self.rtt_min.map_or(rtt, |min| min.min(rtt)));
        self.delivered_bytes += bytes;
        self.app_limited |= app_limited;
        self.is_over |= self.started.is_some_and(|started| sent >= started);
    }

    pub(super) fn handle_lost(&mut self, bytes: u64) {
        self.lost_bytes += bytes;
    }

    /// Call at the end of a run of acknowledgements; gives a round when one is over.
    pub(super) fn poll(&mut self, now: Instant, app_limited: bool) -> Option<Round> {
        let Some(started) = self.started else {
            // The first acknowledgements say when the first round begins, not how fast it is.
            self.begin(now, app_limited);
            return None;
        };
        let elapsed = now.saturating_duration_since(started);
        if !self.is_over || elapsed < ROUND_MIN {
            return None;
        }
        let sent_bytes = self.delivered_bytes + self.lost_bytes;
        let rate_bytes_s = self.delivered_bytes as f64 / elapsed.as_secs_f64();
        let round = Round {
            rate_bytes_s,
            has_grown: self
                .max_rate()
                .is_some_and(|max| rate_bytes_s > GROWTH * max),
            lost: self.lost_bytes as f64 / sent_bytes.max(1) as f64,
            rtt_min: self.rtt_min?,
            app_limited: self.app_limited,
        };
        let is_faster = self.max_rate().is_some_and(|max| rate_bytes_s > max);
        // A sender with little to say cannot make the link look slow, and does not push out
        // the rounds that know better.
        if !round.app_limited || is_faster {
            self.remember(rate_bytes_s);
        }
        self.begin(now, app_limited);
        Some(round)
    }

    fn begin(&mut self, now: Instant, app_limited: bool) {
        *self = Self {
            started: Some(now),
            app_limited,
            rates: std::mem::take(&mut self.rates),
            ..Self::default()
        };
    }

    pub(super) fn remember(&mut self, rate_bytes_s: f64) {
        if self.rates.len() == ROUNDS_REMEMBERED {
            self.rates.pop_front();
        }
        self.rates.push_back(rate_bytes_s);
    }

    pub(super) fn max_rate(&self) -> Option<f64> {
        self.rates.iter().copied().reduce(f64::max)
    }

    /// Forgets all but the last few rounds: the link has become slower.
    pub(super) fn forget_before(&mut self, rounds: usize) {
        let excess = self.rates.len().saturating_sub(rounds);
        self.rates.drain(..excess);
    }
}
