//! What went wrong below all checks is found by comparing, named and mended.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

use redis::Commands;
use strait_tests::{
    Cable, Edit, Site, edit_journal, eventually, eventually_all_equal, eventually_equal_digests,
    join, newest_journal, pair_of_sites,
};

/// Counts under a key of its own, in a flush of its own.
fn count(site: &Site, key: &str, by: i64) {
    let () = site.redis().incr(key, by).unwrap();
    site.settle();
}

fn get(site: &Site, key: &str) -> Option<i64> {
    site.redis().get(key).unwrap()
}

fn linked(site: &Site) {
    eventually("the link is up", 20, || {
        (site.status()?["links"][0]["phase"] == "replicating").then_some(())
    });
}

/// Two sites that have told each other what they held: from here on a journal names a counter once
/// for each flush.
fn sites_in_step() -> (Site, Site, Cable) {
    let (east, west, cable) = pair_of_sites();
    for site in [&east, &west] {
        eventually("the peer has told what it held", 20, || {
            (site.status()?["links"][0]["heard_all"] == true).then_some(())
        });
    }
    (east, west, cable)
}

#[test]
fn what_a_journal_lost_without_a_trace_is_found_named_and_mended() {
    let (mut east, west, _cable) = sites_in_step();
    for key in ["before:key", "lost:key", "after:key"] {
        count(&east, key, 7);
    }
    count(&west, "west:key", 9);
    eventually_equal_digests(&east, &west, 30);
    east.stop();
    assert_eq!(edit_journal(&east.data(), b"lost:key", Edit::Remove), 1);
    assert_eq!(edit_journal(&east.data(), b"west:key", Edit::Remove), 1);
    count(&west, "meanwhile", 1);
    east.start();
    eventually("what is new comes by itself", 20, || {
        get(&east, "meanwhile")
    });
    assert_eq!(
        get(&east, "lost:key"),
        None,
        "nothing else says that it is missing"
    );

    let verify = east.strait(&["verify", "west"]);
    let said = String::from_utf8_lossy(&verify.stdout);
    assert!(
        !verify.status.success(),
        "it was not as it should be: {said}"
    );
    eprintln!("{said}{}", String::from_utf8_lossy(&verify.stderr));
    assert!(said.contains("mended here: lost:key of east#"), "{said}");
    assert_eq!(get(&east, "lost:key"), Some(7));
    eventually_equal_digests(&east, &west, 20);
    assert!(
        east.log_text()
            .contains("counters were lost or damaged and are mended")
    );
    assert!(east.metric("strait_grid_differences_total") >= 1.0);
    let again = east.must(&["verify", "west", "--json"]);
    let again: serde_json::Value = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!(again["mended_here"], 0);
    // And it stays: the journal holds it again.
    east.kill();
    east.start();
    assert_eq!(get(&east, "lost:key"), Some(7));
}

#[test]
fn a_sum_that_went_wrong_at_a_peer_is_put_right_by_its_origin() {
    let (east, mut west, _cable) = sites_in_step();
    count(&east, "bent:key", 5);
    count(&east, "after:key", 1);
    eventually_equal_digests(&east, &west, 30);
    west.stop();
    assert_eq!(edit_journal(&west.data(), b"bent:key", Edit::Sum(20)), 1);
    west.start();
    linked(&west);
    assert_eq!(get(&west, "bent:key"), Some(10), "the journal says so");
    let verify = west.strait(&["verify", "east"]);
    let said = String::from_utf8_lossy(&verify.stdout);
    assert!(!verify.status.success(), "{said}");
    eventually("west counts as east does", 20, || {
        (get(&west, "bent:key") == Some(5)).then_some(())
    });
    eventually_equal_digests(&east, &west, 20);
    assert_eq!(get(&east, "bent:key"), Some(5));
    assert!(east.metric("strait_grid_conflicts_total") >= 1.0);
}

