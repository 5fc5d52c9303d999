//! Snapshots on schedule, and exports that a plain Redis takes in.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use redis::Commands;
use strait_tests::{Site, SmallDisk, eventually, eventually_equal_digests, pair_of_sites};

fn text(output: std::process::Output) -> String {
    String::from_utf8(output.stdout).unwrap()
}

/// Everything that a site holds, in order.
fn lines(site: &Site) -> Vec<String> {
    let json = text(site.must(&["export", "--format", "ndjson"]));
    let mut lines: Vec<_> = json.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

#[test]
fn an_export_goes_into_another_grid_and_says_the_same() {
    let mut east = Site::new("east");
    east.start();
    let mut redis = east.redis();
    for n in 0..500 {
        let () = redis.incr(format!("key:{n}"), n).unwrap();
        let () = redis.hincr("pages", format!("page \"{n}\""), 1).unwrap();
        let () = redis.xadd("clicks", "*", &[("n", n)]).unwrap();
    }
    let () = redis.del("key:7").unwrap();
    let last: String = redis.xadd("emptied", "*", &[("n", 1)]).unwrap();
    let () = redis
        .xtrim("emptied", redis::streams::StreamMaxlen::Equals(0))
        .unwrap();
    const LATER_MS: u64 = 4_000_000_000_000;
    for key in ["key:8", "pages"] {
        let () = redis::cmd("PEXPIREAT")
            .arg(key)
            .arg(LATER_MS)
            .query(&mut redis)
            .unwrap();
    }
    let () = redis.pexpire("key:9", 1).unwrap();
    east.stop();

    // From the files alone; then while the gateway runs.
    let resp = east.must(&["export"]).stdout;
    east.start();
    assert!(east.must(&["export"]).stdout == resp);

    let mut west = Site::new("west");
    west.start();
    let port = west.grid.port().to_string();
    let mut pipe = Command::new("redis-cli")
        .args(["-p", &port, "--pipe"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    pipe.stdin.take().unwrap().write_all(&resp).unwrap();
    let said = text(pipe.wait_with_output().unwrap());
    assert!(said.contains("errors: 0"), "{said}");
    west.stop();
    let held = lines(&west);
    assert_eq!(held, lines(&east), "the same at the other end");
    for key in ["key:8", "pages"] {
        let line = format!("{{\"at_ms\":{LATER_MS},\"expires\":\"{key}\"}}");
        assert!(held.contains(&line), "{key} still expires");
    }
    assert!(!held.iter().any(|line| line.contains("\"key:9\"")));

    let csv = text(west.must(&["export", "--format", "csv", "--match", "key:4?"]));
    let expected: String = (40..50)
        .map(|n| format!("counter,key:{n},,{n}\n"))
        .collect();
    let mut lines: Vec<_> = csv.lines().map(|line| format!("{line}\n")).collect();
    lines.sort();
    assert_eq!(lines.concat(), expected);
    let json = text(west.must(&["export", "--format", "ndjson", "--only", "logs"]));
    assert_eq!(json.lines().count(), 501);
    let emptied = format!("{{\"last_id\":\"{last}\",\"log\":\"emptied\"}}");
    assert_eq!(
        json.lines().last(),
        Some(&emptied[..]),
        "ids go on after it"
    );
    let first: serde_json::Value = serde_json::from_str(json.lines().next().unwrap()).unwrap();
    assert_eq!(first["log"], "clicks");
}

/// Has a running site take a snapshot, its only one; the file's name.
fn take_snapshot(site: &mut Site) -> String {
    site.stop();
    // One is due at the start when the data directory has none.
    let snapshots = site.data().join("snapshots");
    fs::remove_dir_all(&snapshots).unwrap();
    site.start();
    eventually("a snapshot", 20, || {
        let names = fs::read_dir(&snapshots).ok()?;
        let mut names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.find(|name| name.ends_with(".snapshot"))
    })
}

/// The time of a site's only snapshot.
fn time_of_snapshot(site: &Site) -> String {
    let listed = text(site.must(&["snapshots", "--check", "--json"]));
    let listed: serde_json::Value = serde_json::from_str(listed.trim()).unwrap();
    listed["time"].as_str().unwrap().to_owned()
}

#[test]
fn counters_go_back_to_an_earlier_time_at_all_sites() {
    let (mut east, west, _cable) = pair_of_sites();
    let mut redis = east.redis();
    let () = redis.incr("hits", 41).unwrap();
    let () = redis.incr("gone", 5).unwrap();
    let () = redis.hincr("pages", "a", 3).unwrap();
    take_snapshot(&mut east);
    let time = time_of_snapshot(&east);
    let mut redis = east.redis();
    let () = redis.incr("hits", 1).unwrap();
    let () = redis.del("gone").unwrap();
    let () = redis.hincr("pages", "b", 1).unwrap();
    let () = redis.xadd("clicks", "1000-1", &[("n", "1")]).unwrap();
    eventually_equal_digests(&east, &west, 30);
    let () = west.redis().incr("new", 1).unwrap();
    eventually_equal_digests(&east, &west, 30);

    let before = text(east.must(&["export", "--format", "csv", "--only", "counters"]));
    let said = text(east.must(&["replay", "--at", &time]));
    let plan = "2 counters are to be set and 2 deleted, of 3";
    assert!(said.contains(plan), "{said}");
    let after = text(east.must(&["export", "--format", "csv", "--only", "counters"]));
    assert_eq!(after, before, "nothing was asked for yet");
    let said = text(east.must(&["replay", "--at", &time, "--yes"]));
    assert!(said.contains("2 set, 2 deleted, 3 compared"), "{said}");
    eventually_equal_digests(&east, &west, 30);
    for site in [&east, &west] {
        let csv = text(site.must(&["export", "--format", "csv", "--only", "counters"]));
        let mut lines: Vec<_> = csv.lines().collect();
        lines.sort_unstable();
        assert_eq!(
            lines,
            ["counter,gone,,5", "counter,hits,,41", "hash,pages,a,3"]
        );
    }
    let kept: usize = east.redis().xlen("clicks").unwrap();
    assert_eq!(kept, 1, "logs stay");
    // A site that has no snapshot of then takes its peer's.
    let () = east.redis().incr("hits", 7).unwrap();
    eventually_equal_digests(&east, &west, 30);
    fs::remove_dir_all(west.data().join("snapshots")).unwrap();
    let alone = west.strait(&["replay", "--at", &time]);
    assert!(!alone.status.success());
    let said = text(west.must(&["replay", "--from", "east", "--at", &time, "--yes"]));
    assert!(said.contains("1 set, 0 deleted, 3 compared"), "{said}");
    eventually_equal_digests(&east, &west, 30);
    let hits: i64 = east.redis().get("hits").unwrap();
    assert_eq!(hits, 41);
    let early = east.strait(&["replay", "--at", "2001-01-01T00:00:00Z"]);
    assert!(!early.status.success(), "there was none then");
}

#[test]
fn counters_of_an_earlier_time_come_from_a_snapshot() {
    let mut east = Site::new("east");
    east.start();
    let mut redis = east.redis();
    let () = redis.incr("hits", 41).unwrap();
    let () = redis.xadd("clicks", "1000-1", &[("n", "1")]).unwrap();
    let first = take_snapshot(&mut east);
    let snapshots = east.data().join("snapshots");
    let () = east.redis().incr("hits", 1).unwrap();
    let now = text(east.must(&["export", "--format", "csv"]));
    let time = time_of_snapshot(&east);
    let counters = [
        "export", "--format", "csv", "--only", "counters", "--at", &time,
    ];
    let then = text(east.must(&counters));
    assert_eq!(then, "counter,hits,,41\n");
    eventually("the journal holds the increment", 10, || {
        let now = text(east.must(&["export", "--format", "csv"]));
        now.starts_with("counter,hits,,42\n").then_some(())
    });
    assert!(now.contains("entry,clicks,1000-1,n,1\n"), "{now}");
    let early = east.strait(&["export", "--at", "2001-01-01T00:00:00Z"]);
    assert!(!early.status.success(), "there was none then");

    // One that a crash cut short, and one with a flipped bit.
    east.stop();
    fs::write(snapshots.join("1700000000000.snapshot.part"), b"straitGS").unwrap();
    let mut bytes = fs::read(snapshots.join(&first)).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(snapshots.join("1600000000000.snapshot"), &bytes).unwrap();
    let listed = east.strait(&["snapshots", "--check"]);
    assert!(!listed.status.success());
    let listed = text(listed);
    let lines: Vec<_> = listed.lines().collect();
    assert!(lines[0].contains("damaged"), "{listed}");
    assert!(lines[1].contains("unfinished: ignored"), "{listed}");
    assert!(lines[2].contains("1 counters"), "{listed}");
    east.start();
    eventually("the unfinished one is removed", 10, || {
        east.log_text()
            .contains("removed a snapshot that was never finished")
            .then_some(())
    });
}

#[test]
fn a_full_disk_costs_a_snapshot_and_nothing_else() {
    let mut east = Site::new("east");
    east.start();
    let mut pipe = redis::pipe();
    for n in 0..20_000_u64 {
        let scattered = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        pipe.incr(format!("key:{scattered:x}"), scattered >> 20)
            .ignore();
    }
    pipe.exec(&mut east.redis()).unwrap();
    east.stop();
    let snapshots = east.data().join("snapshots");
    fs::remove_dir_all(&snapshots).unwrap();
    fs::create_dir(&snapshots).unwrap();
    let Some(_disk) = SmallDisk::over(&snapshots, "64k") else {
        return;
    };
    // One is due at the start.
    east.start();
    let failed = eventually("it fails", 20, || {
        east.status()?["snapshots"]["failed"]
            .as_u64()
            .filter(|failed| *failed > 0)
    });
    assert_eq!(failed, 1, "it is not tried again and again");
    eventually("the log says so", 20, || {
        let log = east.log_text();
        log.contains("no snapshot of the counters").then_some(())
    });
    let left = fs::read_dir(&snapshots).unwrap().count();
    assert_eq!(left, 0, "what was written of it is gone");
    let () = east.redis().incr("after", 1).unwrap();
    east.settle();
}
