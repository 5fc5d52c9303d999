//! Wrong passwords: how many one address may try, or one user of a unix socket.
//!
//! It begins with ten tries and is given another one each second. Who has used them up is
//! refused before the password is looked at, so that neither the answer nor its time tells anything.

use std::num::NonZero;
use std::time::{Duration, Instant};

use lru::LruCache;

use super::address::Origin;

/// Wrong passwords that an address may send at once.
const TRIES_MAX: u32 = 10;
/// After so long it may send one more.
const TRY_EVERY: Duration = Duration::from_secs(1);
/// Addresses that are remembered: some 100 bytes each.
const ADDRESSES_MAX: NonZero<usize> = NonZero::<usize>::MIN.saturating_add(4095);

/// The addresses that sent wrong passwords lately.
#[derive(Debug)]
pub(super) struct Attempts {
    /// When each of them has all its tries again.
    forgiven: LruCache<Origin, Instant>,
}

impl Default for Attempts {
    fn default() -> Self {
        Self {
            forgiven: LruCache::new(ADDRESSES_MAX),
        }
    }
}

impl Attempts {
    /// Whether a password from `origin` is looked at now; if not, how long until one is.
    pub(super) fn check(&mut self, origin: Origin, now: Instant) -> Result<(), Duration> {
        let Some(forgiven) = self.forgiven.peek(&origin) else {
            return Ok(());
        };
        let owed = forgiven.saturating_duration_since(now);
        let most = TRY_EVERY * (TRIES_MAX - 1);
        match owed.checked_sub(most) {
            Some(wait) if !wait.is_zero() => Err(wait),
            Some(_) | None => Ok(()),
        }
    }

    /// A password from `origin` was wrong.
    pub(super) fn failed(&mut self, origin: Origin, now: Instant) {
        let forgiven = self.forgiven.get_or_insert_mut(origin, || now);
        *forgiven = (*forgiven).max(now) + TRY_EVERY;
    }
}

#[cfg(test)]
mod tests {
    use super::super::address::ClientAddress;
    use super::*;

    fn origin(address: &str) -> Origin {
        ClientAddress::Net(address.parse().unwrap()).origin()
    }

    #[test]
    fn ten_at_once_then_one_each_second() {
        let mut attempts = Attempts::default();
        let start = Instant::now();
        let address = origin("[2001:db8:0:1::1]:1");
        for _ in 0..10 {
            assert_eq!(attempts.check(address, start), Ok(()));
            attempts.failed(address, start);
        }
        let neighbour = origin("[2001:db8:0:1::2]:9");
        let other = origin("[2001:db8:0:2::1]:1");
        assert_eq!(attempts.check(neighbour, start), Err(TRY_EVERY));
        assert_eq!(attempts.check(other, start), Ok(()));
        assert_eq!(attempts.check(address, start + TRY_EVERY), Ok(()));
        attempts.failed(address, start + TRY_EVERY);
        assert!(attempts.check(address, start + TRY_EVERY).is_err());
        assert_eq!(attempts.check(address, start + 20 * TRY_EVERY), Ok(()));
    }

    #[test]
    fn no_more_addresses_are_remembered_than_the_bound() {
        let mut attempts = Attempts::default();
        for n in 0..10_000_u32 {
            let address = ClientAddress::Net((n.to_be_bytes(), 1).into());
            attempts.failed(address.origin(), Instant::now());
        }
        assert_eq!(attempts.forgiven.len(), ADDRESSES_MAX.get());
    }
}
