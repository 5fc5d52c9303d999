//! The tools that every Redis user has: redis-cli and redis-benchmark.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

use std::process::Command;

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
