//! Counters that were deleted are forgotten at every site, and none of them comes back: not after a kill, not
//! with a site that was away, or that was no peer for a while.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

use std::process::Command;

use redis::Commands;
use strait_tests::{Cable, Site, eventually, eventually_all_equal, join, pair_of_sites};

const KEYS: usize = 2000;

fn name(n: usize) -> String {
    format!("banner:2026-11-30:{n}")
}

/// One command for each of the counters.
fn each(site: &Site, command: &str) {
    let mut pipe = redis::pipe();
    for n in 0..KEYS {
        pipe.cmd(command).arg(name(n)).ignore();
    }
    pipe.exec(&mut site.redis()).unwrap();
}

fn value(site: &Site, key: &str) -> Option<i64> {
    site.redis().get(key).unwrap()
}

fn forgotten(site: &Site) -> f64 {
    site.metric("strait_grid_forgotten_keys_total")
}

/// Waits until every site has forgotten so many keys since its start, and holds none that is deleted.
fn wait_until_forgotten(sites: &[&Site], keys: usize) {
    for site in sites {
        let what = format!("{} forgets what was deleted", site.name);
        eventually(&what, 60, || {
            let dead = site.metric("strait_grid_dead_keys");
            (forgotten(site) >= keys as f64 && dead == 0.0).then_some(())
        });
    }
}

/// Waits until every site knows what the others hold: one key is deleted, and forgotten everywhere.
fn wait_until_heard(sites: &[&Site]) {
    let () = sites[0].redis().incr("first", 1).unwrap();
    let () = sites[0].redis().del("first").unwrap();
    wait_until_forgotten(sites, 1);
}

/// Waits until every site keeps all the counters, deleted, for a site that does not know of it.
fn wait_until_kept(sites: &[&Site]) {
    for site in sites {
        let what = format!("{} keeps what was deleted", site.name);
        eventually(&what, 60, || {
            (site.metric("strait_grid_dead_keys") == KEYS as f64).then_some(())
        });
        assert_eq!(forgotten(site), 1.0, "nothing but the first key");
    }
}

fn keys(site: &Site) -> usize {
    redis::cmd("DBSIZE").query(&mut site.redis()).unwrap()
}

/// Three sites, each with two peers. The cables of north come last.
fn three_sites() -> ([Site; 3], [Cable; 3]) {
    let mut sites = ["east", "west", "north"].map(Site::new);
    let [east, west, north] = &sites;
    let cables = [join(east, west), join(east, north), join(west, north)];
    for site in &mut sites {
        site.start();
    }
    wait_until_heard(&sites.each_ref());
    (sites, cables)
}

#[test]
fn deleted_counters_are_forgotten_at_both_sites_and_count_from_0_again() {
    let (east, west, _cable) = pair_of_sites();
    each(&east, "INCR");
    each(&west, "INCR");
    eventually_all_equal(&[&east, &west], 30);
    each(&east, "DEL");
    wait_until_forgotten(&[&east, &west], KEYS);
    assert_eq!((keys(&east), keys(&west)), (0, 0));
    each(&west, "INCR");
    each(&east, "INCR");
    eventually_all_equal(&[&east, &west], 30);
    for site in [&east, &west] {
        assert_eq!(keys(site), KEYS);
        assert!(
            [0, 1, KEYS - 1]
                .map(name)
                .iter()
                .all(|key| value(site, key) == Some(2))
        );
    }
    east.must(&["verify", "west"]);
}

#[test]
fn what_a_killed_site_had_is_forgotten_when_it_is_back() {
    let (east, mut west, _cable) = pair_of_sites();
    wait_until_heard(&[&east, &west]);
    each(&east, "INCR");
    each(&west, "INCR");
    west.settle();
    eventually_all_equal(&[&east, &west], 30);
    west.kill();
    each(&east, "DEL");
    wait_until_kept(&[&east]);
    west.start();
    wait_until_forgotten(&[&east, &west], KEYS);
    west.kill();
    west.start();
    eventually_all_equal(&[&east, &west], 30);
    assert_eq!((keys(&east), keys(&west)), (0, 0));
    let () = west.redis().incr(name(0), 1).unwrap();
    eventually("the next life comes to the other site", 30, || {
        (value(&east, &name(0)) == Some(1)).then_some(())
    });
    eventually_all_equal(&[&east, &west], 30);
}

