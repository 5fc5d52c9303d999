//! Snapshots on schedule, and exports that a plain Redis takes in.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use redis::Commands;
use strait_tests::{Site, eventually};

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
    assert_eq!(lines(&west), lines(&east), "the same at the other end");

    let csv = text(west.must(&["export", "--format", "csv", "--match", "key:4?"]));
    let expected: String = (40..50)
        .map(|n| format!("counter,key:{n},,{n}\n"))
        .collect();
    let mut lines: Vec<_> = csv.lines().map(|line| format!("{line}\n")).collect();
    lines.sort();
    assert_eq!(lines.concat(), expected);
    let json = text(west.must(&["export", "--format", "ndjson", "--only", "logs"]));
    assert_eq!(json.lines().count(), 500);
    let first: serde_json::Value = serde_json::from_str(json.lines().next().unwrap()).unwrap();
    assert_eq!(first["log"], "clicks");
}

#[test]
fn counters_of_an_earlier_time_come_from_a_snapshot() {
    let mut east = Site::new("east");
    east.start();
    let mut redis = east.redis();
    let () = redis.incr("hits", 41).unwrap();
    let () = redis.xadd("clicks", "1000-1", &[("n", "1")]).unwrap();
    east.stop();
    // One is due at the start, as the data directory has none.
    let snapshots = east.data().join("snapshots");
    fs::remove_dir_all(&snapshots).unwrap();
    east.start();
    let first = eventually("a snapshot", 20, || {
        let names = fs::read_dir(&snapshots).ok()?;
        let mut names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.find(|name| name.ends_with(".snapshot"))
    });
    let () = east.redis().incr("hits", 1).unwrap();
    let now = text(east.must(&["export", "--format", "csv"]));
    let listed = text(east.must(&["snapshots", "--check", "--json"]));
    let listed: serde_json::Value = serde_json::from_str(listed.trim()).unwrap();
    let time = listed["time"].as_str().unwrap();
    let counters = [
        "export", "--format", "csv", "--only", "counters", "--at", time,
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
