//! Three and four sites: a mesh, a hub, a diamond; with links that break.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

use std::time::{Duration, Instant};

use redis::Commands;
use strait_tests::{Site, eventually, eventually_all_equal, join};

/// Every site counts the same key and appends to its own log.
fn write_at_each(sites: &[&Site], rounds: std::ops::Range<usize>) {
    std::thread::scope(|scope| {
        for site in sites {
            let rounds = rounds.clone();
            scope.spawn(move || {
                let mut redis = site.redis();
                for n in rounds {
                    let () = redis.incr("hits", 1).unwrap();
                    let () = redis.hincr("by:site", &site.name, 1).unwrap();
                    let () = redis.xadd("clicks", "*", &[("n", n)]).unwrap();
                }
            });
        }
    });
}

/// All sites hold `rounds` writes of each, and each log in order under its origin's name.
fn check(sites: &[&Site], rounds: usize) {
    eventually_all_equal(sites, 40);
    for site in sites {
        let mut redis = site.redis();
        let hits: usize = redis.get("hits").unwrap();
        assert_eq!(hits, rounds * sites.len(), "counted once, at {}", site.name);
        for origin in sites {
            let log = match origin.name == site.name {
                true => "clicks".to_owned(),
                false => format!("{}.clicks", origin.name),
            };
            let entries: redis::streams::StreamRangeReply = redis.xrange_all(&log).unwrap();
            let numbers = entries.ids.iter().map(|entry| entry.get("n").unwrap());
            let numbers: Vec<usize> = numbers.collect();
            assert!(
                numbers.into_iter().eq(0..rounds),
                "{log} at {} is not what was written",
                site.name
            );
        }
    }
}

/// Records that a site merged, from all its peers, once no more come: what is news to nobody may
/// still be on its way when all agree.
fn applied_at_rest(site: &Site) -> u64 {
    const QUIET: Duration = Duration::from_secs(1);
    let (mut last, mut since) = (u64::MAX, Instant::now());
    eventually("no more records come", 30, || {
        let applied = site.status()?["grid"]["applied_records_total"].as_u64();
        let applied = applied.expect("a number");
        if applied != last {
            (last, since) = (applied, Instant::now());
        }
        (since.elapsed() >= QUIET).then_some(applied)
    })
}

/// All of a site's links are up.
fn linked(site: &Site) {
    eventually("all links are up", 30, || {
        let status = site.status()?;
        let mut links = status["links"].as_array().expect("a list").iter();
        links
            .all(|link| link["phase"] == "replicating")
            .then_some(())
    });
}

#[test]
fn a_mesh_passes_on_only_what_a_broken_link_would_have_carried() {
    let [mut east, mut west, mut north] = ["east", "west", "north"].map(Site::new);
    let cable = join(&east, &west);
    let _others = (join(&east, &north), join(&west, &north));
    for site in [&mut east, &mut west, &mut north] {
        site.start();
    }
    let sites = [&east, &west, &north];
    write_at_each(&sites, 0..200);
    check(&sites, 200);

    // Whole: what east writes crosses to north once, not again by way of west.
    sites.iter().for_each(|site| linked(site));
    let before = applied_at_rest(&north);
    for _ in 0..20 {
        let () = east.redis().incr("only:east", 1).unwrap();
        std::thread::sleep(Duration::from_millis(20));
    }
    eventually_all_equal(&sites, 20);
    let crossed = applied_at_rest(&north) - before;
    assert!(crossed <= 20, "{crossed} records for 20 writes");

    // With the cable between east and west cut, north passes on.
    cable.cut();
    eventually("east notices", 30, || {
        let phase = &east.status()?["links"][0]["phase"];
        (phase != "replicating").then_some(())
    });
    let () = east.redis().incr("through:north", 5).unwrap();
    let () = east.redis().xadd("clicks", "*", &[("n", 200)]).unwrap();
    eventually("north passes on what east wrote", 30, || {
        let mut redis = west.redis();
        let seen: Option<i64> = redis.get("through:north").unwrap();
        let lines: usize = redis.xlen("east.clicks").unwrap();
        (seen == Some(5) && lines == 201).then_some(())
    });
    cable.heal();
    eventually_all_equal(&sites, 30);
}

#[test]
fn a_hub_passes_everything_on_through_cuts_and_its_own_restart() {
    let [mut hub, mut east, mut west] = ["hub", "east", "west"].map(Site::new);
    let (first, second) = (join(&east, &hub), join(&west, &hub));
    for site in [&mut hub, &mut east, &mut west] {
        site.start();
    }
    write_at_each(&[&hub, &east, &west], 0..100);
    first.cut();
    write_at_each(&[&hub, &east, &west], 100..200);
    first.heal();
    second.cut();
    // What the hub wrote last is to be on its disk; its clients were promised no more.
    hub.settle();
    hub.kill();
    hub.start();
    second.heal();
    check(&[&hub, &east, &west], 200);
}

#[test]
fn a_diamond_counts_once_what_comes_over_two_ways() {
    let [mut top, mut left, mut right, mut bottom] =
        ["top", "left", "right", "bottom"].map(Site::new);
    let cables = [
        join(&top, &left),
        join(&top, &right),
        join(&left, &bottom),
        join(&right, &bottom),
    ];
    for site in [&mut top, &mut left, &mut right, &mut bottom] {
        site.start();
    }
    let sites = [&top, &left, &right, &bottom];
    write_at_each(&sites, 0..100);
    cables[0].cut();
    write_at_each(&sites, 100..200);
    cables[3].cut();
    cables[0].heal();
    write_at_each(&sites, 200..300);
    cables[3].heal();
    check(&sites, 300);
    // Nothing goes round.
    applied_at_rest(&bottom);
}
