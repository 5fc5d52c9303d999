//! What a network between two sites may do to them: one scenario a file, each in network
//! namespaces of its own. Needs root, iproute2 and nftables; says SKIPPED without.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod black_hole;
mod frozen;
mod lossy;
mod moved;
mod one_way;
mod udp_blocked;
mod udp_starved;
mod udp_trickles;

use std::time::{Duration, Instant};

use redis::Commands;
use strait_tests::{Lab, Side, Site, eventually, eventually_equal_digests};

/// Both sites, running; east dials.
fn sites(lab: &Lab) -> (Site, Site) {
    let (mut east, mut west) = (Site::in_lab(lab, Side::East), Site::in_lab(lab, Side::West));
    east.pair_with(&west, Some(west.link));
    west.pair_with(&east, None);
    west.start();
    east.start();
    (east, west)
}

/// The time until the link is carried so, at most `seconds`.
fn carried_by(site: &Site, transport: Option<&str>, seconds: u64) -> Duration {
    let start = Instant::now();
    let what = format!("{}'s link is carried by {transport:?}", site.name);
    eventually(&what, seconds, || {
        let link = site.link_status()?;
        (link["transport"].as_str() == transport).then_some(())
    });
    start.elapsed()
}

/// Counts at both sites and waits until both have all of it, exactly.
fn count_everywhere(east: &Site, west: &Site, seconds: u64) {
    for site in [east, west] {
        let mut redis = site.redis();
        let mut pipe = redis::pipe();
        for n in 0..2000 {
            pipe.incr(format!("key:{}", n % 500), 1).ignore();
        }
        pipe.exec(&mut redis).unwrap();
    }
    eventually_equal_digests(east, west, seconds);
}

/// What every key must be after so many times [`count_everywhere`].
fn assert_counted(site: &Site, times: i64) {
    let mut redis = site.redis();
    for key in [0, 250, 499] {
        let value: i64 = redis.get(format!("key:{key}")).unwrap();
        assert_eq!(value, 8 * times, "at {}", site.name);
    }
}
