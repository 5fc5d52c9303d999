//! Measuring packet by packet: what was delivered between a packet's sending and its
//! acknowledgement (draft-ietf-ccwg-bbr, section 4.1).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Sending times that are remembered: a second of them, at one for each burst.
const SENT_MAX: usize = 4096;
/// The shortest of the round trips that were measured in this time, and of so many at least
/// (RFC 9406 has 8), counts as the present one: a scheduler's hiccup is no queue, nor is the
/// delay of an acknowledgement that had nothing to go with.
const RECENT: Duration = Duration::from_millis(8);
const RECENT_SAMPLES_MIN: usize = 8;
/// Most round trips that are remembered for it.
const RECENT_SAMPLES_MAX: usize = 1024;

/// What the newest packet of a run of acknowledgements tells.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) rate_bytes_s: f64,
    /// The shortest of late.
    pub(super) rtt: Duration,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Samples {
    delivered_bytes: u64,
    /// When something was sent, and what had been delivered by then.
    sent: VecDeque<(Instant, u64)>,
    newest_sent: Option<Instant>,
    /// When each was measured.
    rtts: VecDeque<(Instant, Duration)>,
}

impl Samples {
    pub(super) fn handle_sent(&mut self, now: Instant) {
        if self.sent.back().is_some_and(|(at, _)| *at == now) {
            return;
        }
        if self.sent.len() == SENT_MAX {
            self.sent.pop_front();
        }
        self.sent.push_back((now, self.delivered_bytes));
    }

    pub(super) fn handle_ack(&mut self, now: Instant, sent: Instant, bytes: u64) {
        self.delivered_bytes += bytes;
        self.newest_sent = self.newest_sent.max(Some(sent));
        let rtt = now.saturating_duration_since(sent);
        let is_old = |(at, _): &(Instant, Duration)| now.saturating_duration_since(*at) > RECENT;
        while self.rtts.len() >= RECENT_SAMPLES_MIN
            && (self.rtts.len() == RECENT_SAMPLES_MAX || self.rtts.front().is_some_and(is_old))
        {
            self.rtts.pop_front();
        }
        self.rtts.push_back((now, rtt));
    }

    /// Call at the end of a run of acknowledgements.
    pub(super) fn poll(&mut self, now: Instant) -> Option<Sample> {
        let newest = self.newest_sent?;
        while self.sent.front().is_some_and(|(at, _)| *at < newest) {
            self.sent.pop_front();
        }
        let (at, delivered_before) = *self.sent.front()?;
        let elapsed = now.saturating_duration_since(at);
        if at != newest || elapsed.is_zero() || self.rtts.len() < RECENT_SAMPLES_MIN {
            return None;
        }
        Some(Sample {
            rate_bytes_s: (self.delivered_bytes - delivered_before) as f64 / elapsed.as_secs_f64(),
            rtt: self.rtts.iter().map(|(_, rtt)| *rtt).min()?,
        })
    }
}