#[test]
fn a_site_that_is_away_holds_up_what_is_forgotten_and_brings_nothing_back() {
    let ([east, west, north], [_between, to_east, to_west]) = three_sites();
    each(&east, "INCR");
    each(&north, "INCR");
    eventually_all_equal(&[&east, &west, &north], 30);
    to_east.cut();
    to_west.cut();
    each(&west, "DEL");
    wait_until_kept(&[&east, &west]);
    // Later than the deletion, and without knowing of it.
    let () = north.redis().incr("north:own", 7).unwrap();
    let () = north.redis().incr(name(0), 5).unwrap();
    north.settle();
    to_east.heal();
    to_west.heal();
    wait_until_forgotten(&[&east, &west, &north], KEYS - 1);
    eventually_all_equal(&[&east, &west, &north], 30);
    for site in [&east, &west, &north] {
        assert_eq!(keys(site), 2);
        assert_eq!(value(site, "north:own"), Some(7));
        assert_eq!(value(site, &name(0)), Some(5), "what nobody saw stays");
    }
    east.must(&["verify", "north"]);
}

/// Takes the section of a peer, the last one, out of the configuration while the gateway runs.
fn remove_last_peer(site: &Site, peer: &str) {
    let config = std::fs::read_to_string(site.config()).unwrap();
    let (before, section) = config.rsplit_once("[[peer]]").unwrap();
    assert!(section.contains(peer));
    std::fs::write(site.config(), before).unwrap();
    site.must(&["reload"]);
}

#[test]
fn a_peer_that_was_removed_holds_nothing_up_and_is_swept_when_it_is_added_again() {
    let ([mut east, mut west, mut north], _cables) = three_sites();
    each(&east, "INCR");
    each(&north, "INCR");
    let () = north.redis().incr("north:own", 7).unwrap();
    eventually_all_equal(&[&east, &west, &north], 30);
    assert!(north.stop().status.success());
    each(&west, "DEL");
    wait_until_kept(&[&east, &west]);
    remove_last_peer(&east, "north");
    remove_last_peer(&west, "north");
    wait_until_forgotten(&[&east, &west], KEYS);

    for site in [&mut east, &mut west] {
        site.pair_with(&north, Some(north.link));
        assert!(site.stop().status.success());
        site.start();
    }
    north.start();
    eventually_all_equal(&[&east, &west, &north], 60);
    for site in [&east, &west, &north] {
        assert_eq!((keys(site), value(site, "north:own")), (1, Some(7)));
    }
    wait_until_forgotten(&[&east, &west, &north], KEYS);
    each(&north, "INCR");
    eventually_all_equal(&[&east, &west, &north], 30);
    assert_eq!(value(&east, &name(1)), Some(1));
    north.must(&["verify", "east"]);
}

/// A site whose data directory and gateway are of the release before.
fn site_of_the_release_before(name: &str) -> Site {
    let before = std::env::var_os("STRAIT_BINARY_BEFORE").unwrap();
    let mut site = Site::new(name);
    std::fs::remove_dir_all(site.data()).unwrap();
    let mut init = Command::new(&before);
    init.arg("--data").arg(site.data());
    init.args(["init", "--site", name, "--link"])
        .arg(site.link.to_string());
    init.arg("--grid").arg(site.grid.to_string());
    init.arg("--http").arg(site.http.to_string());
    assert!(init.output().unwrap().status.success());
    site.set_gateway(Some(before.into()));
    site
}

#[test]
#[ignore = "needs a gateway of wire version 4 in STRAIT_BINARY_BEFORE"]
fn nothing_is_forgotten_while_a_peer_is_of_the_release_before() {
    let (mut east, mut west) = (Site::new("east"), site_of_the_release_before("west"));
    let _cable = join(&east, &west);
    east.start();
    west.start();
    each(&east, "INCR");
    each(&west, "INCR");
    let agree = |shown: Option<i64>| {
        eventually("both sites show the same", 30, || {
            let all = [0, KEYS - 1].map(name);
            let same = |site| all.iter().all(|key| value(site, key) == shown);
            (same(&east) && same(&west)).then_some(())
        });
        east.must(&["verify", "west"]);
    };
    agree(Some(2));
    each(&east, "DEL");
    agree(None);
    eventually("a site makes no statements", 30, || {
        (east.metric("strait_grid_dead_keys_kept_for_sites") == 1.0).then_some(())
    });
    assert_eq!(forgotten(&east), 0.0);
    each(&west, "INCR");
    agree(Some(1));
    each(&west, "DEL");
    agree(None);
    assert_eq!(forgotten(&east), 0.0);

    west.set_gateway(None);
    assert!(west.stop().status.success());
    west.start();
    wait_until_forgotten(&[&east, &west], KEYS);
    each(&west, "INCR");
    eventually_all_equal(&[&east, &west], 30);
    assert_eq!(value(&east, &name(0)), Some(1));
}
