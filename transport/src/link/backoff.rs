use std::time::Duration;

use rand::{Rng, RngExt};

const FIRST: Duration = Duration::from_millis(100);
/// Low: what heals must be found within two seconds, and a dial costs a few packets.
const MAX: Duration = Duration::from_millis(400);
/// Looking whether QUIC works again costs as little, but it may not for months.
const PROBE_FIRST: Duration = Duration::from_secs(2);
const PROBE_MAX: Duration = Duration::from_secs(60);
/// Where it answers and carries little, each look costs a new beginning.
const RETRIAL_FIRST: Duration = Duration::from_secs(60);
const RETRIAL_MAX: Duration = Duration::from_secs(3600);
/// How much later the end with the larger key dials again, so that both seldom meet half way.
const YIELD: Duration = Duration::from_millis(150);

/// How long to wait before each dial: doubling, with jitter.
#[derive(Debug)]
pub(super) struct Backoff {
    next: Duration,
    /// What it starts from, and goes back to.
    start: Duration,
    first: Duration,
    max: Duration,
    yields: bool,
}

impl Backoff {
    /// `yields`: the other end dials first.
    pub(super) fn new(yields: bool) -> Self {
        Self {
            next: Duration::ZERO,
            start: Duration::ZERO,
            first: FIRST,
            max: MAX,
            yields,
        }
    }

    /// Between two looks whether QUIC works again.
    pub(super) fn of_probes() -> Self {
        Self {
            next: PROBE_FIRST,
            start: PROBE_FIRST,
            first: PROBE_FIRST,
            max: PROBE_MAX,
            yields: false,
        }
    }

    /// Between two trials of a QUIC that answers and has let us down.
    pub(super) fn of_retrials() -> Self {
        Self {
            next: RETRIAL_FIRST,
            start: RETRIAL_FIRST,
            first: RETRIAL_FIRST,
            max: RETRIAL_MAX,
            yields: false,
        }
    }

    /// After a connection that was of use.
    pub(super) fn reset(&mut self) {
        self.next = self.start;
    }

    pub(super) fn next(&mut self, rng: &mut impl Rng) -> Duration {
        let base = self.next;
        self.next = (base * 2).clamp(self.first, self.max);
        let yielding = match self.yields && !base.is_zero() {
            true => YIELD,
            false => Duration::ZERO,
        };
        base.mul_f64(rng.random_range(0.5..1.0)) + yielding
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    #[test]
    fn grows_to_its_limit_and_starts_over() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut first = Backoff::new(false);
        assert_eq!(first.next(&mut rng), Duration::ZERO);
        let waits: Vec<_> = (0..20).map(|_| first.next(&mut rng)).collect();
        assert!(waits.iter().all(|wait| *wait < MAX));
        assert!(waits[19] >= MAX / 2);
        first.reset();
        assert_eq!(first.next(&mut rng), Duration::ZERO);
        let mut second = Backoff::new(true);
        assert_eq!(second.next(&mut rng), Duration::ZERO);
        assert!(second.next(&mut rng) >= YIELD);
        let mut probes = Backoff::of_probes();
        assert!(probes.next(&mut rng) >= PROBE_FIRST / 2);
        let waits: Vec<_> = (0..9).map(|_| probes.next(&mut rng)).collect();
        assert!((PROBE_MAX / 2..PROBE_MAX).contains(&waits[8]));
        let mut retrials = Backoff::of_retrials();
        assert!(retrials.next(&mut rng) >= RETRIAL_FIRST / 2);
        let waits: Vec<_> = (0..9).map(|_| retrials.next(&mut rng)).collect();
        assert!((RETRIAL_MAX / 2..RETRIAL_MAX).contains(&waits[8]));
    }
}
