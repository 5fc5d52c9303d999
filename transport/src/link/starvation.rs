//! Notices a path that lets so little through that another is worth a try.

use std::time::{Duration, Instant};

/// Less than this is a trickle: 256 kbit/s.
const TRICKLE_BYTES_S: f64 = 32e3;
/// So much that waits means that a byte takes two seconds at a trickle, and not that there is
/// little to send.
const WAITING_BYTES: u64 = 64 << 10;
/// How long it must be so.
const AFTER: Duration = Duration::from_secs(5);
/// A peer that answers nothing for so long is not starved but gone, or its link cut.
const SILENCE: Duration = Duration::from_secs(1);

/// A path at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Progress {
    /// Sent so far, less what was lost.
    pub(super) delivered_bytes: u64,
    /// Handed to the path, and not acknowledged.
    pub(super) waiting_bytes: u64,
    /// Since the peer last answered.
    pub(super) silent: Duration,
}

/// Since when enough has waited all the time, and how much was delivered by then.
#[derive(Debug, Default)]
pub(super) struct Starvation {
    since: Option<(Instant, u64)>,
}

impl Starvation {
    /// Whether the path starves us. To be asked many times a second.
    pub(super) fn poll(&mut self, now: Instant, progress: Progress) -> bool {
        if progress.waiting_bytes < WAITING_BYTES || progress.silent > SILENCE {
            self.since = None;
            return false;
        }
        let delivered = progress.delivered_bytes;
        let (since, before) = *self.since.get_or_insert((now, delivered));
        let elapsed = now.saturating_duration_since(since);
        if elapsed < AFTER {
            return false;
        }
        let is_trickle =
            (delivered.saturating_sub(before) as f64) < TRICKLE_BYTES_S * elapsed.as_secs_f64();
        if !is_trickle {
            self.since = Some((now, delivered));
        }
        is_trickle
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a path is found to starve within a minute that delivers so many bytes a second
    /// while so many wait, and whose peer is silent for so long now and then.
    fn starves(bytes_s: u64, waiting_bytes: u64, silent: Duration) -> bool {
        let start = Instant::now();
        let mut starvation = Starvation::default();
        (0..60 * 20).any(|tick| {
            let at = Duration::from_millis(50 * tick);
            let progress = Progress {
                delivered_bytes: bytes_s * at.as_millis() as u64 / 1000,
                waiting_bytes,
                silent: match tick % 60 {
                    0 => silent,
                    _ => Duration::ZERO,
                },
            };
            starvation.poll(start + at, progress)
        })
    }

    #[test]
    fn a_trickle_starves_only_what_waits_for_it() {
        let (much, little) = (1 << 20, 10_000);
        assert!(starves(16_000, much, Duration::ZERO));
        assert!(starves(0, much, Duration::ZERO));
        assert!(
            !starves(40_000, much, Duration::ZERO),
            "slow, and no trickle"
        );
        assert!(
            !starves(16_000, little, Duration::ZERO),
            "there is little to send"
        );
        let gone = Duration::from_secs(2);
        assert!(!starves(16_000, much, gone), "it is cut now and then");
    }
}
