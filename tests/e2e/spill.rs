//! Logs that are longer than memory while a peer is away.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

use redis::streams::StreamRangeReply;
use redis::{Commands, Connection};
use strait_tests::{
    Cable, Edit, Site, edit_journal, eventually, eventually_equal_digests, newest_journal,
    pair_of_sites,
};

/// Some 290 B each in memory: more than it may take.
const LINES: usize = 30_000;
const MEMORY: &str = "6MiB";

fn line(n: usize) -> String {
    format!(
        "10.1.{}.{} - - [21/Nov/2026:10:00:{:02} +0000] \"GET /catalogue/item-{:05} HTTP/1.1\" 200 \
         {} \"https://shop.example/search\" \"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36\" \
         {:016x} {n:0>60}",
        n % 7,
        n % 251,
        n % 60,
        n % 3001,
        n * 37 % 50_000,
        (n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15),
    )
}

fn spill(site: &mut Site) {
    site.stop();
    site.change_config("on_full = \"refuse\"", "on_full = \"spill\"");
    let memory = format!("memory_bytes_max = \"{MEMORY}\"");
    site.change_config("memory_bytes_max = \"1GiB\"", &memory);
    site.change_config(
        "logs_memory_bytes_max = \"512MiB\"",
        "logs_memory_bytes_max = \"1MiB\"",
    );
    site.start();
}

fn add(redis: &mut Connection, from: usize, to: usize) {
    for first in (from..to).step_by(500) {
        let mut pipe = redis::pipe();
        for n in first..to.min(first + 500) {
            let id = format!("{}-0", n + 1);
            pipe.xadd("log", id, &[("line", line(n))]).ignore();
        }
        let () = pipe.query(redis).unwrap();
    }
}

/// The lines from the `from`th on, as clients read them.
fn read(redis: &mut Connection, log: &str, from: usize) -> Vec<String> {
    let start = format!("{}-0", from + 1);
    let range: StreamRangeReply = redis.xrange_count(log, start, "+", 200).unwrap();
    let lines = range.ids.iter().map(|entry| entry.get("line").unwrap());
    lines.collect()
}

fn check(redis: &mut Connection, log: &str, lines: usize) {
    let len: usize = redis.xlen(log).unwrap();
    assert_eq!(len, lines);
    for from in [0, lines / 3, lines - 200] {
        let expected: Vec<_> = (from..from + 200).map(line).collect();
        assert_eq!(read(redis, log, from), expected, "from {from}");
    }
}

/// Changes one byte in the middle of the site's first file of older lines.
fn flip_a_byte(site: &Site) {
    let files = std::fs::read_dir(site.data().join("grid/cold")).unwrap();
    let first = files.map(|file| file.unwrap().path()).min().unwrap();
    let mut bytes = std::fs::read(&first).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(first, bytes).unwrap();
}

#[test]
fn a_peer_that_was_away_gets_what_no_memory_would_hold() {
    let (mut east, mut west, _cable) = pair_of_sites();
    spill(&mut east);
    spill(&mut west);
    west.kill();
    let mut redis = east.redis();
    add(&mut redis, 0, LINES / 2);
    let () = redis::cmd("WAITAOF")
        .arg(&[1, 0, 20_000])
        .query::<Vec<i64>>(&mut redis)
        .map(drop)
        .unwrap();
    // In the middle of it: what has gone to the disk and what has not is there again.
    east.kill();
    east.start();
    let mut redis = east.redis();
    let len: usize = redis.xlen("log").unwrap();
    assert_eq!(len, LINES / 2);
    add(&mut redis, LINES / 2, LINES);
    eventually("older lines go to the disk", 60, || {
        let spilt = east.metric("strait_grid_log_bytes") < 1.5 * 1048576.0;
        spilt.then_some(())
    });
    assert!(east.metric("strait_grid_memory_bytes") < 6.0 * 1048576.0);
    assert!(east.metric("strait_grid_cold_bytes") > 100_000.0);
    check(&mut redis, "log", LINES);
    west.start();
    eventually("all lines are at the peer", 60, || {
        let len: usize = west.redis().xlen("east.log").unwrap();
        (len == LINES).then_some(())
    });
    check(&mut west.redis(), "east.log", LINES);
    eventually_equal_digests(&east, &west, 60);
    assert!(west.metric("strait_grid_memory_bytes") < 6.0 * 1048576.0);
    assert_eq!(east.metric("strait_grid_lost_blocks_total"), 0.0);
}

