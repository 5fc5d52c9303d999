//! Counters and logs of two sites, through a cut of the link.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

use redis::Commands;
use strait_tests::{Site, eventually, eventually_equal_digests, join, pair_of_sites};

const INCREMENTS: usize = 100_000;
const LINES: usize = 20_000;
const KEYS: usize = 1_000;

/// Increments `count` times, over all keys in turn, in pipelines of 500.
fn increment(site: &Site, from: usize, count: usize) {
    let mut redis = site.redis();
    for start in (from..from + count).step_by(500) {
        let mut pipe = redis::pipe();
        for n in start..start + 500 {
            pipe.incr(format!("banner:{:04}:impressions", n % KEYS), 1)
                .ignore();
        }
        pipe.exec(&mut redis).unwrap();
    }
}

/// Appends `count` numbered lines to the log `clicks`.
fn append(site: &Site, from: usize, count: usize) {
    let mut redis = site.redis();
    for start in (from..from + count).step_by(500) {
        let mut pipe = redis::pipe();
        for n in start..start + 500 {
            pipe.cmd("XADD")
                .arg("clicks")
                .arg("*")
                .arg("n")
                .arg(n)
                .ignore();
        }
        pipe.exec(&mut redis).unwrap();
    }
}

/// Reads a whole log: ids and numbers, in order.
fn lines(site: &Site, log: &str) -> Vec<(String, usize)> {
    let mut redis = site.redis();
    let reply: redis::streams::StreamRangeReply = redis.xrange_all(log).unwrap();
    reply
        .ids
        .into_iter()
        .map(|entry| {
            let n = entry.get("n").expect("each line has a number");
            (entry.id, n)
        })
        .collect()
}

#[test]
fn counters_and_logs_converge_through_a_cut() {
    let (east, west, cable) = pair_of_sites();
    let half = |site: &Site, part: usize| {
        increment(site, part * INCREMENTS / 2, INCREMENTS / 2);
        append(site, part * LINES / 2, LINES / 2);
    };
    std::thread::scope(|scope| {
        scope.spawn(|| half(&east, 0));
        scope.spawn(|| half(&west, 0));
    });
    cable.cut();
    std::thread::scope(|scope| {
        scope.spawn(|| half(&east, 1));
        scope.spawn(|| half(&west, 1));
    });
    cable.heal();
    eventually_equal_digests(&east, &west, 60);

    for site in [&east, &west] {
        let mut redis = site.redis();
        for key in 0..KEYS {
            let value: usize = redis.get(format!("banner:{key:04}:impressions")).unwrap();
            assert_eq!(value, 2 * INCREMENTS / KEYS, "key {key} at {}", site.name);
        }
    }
    for (origin, copy, name) in [(&east, &west, "east.clicks"), (&west, &east, "west.clicks")] {
        let written = lines(origin, "clicks");
        assert!(
            written.iter().map(|(_, n)| *n).eq(0..LINES),
            "every line once and in order at its origin"
        );
        assert_eq!(written, lines(copy, name), "same ids, same order");
    }
}

#[test]
fn writes_on_both_sides_of_a_cut_fold_together() {
    let (east, west, cable) = pair_of_sites();
    let (mut at_east, mut at_west) = (east.redis(), west.redis());
    let () = at_east.set("stock", 10).unwrap();
    let () = at_east.set("gone", 3).unwrap();
    eventually("the stock arrives", 20, || {
        let seen: (Option<i64>, Option<i64>) = at_west.mget(&["stock", "gone"]).unwrap();
        (seen == (Some(10), Some(3))).then_some(())
    });

    cable.cut();
    let () = at_east.set("stock", 100).unwrap();
    let () = at_west.incr("stock", 5).unwrap();
    let () = at_west.hincr("visits", "home", 3).unwrap();
    let () = at_east.hincr("visits", "home", 4).unwrap();
    let () = at_east.del("gone").unwrap();
    cable.heal();

    eventually_equal_digests(&east, &west, 30);
    for redis in [&mut at_east, &mut at_west] {
        let stock: i64 = redis.get("stock").unwrap();
        assert_eq!(stock, 105, "SET is a delta against the value seen");
        let visits: i64 = redis.hget("visits", "home").unwrap();
        assert_eq!(visits, 7);
        let gone: Option<i64> = redis.get("gone").unwrap();
        assert_eq!(gone, None);
    }
}

#[test]
fn wait_counts_the_sites_that_hold_a_write() {
    let (east, _west, cable) = pair_of_sites();
    let mut redis = east.redis();
    let mut wait = |timeout_ms: u64| -> i64 {
        let () = redis.incr("n", 1).unwrap();
        redis::cmd("WAIT")
            .arg(1)
            .arg(timeout_ms)
            .query(&mut redis)
            .unwrap()
    };
    assert_eq!(wait(20_000), 1);
    cable.cut();
    assert_eq!(wait(300), 0, "the peer is away");
    cable.heal();
    assert_eq!(wait(20_000), 1);
}

