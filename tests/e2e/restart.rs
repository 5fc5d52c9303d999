//! What a gateway knows after it ended, cleanly or not.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

use redis::Commands;
use strait_tests::{Site, eventually, eventually_equal_digests, pair_of_sites};

#[test]
fn a_clean_restart_loses_nothing() {
    let (mut east, west, _cable) = pair_of_sites();
    let mut redis = east.redis();
    let mut last_id = String::new();
    for n in 0..500 {
        let () = redis.incr("hits", 1).unwrap();
        let () = redis.hincr("pages", format!("page-{}", n % 7), 2).unwrap();
        last_id = redis.xadd("clicks", "*", &[("n", n)]).unwrap();
    }
    // Straight after the last reply: nothing may depend on a pause.
    let exit = east.stop();
    assert!(exit.status.success(), "a stop is not a failure: {exit:?}");
    east.start();

    let mut redis = east.redis();
    let hits: i64 = redis.get("hits").unwrap();
    assert_eq!(hits, 500);
    let pages: std::collections::HashMap<String, i64> = redis.hgetall("pages").unwrap();
    assert_eq!(pages.values().sum::<i64>(), 1000);
    let lines: usize = redis.xlen("clicks").unwrap();
    assert_eq!(lines, 500);
    let next_id: String = redis.xadd("clicks", "*", &[("n", "501")]).unwrap();
    assert!(order(&next_id) > order(&last_id), "ids never go back");
    eventually_equal_digests(&east, &west, 30);
}

#[test]
fn a_killed_gateway_comes_back_and_both_sites_agree() {
    let (mut east, mut west, _cable) = pair_of_sites();
    for round in 0..3 {
        let mut redis = east.redis();
        for n in 0..300 {
            let () = redis.incr("hits", 1).unwrap();
            let () = redis.xadd("clicks", "*", &[("n", n)]).unwrap();
        }
        let () = west.redis().incr("hits", 1000).unwrap();
        if round == 1 {
            west.kill();
            west.start();
        }
        east.kill();
        east.start();
    }
    eventually_equal_digests(&east, &west, 30);
    let ids: redis::streams::StreamRangeReply = west.redis().xrange_all("east.clicks").unwrap();
    let ids: Vec<_> = ids.ids.iter().map(|entry| order(&entry.id)).collect();
    assert!(ids.is_sorted() && ids.windows(2).all(|pair| pair[0] != pair[1]));
}

#[test]
fn a_site_that_was_away_catches_up() {
    let (east, mut west, _cable) = pair_of_sites();
    let mut redis = east.redis();
    let () = redis.incr("hits", 1).unwrap();
    west.stop();
    for _ in 0..2000 {
        let () = redis.incr("hits", 1).unwrap();
    }
    let () = redis.xadd("clicks", "*", &[("n", "1")]).unwrap();
    west.start();
    eventually("the peer has it all", 30, || {
        let hits: Option<i64> = west.redis().get("hits").unwrap();
        (hits == Some(2001)).then_some(())
    });
    eventually_equal_digests(&east, &west, 30);
}

