//! Peers that come and go in `strait.toml` while the gateway runs.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

use redis::Commands;
use serde_json::Value;
use strait_tests::{Site, eventually, eventually_all_equal, eventually_equal_digests, join};

/// The links of a site, by peer.
fn link(site: &Site, peer: &str) -> Option<Value> {
    let status = site.status().unwrap();
    let links = status["links"].as_array().unwrap();
    links.iter().find(|link| link["peer"] == peer).cloned()
}

/// The configuration without the section of this peer, which is its last.
fn remove_last_peer(site: &Site, peer: &str) {
    let config = std::fs::read_to_string(site.config()).unwrap();
    let (before, section) = config.rsplit_once("[[peer]]").unwrap();
    assert!(section.contains(peer));
    std::fs::write(site.config(), before).unwrap();
}

#[test]
fn a_peer_is_removed_at_once_and_added_at_the_next_start() {
    let [mut east, mut west, mut north] = ["east", "west", "north"].map(Site::new);
    let _cables = (join(&east, &west), join(&north, &west));
    for site in [&mut west, &mut east, &mut north] {
        site.start();
    }
    let () = north.redis().incr("n", 1).unwrap();
    eventually_all_equal(&[&east, &west, &north], 20);

    remove_last_peer(&west, "north");
    west.must(&["reload"]);
    eventually("north has no link any more", 10, || {
        link(&west, "north").is_none().then_some(())
    });
    eventually("north is told why", 10, || {
        let error = link(&north, "west")?["last_error"].clone();
        let told = error.as_str()?.contains("does not know this gateway's key");
        told.then_some(())
    });
    eventually("it is logged", 10, || {
        west.log_text().contains("link is closed").then_some(())
    });
    let () = north.redis().incr("n", 1).unwrap();
    let () = east.redis().incr("n", 10).unwrap();
    eventually_equal_digests(&east, &west, 20);
    let n: i64 = west.redis().get("n").unwrap();
    assert_eq!(n, 11, "nothing of north's since");
    assert_eq!(link(&west, "east").unwrap()["reconnects"], 0);

    west.pair_with(&north, None);
    west.must(&["reload"]);
    eventually("it is said when north has a link again", 10, || {
        let log = west.log_text();
        log.contains("from the next start on").then_some(())
    });
    assert!(west.stop().status.success());
    west.start();
    eventually_all_equal(&[&east, &west, &north], 20);
    let n: i64 = west.redis().get("n").unwrap();
    assert_eq!(n, 12);
}
