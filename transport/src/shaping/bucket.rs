use std::time::{Duration, Instant};

/// A token bucket that lends: who finds any credit may take what it needs, and all wait until
/// that is paid back.
#[derive(Clone, Debug)]
pub(super) struct Bucket {
    rate_bytes_s: f64,
    credit_bytes_max: f64,
    credit_bytes: f64,
    at: Instant,
}

impl Bucket {
    /// Saves up what `burst` is worth at most.
    pub(super) fn new(rate_bytes_s: f64, burst: Duration, now: Instant) -> Self {
        Self {
            rate_bytes_s: rate_bytes_s.max(1.0),
            credit_bytes_max: rate_bytes_s * burst.as_secs_f64(),
            credit_bytes: 0.0,
            at: now,
        }
    }

    /// How long until there is credit; `None`: there is.
    pub(super) fn wait(&mut self, now: Instant) -> Option<Duration> {
        let earned = now.saturating_duration_since(self.at).as_secs_f64() * self.rate_bytes_s;
        self.credit_bytes = (self.credit_bytes + earned).min(self.credit_bytes_max);
        self.at = self.at.max(now);
        let debt = -self.credit_bytes;
        (debt > 0.0).then(|| Duration::from_secs_f64(debt / self.rate_bytes_s))
    }

    pub(super) fn take(&mut self, bytes: u64) {
        self.credit_bytes -= bytes as f64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lends_and_waits_for_the_rate() {
        let start = Instant::now();
        let mut bucket = Bucket::new(1000.0, Duration::from_millis(100), start);
        let mut now = start;
        let mut sent = 0;
        while now < start + Duration::from_secs(10) {
            match bucket.wait(now) {
                Some(wait) => now += wait + Duration::from_micros(1),
                None => {
                    bucket.take(150);
                    sent += 150;
                }
            }
        }
        assert!((9_900..=10_300).contains(&sent), "{sent}");
        // A pause saves up no more than the burst.
        now += Duration::from_secs(100);
        assert_eq!(bucket.wait(now), None);
        bucket.take(100);
        assert!(bucket.wait(now).is_none());
        bucket.take(1);
        assert!(bucket.wait(now).is_some());
    }
}
