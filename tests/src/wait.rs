//! Waiting for what must come true, with a bound.

use std::time::{Duration, Instant};

use crate::Site;

/// Waits until `check` answers, at most `seconds`; panics with `what` otherwise.
pub fn eventually<T>(what: &str, seconds: u64, mut check: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(seconds);
    loop {
        if let Some(result) = check() {
            return result;
        }
        assert!(Instant::now() < deadline, "not within {seconds} s: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Waits until all sites' digests of their whole state are equal.
pub fn eventually_all_equal(sites: &[&Site], seconds: u64) -> String {
    eventually("all sites' digests are equal", seconds, || {
        let digests: Option<Vec<_>> = sites.iter().map(|site| site.digest()).collect();
        let digests = digests?;
        let equal = digests.windows(2).all(|two| two[0] == two[1]);
        equal.then(|| digests.into_iter().next())?
    })
}

/// Waits until both sites' digests of their whole state are equal.
pub fn eventually_equal_digests(left: &Site, right: &Site, seconds: u64) -> String {
    eventually_all_equal(&[left, right], seconds)
}
