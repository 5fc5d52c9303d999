//! The tools that every Redis user has: redis-cli and redis-benchmark.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use strait_tests::Site;

fn started() -> Site {
    let mut site = Site::new("east");
    site.start();
    site
}

/// What `redis-cli ARGS` prints.
fn cli(site: &Site, args: &[&str]) -> String {
    let output = Command::new("redis-cli")
        .args(["-p", &site.grid.port().to_string()])
        .args(args)
        .output()
        .expect("redis-cli is installed (tests/run installs it)");
    String::from_utf8(output.stdout)
        .unwrap()
        .trim_end()
        .to_owned()
}

#[test]
fn redis_cli_talks_to_the_grid() {
    let site = started();
    assert_eq!(cli(&site, &["PING"]), "PONG");
    assert_eq!(cli(&site, &["INCRBY", "hits", "41"]), "41");
    assert_eq!(cli(&site, &["-3", "INCR", "hits"]), "42");
    assert_eq!(cli(&site, &["TYPE", "hits"]), "string");
    let id = cli(&site, &["XADD", "clicks", "*", "url", "/a"]);
    assert_eq!(
        cli(&site, &["XRANGE", "clicks", "-", "+"]),
        format!("{id}\nurl\n/a")
    );
    assert_eq!(
        cli(&site, &["NOSUCH", "x"]),
        "ERR unknown command 'NOSUCH', with args beginning with: 'x' ".trim_end()
    );
    assert!(cli(&site, &["INCR", "clicks"]).starts_with("WRONGTYPE"));
    assert!(cli(&site, &["--scan"]).lines().count() == 2);
    assert!(cli(&site, &["INFO", "server"]).contains("redis_version"));
    let _connected = site.redis();
    let status = site.status().unwrap();
    assert_eq!(status["clients"]["connected"], 1, "{status}");
    assert!(status["clients"]["commands"].as_u64() > Some(9), "{status}");
}

/// What people type to look around asks for more commands than programs do.
#[test]
fn redis_cli_looks_around() {
    let site = started();
    cli(&site, &["SET", "hits", "-42"]);
    cli(&site, &["XADD", "clicks", "*", "url", "/a"]);
    assert_eq!(cli(&site, &["KEYS", "h*"]), "hits");
    let biggest = cli(&site, &["--bigkeys"]);
    assert!(
        biggest.contains("Biggest string found '\"hits\"' has 3 bytes"),
        "{biggest}"
    );
    let mut stat = Command::new("redis-cli")
        .args(["-p", &site.grid.port().to_string(), "--stat", "-i", "0.01"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(stat.stdout.take().unwrap()).lines();
    // After two lines of headings.
    let line = lines.map(Result::unwrap).nth(2).unwrap();
    stat.kill().unwrap();
    stat.wait().unwrap();
    let columns: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(columns[0], "2", "{line}");
    let requests: u64 = columns[4].parse().expect(&line);
    assert!(requests > 3, "{line}");
}

#[test]
fn redis_benchmark_runs_to_its_end() {
    let site = started();
    for pipeline in ["1", "64"] {
        let output = Command::new("redis-benchmark")
            .args(["-p", &site.grid.port().to_string()])
            .args(["-n", "20000", "-P", pipeline, "-r", "1000", "-q"])
            .args(["-t", "ping,incr,get"])
            .output()
            .expect("redis-benchmark is installed (tests/run installs it)");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{output:?}");
        for name in ["PING_INLINE", "INCR", "GET"] {
            assert!(text.contains(name), "{name} was measured: {text}");
        }
    }
    let counted: i64 = cli(&site, &["DBSIZE"]).parse().unwrap();
    assert!(counted > 0);
}
