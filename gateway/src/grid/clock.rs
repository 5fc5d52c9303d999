//! Time: the wall clock, and the hybrid logical clock that orders presence across sites
//! (Kulkarni et al., "Logical Physical Clocks", 2014).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970 by the machine's clock.
pub(crate) fn now_ms() -> u64 {
    #[cfg(test)]
    if let Some(now) = simulated::now_ms() {
        return now;
    }
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(0))
}

/// The next millisecond, once it has begun: who asks later gets a later one, though the clock be read by
/// another process. Blocks for that long; if the clock steps back meanwhile, it is what it says then.
pub(super) fn next_ms() -> u64 {
    #[cfg(test)]
    if let Some(now) = simulated::next_ms() {
        return now;
    }
    let asked = now_ms();
    loop {
        std::thread::sleep(Duration::from_micros(100));
        let now = now_ms();
        if now != asked {
            return now;
        }
    }
}

/// The clock of a simulation, for its thread alone.
#[cfg(test)]
pub(super) mod simulated {
    use std::cell::Cell;

    thread_local! {
        static NOW_MS: Cell<Option<u64>> = const { Cell::new(None) };
    }

    pub(in crate::grid) fn set(now_ms: Option<u64>) {
        NOW_MS.set(now_ms);
    }

    pub(super) fn now_ms() -> Option<u64> {
        NOW_MS.get()
    }

    pub(in crate::grid) fn next_ms() -> Option<u64> {
        NOW_MS.set(NOW_MS.get().map(|now| now + 1));
        NOW_MS.get()
    }
}

/// Readings above this (the year 6429) are refused, of peers and of a journal. So none is given
/// either: at the end of time the clock stands still.
pub(super) const HLC_MAX: u64 = 1 << 63;
/// How far a peer's reading may be ahead of this machine's clock. One from the end of time would
/// otherwise stop the hybrid clock of every site that it reaches.
pub(super) const AHEAD_MAX_MS: u64 = 24 * 3_600_000;
/// Sites whose hybrid clock is further ahead than that already, since a machine's clock was once set
/// wrong, go on together: a reading may be so far ahead of their own.
const BEYOND_MS: u64 = 3_600_000;

/// Milliseconds as a reading, within what readings may be.
fn reading_of(ms: u64) -> u64 {
    ms.min(HLC_MAX >> 16) << 16
}

/// The hybrid clock: 48 bits of milliseconds, 16 bits that count within one.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct HybridClock {
    last: u64,
}

impl HybridClock {
    /// The next reading: after every one given or seen before, near `now_ms` where possible.
    pub(super) fn tick(&mut self, now_ms: u64) -> u64 {
        self.last = (self.last + 1).max(reading_of(now_ms)).min(HLC_MAX);
        self.last
    }

    /// The highest reading that is taken of a peer.
    pub(super) fn taken_to(&self, now_ms: u64) -> u64 {
        let ahead = reading_of(now_ms.saturating_add(AHEAD_MAX_MS));
        match self.last > ahead {
            true => (self.last + (BEYOND_MS << 16)).min(HLC_MAX),
            false => ahead,
        }
    }

    /// The last reading that was given or seen.
    pub(super) fn last(&self) -> u64 {
        self.last
    }

    /// Somebody else's reading, at most [`HLC_MAX`].
    pub(super) fn observe(&mut self, reading: u64) {
        self.last = self.last.max(reading);
    }
}

#[cfg(test)]
impl super::Grid {
    /// As if this machine's clock had been so far ahead.
    pub(crate) fn set_clock_ahead(&self, by: Duration) {
        let by_ms = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        let reading = reading_of(now_ms().saturating_add(by_ms));
        self.lock().clock.observe(reading);
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

    #[test]
    fn readings_are_taken_up_to_a_day_ahead_and_from_sites_that_are_ahead_together() {
        let (mut clock, now) = (HybridClock::default(), 1_800_000_000_000);
        assert_eq!(clock.taken_to(now), (now + AHEAD_MAX_MS) << 16);
        // However often a peer says the highest that is taken, it gets no further.
        for _ in 0..100 {
            clock.observe(clock.taken_to(now));
        }
        assert_eq!(clock.taken_to(now), (now + AHEAD_MAX_MS) << 16);
        // A clock that was set wrong by ten years once, here and at a peer.
        clock.observe((now + 3650 * AHEAD_MAX_MS) << 16);
        let peers = clock;
        for _ in 0..10_000 {
            clock.tick(now);
        }
        assert!(clock.tick(now) <= peers.taken_to(now));
        assert_eq!(clock.taken_to(u64::MAX), HLC_MAX);
    }
}
