//! Two data directories of the release before, paired and written to, go on with this one.
//!
//! `tests/fixtures/release-0.1.0.tar.zst` holds `east` and `west` as that release left them when it
//! was stopped: counters, a hash, a deleted counter, one with a deadline, a trimmed log of which most
//! is on disk, snapshots and a history.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

use std::fs;
use std::net::SocketAddr;

use redis::Commands;
use strait_tests::{Site, eventually, eventually_equal_digests};

const FIXTURE: &[u8] = include_bytes!("../fixtures/release-0.1.0.tar.zst");

/// A site with the data directory of the release before. Each old port of `moved` gets a new address.
fn site(name: &str, moved: impl FnOnce(&Site) -> Vec<(u16, SocketAddr)>) -> Site {
    let site = Site::new(name);
    fs::remove_dir_all(site.data()).unwrap();
    let home = site.data().parent().unwrap().to_owned();
    let mut archive = tar::Archive::new(zstd::Decoder::new(FIXTURE).unwrap());
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        if entry.path().unwrap().starts_with(name) {
            entry.unpack_in(&home).unwrap();
        }
    }
    fs::rename(home.join(name), site.data()).unwrap();
    for (old, address) in moved(&site) {
        site.change_config(&format!("127.0.0.1:{old}"), &address.to_string());
    }
    site
}

#[test]
fn its_directories_are_read_and_its_sites_stay_in_step() {
    let mut west = site("west", |west| {
        vec![(17540, west.link), (16391, west.grid), (17541, west.http)]
    });
    let mut east = site("east", |east| {
        let own = [(17440, east.link), (16390, east.grid), (17441, east.http)];
        own.into_iter().chain([(17540, west.link)]).collect()
    });
    east.start();
    west.start();
    for (site, clicks) in [(&east, "clicks"), (&west, "east.clicks")] {
        let mut redis = site.redis();
        let counters: Vec<Option<i64>> = redis.mget(&["hits", "both", "set", "kept"]).unwrap();
        assert_eq!(counters, [Some(6050), Some(-1), Some(7), Some(1)]);
        let gone: Option<i64> = redis.get("gone").unwrap();
        assert_eq!(gone, None);
        let stats: i64 = redis.hget("stats", "f19").unwrap();
        assert_eq!(stats, 19);
        let deadline: i64 = redis.expire_time("kept").unwrap();
        assert_eq!(deadline, 4_102_444_800);
        let entries: redis::streams::StreamRangeReply = redis.xrange_all(clicks).unwrap();
        let ids: Vec<_> = entries.ids.iter().map(|entry| &entry.id[..]).collect();
        assert_eq!((ids.len(), ids[0], ids[8899]), (8900, "1101-2", "10000-0"));
    }
    // A write at each site, on a counter that both hold and on one that was deleted.
    let () = east.redis().incr("hits", 1).unwrap();
    let () = west.redis().incr("hits", 1).unwrap();
    let () = west.redis().incr("gone", 5).unwrap();
    let id: String = east.redis().xadd("clicks", "*", &[("n", 1)]).unwrap();
    let read = |site: &Site| {
        let mut redis = site.redis();
        let values: Vec<Option<i64>> = redis.mget(&["hits", "gone"]).unwrap();
        values
    };
    eventually("writes cross", 30, || {
        let both = [read(&east), read(&west)];
        (both == [[Some(6052), Some(5)], [Some(6052), Some(5)]]).then_some(())
    });
    eventually_equal_digests(&east, &west, 30);
    let last: redis::streams::StreamRangeReply = west
        .redis()
        .xrevrange_count("east.clicks", "+", "-", 1)
        .unwrap();
    assert_eq!(last.ids[0].id, id);
    east.must(&["verify", "west"]);
    // The counters of a snapshot of that release are there too.
    let listed = east.must(&["snapshots"]);
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert!(listed.lines().count() >= 2, "{listed}");
}