#[test]
fn a_sum_that_went_wrong_at_a_hub_is_put_right_at_all_sites() {
    let [mut hub, mut east, mut west] = ["hub", "east", "west"].map(Site::new);
    let _cables = [join(&east, &hub), join(&west, &hub)];
    for site in [&mut hub, &mut east, &mut west] {
        site.start();
    }
    let heard_all = |site: &Site| {
        let status = site.status()?;
        let mut links = status["links"].as_array()?.iter();
        links.all(|link| link["heard_all"] == true).then_some(())
    };
    for site in [&hub, &east, &west] {
        eventually("peers have told what they held", 20, || heard_all(site));
    }
    count(&east, "bent:key", 5);
    count(&east, "after:key", 1);
    eventually_all_equal(&[&hub, &east, &west], 30);
    hub.stop();
    assert_eq!(edit_journal(&hub.data(), b"bent:key", Edit::Sum(20)), 1);
    hub.start();
    eventually("the links are up", 20, || heard_all(&hub));
    assert_eq!(get(&hub, "bent:key"), Some(10), "the journal says so");
    // Whom the hub asks first cannot tell which of the two is right; the origin can.
    for peer in ["west", "east"] {
        let verify = hub.strait(&["verify", peer]);
        let said = String::from_utf8_lossy(&verify.stdout);
        assert!(
            !verify.status.success(),
            "{peer} differs from the hub: {said}"
        );
    }
    eventually("all count as east does", 20, || {
        let all = [&hub, &east, &west].map(|site| get(site, "bent:key"));
        (all == [Some(5); 3]).then_some(())
    });
    eventually_all_equal(&[&hub, &east, &west], 20);
    for peer in ["west", "east"] {
        hub.must(&["verify", peer]);
    }
    assert!(east.metric("strait_grid_conflicts_total") >= 1.0);
}

#[test]
fn a_flipped_bit_in_the_journal_heals_from_the_peer_by_itself() {
    let (mut east, west, _cable) = sites_in_step();
    for key in ["before:key", "lost:key", "after:key"] {
        count(&east, key, 7);
    }
    count(&west, "west:key", 9);
    eventually_equal_digests(&east, &west, 30);
    count(&east, "between:key", 7);
    count(&east, "last:key", 1);
    eventually_equal_digests(&east, &west, 30);
    east.stop();
    assert_eq!(edit_journal(&east.data(), b"lost:key", Edit::FlipBit), 1);
    assert_eq!(edit_journal(&east.data(), b"west:key", Edit::FlipBit), 1);
    assert_eq!(edit_journal(&east.data(), b"last:key", Edit::FlipBit), 1);
    let damaged = newest_journal(&east.data());
    west.signal("STOP");
    east.start();
    assert_eq!(
        east.log_text().matches("put aside").count(),
        3,
        "it is named"
    );
    // Clients write before the peer can tell what was lost.
    for key in ["lost:key", "last:key"] {
        assert_eq!(get(&east, key), None);
        count(&east, key, 1);
        east.settle();
    }
    west.signal("CONT");
    eventually_equal_digests(&east, &west, 30);
    let held = ["lost:key", "last:key", "west:key"].map(|key| get(&east, key));
    assert_eq!(held, [Some(8), Some(2), Some(9)]);
    let quarantine = east.data().join("grid/quarantine");
    assert!(std::fs::read_dir(quarantine).unwrap().count() > 0);
    // The damage is not read a second time: the journal is rewritten without it.
    eventually("the damaged journal is gone", 20, || {
        (!damaged.exists()).then_some(())
    });
    east.kill();
    let log = east.log_text().len();
    east.start();
    assert!(!east.log_text()[log..].contains("put aside"));
}

#[test]
fn who_waits_for_a_peer_that_hangs_is_told() {
    let (east, west, _cable) = pair_of_sites();
    linked(&east);
    west.signal("STOP");
    let verify = east.strait(&["verify", "west", "--wait", "1"]);
    west.signal("CONT");
    let said = String::from_utf8_lossy(&verify.stderr);
    assert_eq!(verify.status.code(), Some(1));
    assert!(said.contains("the link to west is down"), "{said}");
    let unknown = east.strait(&["verify", "nosuch"]);
    let said = String::from_utf8_lossy(&unknown.stderr);
    assert!(
        said.contains("nosuch is no peer of this site; its peers: west"),
        "{said}"
    );
    let (code, _) = strait_tests::get(east.http, "/verify/nosuch").unwrap();
    assert_eq!(code, 405, "a page must not act");
    east.must(&["verify", "west"]);
}