#[test]
fn a_directory_put_back_from_an_older_copy_costs_nothing_that_the_peer_holds() {
    let (mut east, west, cable) = pair_of_sites();
    let write = |site: &Site, times: usize| {
        let mut redis = site.redis();
        for n in 0..times {
            let () = redis.incr("hits", 1).unwrap();
            let () = redis.xadd("clicks", "*", &[("n", n)]).unwrap();
        }
    };
    write(&east, 10);
    eventually_equal_digests(&east, &west, 30);
    east.stop();
    let copy = east.data().with_extension("copy");
    copy_over(&east.data(), &copy);
    east.start();
    write(&east, 20);
    eventually_equal_digests(&east, &west, 30);
    east.kill();
    cable.cut();
    copy_over(&copy, &east.data());
    east.start();
    // More flushes than were lost.
    for _ in 0..30 {
        write(&east, 1);
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    cable.heal();
    for site in [&east, &west] {
        eventually("every count is there", 30, || {
            let hits: i64 = site.redis().get("hits").unwrap();
            (hits == 60).then_some(())
        });
    }
    assert!(east.log_text().contains("that its journal lost"));
    assert!(east.metric("strait_grid_own_from_peers_total") > 0.0);
    // Entries come back when the two are compared.
    eventually("the entries are back", 30, || {
        east.strait(&["verify", "west"]);
        let lines: usize = east.redis().xlen("clicks").unwrap();
        (lines == 60).then_some(())
    });
    eventually_equal_digests(&east, &west, 30);
}

/// Puts a copy of one directory in the place of another.
fn copy_over(from: &std::path::Path, to: &std::path::Path) {
    drop(std::fs::remove_dir_all(to));
    let mut copy = std::process::Command::new("cp");
    assert!(copy.arg("-a").args([from, to]).status().unwrap().success());
}

/// An entry id as numbers.
fn order(id: &str) -> (u64, u64) {
    let (ms, seq) = id.split_once('-').unwrap();
    (ms.parse().unwrap(), seq.parse().unwrap())
}

#[test]
fn a_site_that_was_rebuilt_gets_its_counters_and_logs_back() {
    let (mut east, mut west, _cable) = pair_of_sites();
    let mut redis = east.redis();
    for n in 0..100 {
        let () = redis.incr("hits", 1).unwrap();
        let () = redis.xadd("clicks", "*", &[("n", n)]).unwrap();
    }
    let () = west.redis().incr("hits", 1000).unwrap();
    let before = eventually_equal_digests(&east, &west, 30);

    // East burns down: a new machine, a new key, the old name.
    east.kill();
    let address = west.link;
    let mut east = Site::new("east");
    west.stop();
    west.replace_pair(&east);
    east.pair_with(&west, Some(address));
    west.start();
    east.start();

    assert_eq!(eventually_equal_digests(&east, &west, 30), before);
    let hits: i64 = east.redis().get("hits").unwrap();
    assert_eq!(hits, 1100);
    let lines: usize = east.redis().xlen("clicks").unwrap();
    assert_eq!(lines, 100, "its own log, from the peer");
    let () = east.redis().incr("hits", 1).unwrap();
    let () = east.redis().xadd("clicks", "*", &[("n", 100)]).unwrap();
    eventually_equal_digests(&east, &west, 30);
    let hits: i64 = west.redis().get("hits").unwrap();
    assert_eq!(hits, 1101, "the new life adds to the old one");
}

#[test]
fn a_rebuilt_site_that_wrote_too_early_does_not_harm_its_peer() {
    let (mut east, mut west, _cable) = pair_of_sites();
    for n in 0..100 {
        let () = east.redis().xadd("clicks", "*", &[("n", n)]).unwrap();
    }
    eventually_equal_digests(&east, &west, 30);
    east.kill();
    let address = west.link;
    let mut east = Site::new("east");
    east.start();
    let () = east.redis().xadd("clicks", "*", &[("n", 100)]).unwrap();
    east.stop();
    west.stop();
    west.replace_pair(&east);
    east.pair_with(&west, Some(address));
    west.start();
    east.start();
    let () = east.redis().incr("hits", 1).unwrap();
    eventually("counters cross all the same", 20, || {
        let hits: Option<i64> = west.redis().get("hits").unwrap();
        (hits == Some(1)).then_some(())
    });
    eventually("the peer keeps both lives of the log", 20, || {
        let kept: usize = west.redis().xlen("east.clicks").unwrap();
        (kept == 101).then_some(())
    });
    let gaps = west.status().unwrap()["links"][0]["streams"][1]["gaps"].clone();
    assert!(
        gaps.as_u64().unwrap() < 5,
        "and does not ask for ever: {gaps}"
    );
}
