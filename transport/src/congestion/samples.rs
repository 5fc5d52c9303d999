//! Measuring packet by packet: what was delivered between a packet's sending and its
//! acknowledgement (draft-ietf-ccwg-bbr, section 4.1).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Sending times that are remembered: a second of them, at one for each burst.
const SENT_MAX: usize = 4096;
/// The shortest round trip of the last fifth of one, and of so long at least, counts as the
/// present one: a scheduler's hiccup is no queue.
const RECENT_PART: u32 = 5;
const RECENT_MIN: Duration = Duration::from_millis(8);
/// Most round trips that are remembered for it.
const RECENT_MAX: usize = 1024;

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
    /// Round trips reach back far enough.
    is_full: bool,
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
        let recent = RECENT_MIN.max(rtt / RECENT_PART);
        let is_old = |(at, _): &(Instant, Duration)| now.saturating_duration_since(*at) > recent;
        while self.rtts.len() == RECENT_MAX || self.rtts.front().is_some_and(is_old) {
            self.rtts.pop_front();
            self.is_full = true;
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
        if at != newest || elapsed.is_zero() || !self.is_full {
            return None;
        }
        Some(Sample {
            rate_bytes_s: (self.delivered_bytes - delivered_before) as f64 / elapsed.as_secs_f64(),
            rtt: self.rtts.iter().map(|(_, rtt)| *rtt).min()?,
        })
    }
}
