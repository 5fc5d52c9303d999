//! A clock that ran ahead is set right, and the gateway is killed.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

use std::collections::HashSet;
use std::time::Duration;

use redis::Commands;
use strait_tests::{Clock, Site, eventually};

fn append(site: &Site) -> Vec<String> {
    let mut redis = site.redis();
    let ids = (0..50).map(|n| redis.xadd("log", "*", &[("n", n)]).unwrap());
    ids.collect()
}

/// By milliseconds and sequence.
fn parsed(id: &str) -> (u64, u64) {
    let (ms, seq) = id.split_once('-').unwrap();
    (ms.parse().unwrap(), seq.parse().unwrap())
}

#[test]
fn ids_that_a_kill_took_back_are_given_to_no_other_entry() {
    let mut east = Site::new("east");
    let Some(clock) = Clock::of(&mut east) else {
        return;
    };
    clock.set_ahead(3600);
    // What is in memory stays there: only a kill looks at it.
    east.change_config("flush_ms = 50", "flush_ms = 10000");
    east.change_config("loss_window_ms = 1000", "loss_window_ms = 60000");
    east.start();
    let first: String = east.redis().xadd("log", "*", &[("n", 0)]).unwrap();
    east.settle();
    clock.set_ahead(0);
    eventually("the clock is set", 20, || {
        let (seconds, _): (u64, u64) = redis::cmd("TIME").query(&mut east.redis()).ok()?;
        (seconds * 1000 + 1_800_000 < parsed(&first).0).then_some(())
    });
    let given = append(&east);
    std::thread::sleep(Duration::from_millis(10));
    east.kill();
    east.start();
    let again = append(&east);
    let given: HashSet<_> = given.iter().map(|id| parsed(id)).collect();
    let twice = again.iter().filter(|id| given.contains(&parsed(id)));
    assert_eq!(twice.count(), 0, "of 50 ids");
    assert!(again.iter().all(|id| parsed(id) > parsed(&first)));
}
