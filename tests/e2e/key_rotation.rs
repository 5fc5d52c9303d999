//! The drill of docs/OPERATING.md, "Exchange a site's key", while both sites write.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use redis::Commands;
use strait_tests::{Site, eventually, eventually_equal_digests, pair_of_sites};

fn handovers(site: &Site) -> u64 {
    site.link_status()
        .map_or(0, |l| l["handovers"].as_u64().unwrap())
}

/// One site goes over to another key, step by step.
fn rotate(site: &Site, peer: &Site) {
    let before = handovers(peer);
    let token = site.token_of(&["key", "next"]);
    peer.must(&["pair", &token, "--next"]);
    assert_eq!(site.token_of(&["key", "rotate"]), token);
    eventually("the link goes over to the new key", 20, || {
        (handovers(peer) > before).then_some(())
    });
    peer.must(&["pair", &token, "--replace"]);
    let key = token.split(':').nth(2).unwrap().to_owned();
    eventually("the old key is forgotten", 10, || {
        let link = peer.link_status()?;
        (link["key"] == key.as_str()).then_some(())
    });
}

/// Ends the writers, also when a step fails.
struct Writing<'a>(&'a AtomicBool);

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn keys_are_exchanged_while_both_sites_write() {
    let (mut east, west, _cable) = pair_of_sites();
    let first_key = east.status().unwrap()["gateway"]["key"].clone();
    assert!(!east.strait(&["key", "rotate"]).status.success());
    let (done, written) = (AtomicBool::new(false), AtomicI64::new(0));
    eventually("both ends have the link up", 20, || {
        let up = |site: &Site| {
            site.link_status()
                .is_some_and(|link| link["phase"] == "replicating")
        };
        (up(&east) && up(&west)).then_some(())
    });
    std::thread::scope(|scope| {
        let writing = Writing(&done);
        for site in [&east, &west] {
            scope.spawn(|| {
                let mut redis = site.redis();
                while !done.load(Ordering::Relaxed) {
                    let () = redis.incr("n", 1).unwrap();
                    written.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        rotate(&east, &west);
        rotate(&west, &east);
        drop(writing);
    });
    eventually_equal_digests(&east, &west, 20);
    let n: i64 = west.redis().get("n").unwrap();
    assert_eq!(n, written.load(Ordering::Relaxed));
    for site in [&east, &west] {
        let link = site.link_status().unwrap();
        assert_eq!(link["reconnects"], 0, "there was no gap: {link}");
    }
    let key = east.status().unwrap()["gateway"]["key"].clone();
    assert_ne!(key, first_key);

    // And after a restart, with the new keys alone.
    assert!(east.stop().status.success());
    east.start();
    let () = east.redis().incr("n", 1).unwrap();
    eventually_equal_digests(&east, &west, 20);
}