#[test]
fn older_lines_that_rot_on_disk_come_back_from_the_peer() {
    const FEW: usize = LINES / 2;
    let (mut east, mut west, _cable) = pair_of_sites();
    spill(&mut east);
    spill(&mut west);
    add(&mut east.redis(), 0, FEW);
    eventually_equal_digests(&east, &west, 60);
    eventually("older lines go to the disk", 60, || {
        let spilt = west.metric("strait_grid_log_bytes") < 1.5 * 1048576.0;
        spilt.then_some(())
    });
    west.stop();
    // Who reads it first here is `verify`.
    west.change_config("scrub_hours = 168", "scrub_hours = 0");
    flip_a_byte(&west);
    west.start();
    eventually("the link is up", 20, || {
        (west.status()?["links"][0]["phase"] == "replicating").then_some(())
    });
    assert_eq!(
        west.metric("strait_grid_lost_blocks_total"),
        0.0,
        "nobody has read it"
    );
    let verify = west.strait(&["verify", "east"]);
    let said = String::from_utf8_lossy(&verify.stdout);
    assert!(!verify.status.success(), "{said}");
    assert!(said.contains("differed: east.log after"), "{said}");
    assert!(west.metric("strait_grid_lost_blocks_total") >= 1.0);
    assert!(west.log_text().contains("they are damaged on disk"));
    eventually("it is whole again", 30, || {
        (west.metric("strait_grid_log_holes") == 0.0).then_some(())
    });
    assert!(west.metric("strait_grid_mended_entries_total") > 0.0);
    check(&mut west.redis(), "east.log", FEW);
    eventually_equal_digests(&east, &west, 20);
    west.must(&["verify", "east"]);
    // And it stays.
    west.kill();
    west.start();
    eventually_equal_digests(&east, &west, 20);
    check(&mut west.redis(), "east.log", FEW);
    assert_eq!(west.metric("strait_grid_lost_blocks_total"), 0.0);
}

/// East with lines that mostly went to the disk, and west that holds the same.
fn with_older_lines() -> (Site, Site, Cable) {
    let (mut east, mut west, cable) = pair_of_sites();
    spill(&mut east);
    spill(&mut west);
    add(&mut east.redis(), 0, LINES / 2);
    eventually_equal_digests(&east, &west, 60);
    for site in [&east, &west] {
        eventually("older lines go to the disk", 60, || {
            (site.metric("strait_grid_log_bytes") < 1.5 * 1048576.0).then_some(())
        });
    }
    (east, west, cable)
}

/// Takes away all older lines of a stopped site, of which its journal says nothing any more.
fn lose_older_lines(site: &mut Site) {
    site.start();
    for key in ["torn:key", "after:key"] {
        let () = site.redis().incr(key, 1).unwrap();
        site.settle();
    }
    site.stop();
    // A damaged journal is rewritten at the next start, without what is on disk elsewhere.
    assert!(edit_journal(&site.data(), b"torn:key", Edit::FlipBit) > 0);
    let damaged = newest_journal(&site.data());
    site.start();
    eventually("the journal is rewritten", 20, || {
        (!damaged.exists()).then_some(())
    });
    site.stop();
    std::fs::remove_dir_all(site.data().join("grid/cold")).unwrap();
}

/// A site holds all lines of a log again, as the other does, and says so.
fn eventually_whole(site: &Site, log: &str, other: &Site) {
    eventually("it is whole again", 60, || {
        (site.metric("strait_grid_log_holes") == 0.0).then_some(())
    });
    eventually_equal_digests(site, other, 20);
    check(&mut site.redis(), log, LINES / 2);
    site.must(&["verify", &other.name]);
}

#[test]
fn older_lines_that_were_removed_by_hand_are_named_and_come_back() {
    let (mut east, mut west, _cable) = with_older_lines();
    west.stop();
    east.stop();
    lose_older_lines(&mut east);
    let before = east.log_text().len();
    east.start();
    // Whoever reads there meanwhile is told so.
    let said = east.log_text()[before..].to_owned();
    assert!(said.contains("log lacks entries 0-1 to "), "{said}");
    assert!(east.metric("strait_grid_log_holes") > 0.0);
    assert!(east.metric("strait_grid_lost_blocks_total") > 0.0);
    let mut redis = east.redis();
    let read: redis::RedisResult<StreamRangeReply> = redis.xrange_count("log", "-", "+", 10);
    assert!(read.is_err(), "a shorter answer: {read:?}");
    let () = redis.incr("counters:go:on", 1).unwrap();
    west.start();
    eventually_whole(&east, "log", &west);
    assert!(east.metric("strait_grid_mended_entries_total") > 0.0);
}

#[test]
fn a_mend_that_is_killed_again_and_again_ends_well() {
    let (east, mut west, _cable) = with_older_lines();
    west.stop();
    lose_older_lines(&mut west);
    for round in 0..4 {
        west.start();
        // Before, within and after the first stretch of it, whichever it is on this machine.
        eventually("the link is up", 20, || {
            (west.link_status()?["phase"] == "replicating").then_some(())
        });
        std::thread::sleep(std::time::Duration::from_millis(20 * round));
        west.kill();
    }
    west.start();
    eventually_whole(&west, "east.log", &east);
    let cold = std::fs::read_dir(west.data().join("grid/cold")).unwrap();
    let mut names = cold.map(|file| file.unwrap().file_name().into_string().unwrap());
    assert!(
        !names.any(|name| name.ends_with(".part")),
        "half a mend stays"
    );
    // And it stays.
    west.kill();
    west.start();
    eventually_whole(&west, "east.log", &east);
}