#[test]
fn a_log_of_a_peer_is_read_only() {
    let (east, west, _cable) = pair_of_sites();
    let () = east.redis().xadd("clicks", "*", &[("n", "1")]).unwrap();
    eventually("the line arrives", 20, || {
        (lines(&west, "east.clicks").len() == 1).then_some(())
    });
    let refused: redis::RedisResult<String> = west.redis().xadd("east.clicks", "*", &[("n", "2")]);
    let error = refused.unwrap_err().to_string();
    assert!(error.contains("east"), "names the origin: {error}");
}

/// 400 bytes that compress to half.
fn noise(seed: usize) -> String {
    let mut random = seed as u64 * 2 + 1;
    let mut word = || {
        random = random.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
        format!("{random:016x}")
    };
    (0..25).map(|_| word()).collect()
}

#[test]
fn a_counter_does_not_wait_behind_a_backlog_of_logs() {
    const BACKLOG: usize = 30_000;
    let (mut east, mut west) = (Site::new("east"), Site::new("west"));
    let cable = join(&east, &west);
    // Of the peer, the last section.
    east.configure("rate = \"8Mbit/s\"\n");
    east.start();
    west.start();
    let (mut at_east, mut at_west) = (east.redis(), west.redis());
    cable.cut();
    for start in (0..BACKLOG).step_by(500) {
        let mut pipe = redis::pipe();
        for n in start..start + 500 {
            pipe.xadd("clicks", "*", &[("text", noise(n))]).ignore();
        }
        pipe.exec(&mut at_east).unwrap();
    }
    cable.heal();
    let mut there = || -> usize { at_west.xlen("east.clicks").unwrap() };
    eventually("the backlog begins to arrive", 60, || {
        (there() > 0).then_some(())
    });
    let () = at_east.incr("urgent", 1).unwrap();
    let mut redis = west.redis();
    eventually("the counter arrives", 60, || {
        let urgent: Option<i64> = redis.get("urgent").unwrap();
        urgent
    });
    let there = there();
    assert!(there < BACKLOG / 2, "{there} entries went before it");
    // In a session of its own the rest is a catch-up.
    west.kill();
    west.start();
    for site in [&east, &west] {
        eventually("the link is up again", 20, || {
            (site.status()?["links"][0]["phase"] == "replicating").then_some(())
        });
    }
    for (site, peer) in [(&west, "east"), (&east, "west")] {
        let verify = site.strait(&["verify", peer, "--wait", "0"]);
        let said = String::from_utf8_lossy(&verify.stderr);
        let there: usize = west.redis().xlen("east.clicks").unwrap();
        if there < BACKLOG {
            assert!(!verify.status.success(), "entries are on their way: {said}");
            assert!(said.contains("still catching up"), "{said}");
        }
    }
    eventually_equal_digests(&east, &west, 60);
    for (site, peer) in [(&west, "east"), (&east, "west")] {
        site.must(&["verify", peer]);
    }
}

#[test]
fn a_site_that_falls_behind_does_not_wait_until_the_other_has_caught_up() {
    const BACKLOG: usize = 40_000;
    const BEHIND: usize = 16_000;
    let (mut east, mut west) = (Site::new("east"), Site::new("west"));
    let cable = join(&east, &west);
    for site in [&east, &west] {
        site.configure("rate = \"8Mbit/s\"\n");
    }
    // A sixteenth of it is for flushes that the peer has not seen yet.
    west.change_config(
        "memory_bytes_max = \"1GiB\"",
        "memory_bytes_max = \"16MiB\"",
    );
    west.change_config("on_full = \"refuse\"", "on_full = \"spill\"");
    east.start();
    west.start();
    let add = |site: &Site, lines: usize| {
        let mut redis = site.redis();
        for start in (0..lines).step_by(500) {
            let mut pipe = redis::pipe();
            for n in start..start + 500 {
                pipe.xadd("clicks", "*", &[("text", noise(n))]).ignore();
            }
            pipe.exec(&mut redis).unwrap();
        }
    };
    let there = |site: &Site, log: &str| -> usize { site.redis().xlen(log).unwrap() };
    cable.cut();
    add(&east, BACKLOG);
    cable.heal();
    eventually("the backlog begins to arrive", 60, || {
        (there(&west, "east.clicks") > 0).then_some(())
    });
    // Too far behind for single flushes now, west asks east what it holds.
    add(&west, BEHIND);
    eventually("the other way goes on", 60, || {
        (there(&east, "west.clicks") == BEHIND).then_some(())
    });
    let there = there(&west, "east.clicks");
    assert!(there < BACKLOG, "all of the backlog went before");
}
