//! Time: the wall clock, and the hybrid logical clock that orders presence across sites
//! (Kulkarni et al., "Logical Physical Clocks", 2014).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970 by the machine's clock.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(0))
}

/// The next millisecond, once it has begun: who asks later gets a later one, though the clock be read by
/// another process. Blocks for that long; if the clock steps back meanwhile, it is what it says then.
pub(super) fn next_ms() -> u64 {
    let asked = now_ms();
    loop {
        std::thread::sleep(Duration::from_micros(100));
        let now = now_ms();
        if now != asked {
            return now;
        }
    }
}

/// Readings above this (the year 6429) are refused, of peers and of a journal. So none is given
/// either: at the end of time the clock stands still.
pub(super) const HLC_MAX: u64 = 1 << 63;

/// The hybrid clock: 48 bits of milliseconds, 16 bits that count within one.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct HybridClock {
    last: u64,
}

impl HybridClock {
    /// The next reading: after every one given or seen before, near `now_ms` where possible.
    pub(super) fn tick(&mut self, now_ms: u64) -> u64 {
        self.last = (self.last + 1)
            .max(now_ms.min(HLC_MAX >> 16) << 16)
            .min(HLC_MAX);
        self.last
    }

    /// Somebody else's reading, at most [`HLC_MAX`].
    pub(super) fn observe(&mut self, reading: u64) {
        self.last = self.last.max(reading);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_millisecond_is_given_twice() {
        let mut given: Vec<_> = (0..20).map(|_| next_ms()).collect();
        given.dedup();
        assert_eq!(given.len(), 20);
    }

    #[test]
    fn the_clock_never_goes_back() {
        let mut clock = HybridClock::default();
        let first = clock.tick(1000);
        assert_eq!(first, 1000 << 16);
        let second = clock.tick(10); // the machine's clock stepped back
        assert!(second > first);
        clock.observe(5000 << 16);
        assert!(clock.tick(1001) > 5000 << 16);
        clock.observe(HLC_MAX);
        assert_eq!(clock.tick(u64::MAX), HLC_MAX);
    }
}
