//! How fast a class may go, where that is said.

use std::time::{Duration, Instant};

/// A class's allowance, in bytes of encoded batches with their headers: a batch goes once those
/// before it have had their time. Pure.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Allowance {
    /// `None`: any. 0: nothing goes.
    bits_s: Option<u64>,
    /// When what has gone has had its time.
    free_at: Option<Instant>,
}

impl Allowance {
    pub(super) fn set(&mut self, bits_s: Option<u64>) {
        if self.bits_s != bits_s {
            *self = Self {
                bits_s,
                free_at: None,
            };
        }
    }

    pub(super) fn is_open(&self, now: Instant) -> bool {
        self.bits_s != Some(0) && self.free_at.is_none_or(|at| at <= now)
    }

    /// When it opens, if it is closed and time alone opens it.
    pub(super) fn opens_at(&self, now: Instant) -> Option<Instant> {
        self.free_at.filter(|at| *at > now)
    }

    pub(super) fn spend(&mut self, now: Instant, bytes: usize) {
        if let Some(bits_s) = self.bits_s.filter(|bits_s| *bits_s > 0) {
            let takes = Duration::from_secs_f64(bytes as f64 * 8.0 / bits_s as f64);
            self.free_at = Some(self.free_at.map_or(now, |at| at.max(now)) + takes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_much_goes_as_is_allowed() {
        let start = Instant::now();
        let mut allowance = Allowance::default();
        allowance.spend(start, 1 << 30);
        assert!(allowance.is_open(start));
        allowance.set(Some(8_000_000));
        let (mut now, mut sent) = (start, 0);
        while now < start + Duration::from_secs(10) {
            match allowance.opens_at(now) {
                Some(at) => now = at,
                None => {
                    allowance.spend(now, 200_000);
                    sent += 200_000;
                }
            }
        }
        assert!((10_000_000..=10_200_000).contains(&sent), "{sent}");
        allowance.set(Some(0));
        assert!(!allowance.is_open(now) && allowance.opens_at(now).is_none());
        allowance.set(None);
        assert!(allowance.is_open(now));
    }
}
