//! Finding the rate.

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use super::rounds::Round;
use super::samples::Sample;
use super::{Model, Phase, Queue};

/// What each acknowledged byte adds to the window in start-up. How long the queue gets until it is
/// noticed grows with this and with the round trip, so the longer that is, the less: from 1, which
/// doubles the rate with each, to a half.
const STARTUP_GAIN: RangeInclusive<f64> = 0.5..=1.0;
/// Up to here it doubles in any case: a long link that holds less is slow, and seldom.
const STARTUP_QUICK_BYTES: u64 = 512 << 10;
/// The gain times the round trip, between these.
const STARTUP_OVERSHOOT: Duration = Duration::from_millis(75);
/// Start-up ends when the rate has grown less than this, for so many rounds.
const STARTUP_GROWTH: f64 = 1.25;
const STARTUP_FLAT_ROUNDS: u32 = 3;
/// Or when the round trip has grown by this part, and this much, and stays so this long and for so
/// many packets: a queue stands. A machine that was busy elsewhere makes round trips long, too, but
/// not for long.
const STARTUP_QUEUE: Queue = Queue {
    part: 1.0 / 20.0,
    min: Duration::from_millis(4),
};
const STARTUP_QUEUE_STANDS: Duration = Duration::from_millis(4);
const STARTUP_QUEUE_BYTES: u64 = 32 * 1452;

/// A queue that was seen: since when, and how much was acknowledged since.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Standing {
    since: Instant,
    acked_bytes: u64,
}

impl Standing {
    fn is_certain(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) >= STARTUP_QUEUE_STANDS
            && self.acked_bytes >= STARTUP_QUEUE_BYTES
    }
}

impl Model {
    /// A window that is not used does not grow (RFC 9002, section 7.8).
    pub(super) fn grow(&mut self, in_flight: u64, acked_bytes: u64) {
        let Some((rtt_min, _)) = self.rtt_min else {
            return;
        };
        if 2 * (in_flight + acked_bytes) >= self.window_bytes() {
            let (least, most) = (*STARTUP_GAIN.start(), *STARTUP_GAIN.end());
            let gain = match self.window_bytes() < STARTUP_QUICK_BYTES {
                true => most,
                false => STARTUP_OVERSHOOT
                    .div_duration_f64(rtt_min)
                    .clamp(least, most),
            };
            self.window_bytes += gain * acked_bytes as f64;
        }
    }

    /// Until a queue stands, or the rate no longer grows.
    pub(super) fn start_up(
        &mut self,
        now: Instant,
        round: Option<&Round>,
        newly_acked_bytes: u64,
    ) -> Phase {
        let Phase::Startup {
            mut best_rate,
            mut flat_rounds,
            mut queue,
        } = self.phase
        else {
            return self.phase;
        };
        if let Some(Sample { rate_bytes_s, rtt }) = self.samples.poll(now) {
            queue = self.is_queue(rtt, STARTUP_QUEUE).then(|| Standing {
                since: queue.map_or(now, |queue| queue.since),
                acked_bytes: queue.map_or(0, |queue| queue.acked_bytes) + newly_acked_bytes,
            });
            if queue.is_some_and(|queue| queue.is_certain(now)) {
                // This is as fast as it gets.
                self.rounds.remember(rate_bytes_s);
                return self.begin_drain();
            }
        }
        if let Some(round) = round {
            let grows = round.rate_bytes_s >= best_rate * STARTUP_GROWTH;
            flat_rounds = match grows || round.app_limited {
                true => 0,
                false => flat_rounds + 1,
            };
            best_rate = best_rate.max(round.rate_bytes_s);
        }
        match flat_rounds >= STARTUP_FLAT_ROUNDS {
            true => self.begin_drain(),
            false => Phase::Startup {
                best_rate,
                flat_rounds,
                queue,
            },
        }
    }

    /// The link is longer than it was, or others fill it: how fast it is now has to be found out.
    pub(super) fn start_again(&mut self) -> Phase {
        let rate = self.rounds.max_rate().unwrap_or(0.0);
        if let Some((rtt_min, _)) = self.rtt_min {
            self.window_bytes = rate * rtt_min.as_secs_f64();
        }
        Phase::Startup {
            best_rate: rate,
            flat_rounds: 0,
            queue: None,
        }
    }
}
