//! The first command of the README, as a newcomer runs it.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

use redis::Commands;
use strait_tests::{Site, signal};

#[test]
fn the_demo_plays_keeps_its_gateways_and_ends_on_ctrl_c() {
    let start = Instant::now();
    let mut demo = Site::new("any")
        .command(&["demo", "--keep"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines();
    let mut told = String::new();
    while !told.contains("Ctrl-C ends them") {
        let line = lines.next().expect("the demo goes on").unwrap();
        told += &line;
        told.push('\n');
    }
    assert!(
        start.elapsed() < Duration::from_secs(60),
        "a minute at most"
    );
    for figure in [
        "events/s",
        "lag p50 / p99",
        "file tree, second version",
        "after it healed",
        "the same at both sites",
    ] {
        assert!(told.contains(figure), "{figure} is told: {told}");
    }

    let port = told
        .lines()
        .find_map(|line| line.trim().strip_prefix("redis-cli -p "))
        .and_then(|rest| rest.split(' ').next())
        .unwrap();
    let client = redis::Client::open(format!("redis://127.0.0.1:{port}/")).unwrap();
    let hits: i64 = client.get_connection().unwrap().incr("hits", 1).unwrap();
    assert_eq!(hits, 1, "the gateways go on");

    signal(&demo, "INT");
    assert!(demo.wait().unwrap().success());
}
