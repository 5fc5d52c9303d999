//! A site burns down under load and is built again from its peer: what is lost, and how long
//! it takes.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use redis::Commands;
use strait_tests::{Site, eventually_equal_digests, join};

/// Writes one by one under `prefix` until told to stop or refused: when each was confirmed.
fn write(site: &Site, prefix: &str, stop: &AtomicBool) -> Vec<Instant> {
    let mut confirmed = Vec::new();
    let mut redis = site.redis();
    while !stop.load(Ordering::Relaxed) {
        let added: redis::RedisResult<i64> = redis.incr(format!("{prefix}:hits"), 1);
        if added.is_err() {
            break;
        }
        confirmed.push(Instant::now());
        let log = format!("{prefix}:log");
        let line: redis::RedisResult<String> = redis.xadd(log, "*", &[("n", confirmed.len())]);
        if line.is_err() {
            break;
        }
    }
    confirmed
}

#[test]
fn a_site_is_rebuilt_from_its_peer_while_that_goes_on() {
    let (mut east, mut west) = (Site::new("east"), Site::new("west"));
    east.change_config(
        "durability_of = []",
        "durability_of = [[\"remote:*\", \"remote\"], [\"disk:*\", \"disk\"]]",
    );
    let cable = join(&east, &west);
    east.start();
    west.start();
    for n in 0..20_000 / 500 {
        let mut pipe = redis::pipe();
        for key in 0..500 {
            pipe.incr(format!("stock:{}", n * 500 + key), n).ignore();
        }
        pipe.exec(&mut east.redis()).unwrap();
    }
    eventually_equal_digests(&east, &west, 60);
    let stop = AtomicBool::new(false);
    let kinds = ["memory", "disk", "remote"];
    let (fire, confirmed): (Instant, Vec<Vec<Instant>>) = std::thread::scope(|scope| {
        let (east, west, stop) = (&east, &west, &stop);
        let clients = kinds.map(|kind| scope.spawn(move || write(east, kind, stop)));
        let other = scope.spawn(move || write(west, "west", stop));
        std::thread::sleep(Duration::from_millis(1500));
        // East is gone, with its disk; west goes on.
        let fire = Instant::now();
        east.kill_now();
        let confirmed = clients.map(|client| client.join().unwrap());
        stop.store(true, Ordering::Relaxed);
        other.join().unwrap();
        (fire, confirmed.into())
    });
    east.reap();
    drop((east, cable));

    let begun = Instant::now();
    let mut east = Site::new("east");
    west.stop();
    west.replace_pair(&east);
    east.pair_with(&west, Some(west.link));
    west.start();
    east.start();
    let replay = east.must(&["replay", "--from", "west"]);
    let took = begun.elapsed();
    let said = String::from_utf8_lossy(&replay.stdout).into_owned();
    eprintln!("{said}");
    assert!(said.contains("holds what west holds"), "{said}");

    let mut redis = east.redis();
    for (kind, confirmed) in kinds.iter().zip(confirmed) {
        let hits: usize = redis.get(format!("{kind}:hits")).unwrap();
        let lines: usize = redis.xlen(format!("{kind}:log")).unwrap();
        let lost = confirmed.get(hits..).unwrap_or_default();
        let since = lost
            .first()
            .map(|first| fire.saturating_duration_since(*first));
        let (confirmed, lost) = (confirmed.len(), lost.len());
        eprintln!("{kind}: {confirmed} confirmed, {lost} lost: the last {since:?} before the fire");
        assert!(hits > 0 && lines > 0);
        if *kind == "remote" {
            assert!(hits >= confirmed, "remote durability lost {lost}");
            assert!(lines + 1 >= confirmed, "entries too: {lines}");
        }
    }
    eprintln!("rebuilt in {took:?}, the start of both gateways included");
    let stock: i64 = redis.get("stock:19999").unwrap();
    assert_eq!(stock, 39);
    eventually_equal_digests(&east, &west, 30);
    // Its new life goes on where the old one ended.
    let before: i64 = redis.get("memory:hits").unwrap();
    let () = redis.incr("memory:hits", 1).unwrap();
    let id: String = redis.xadd("memory:log", "*", &[("n", 0)]).unwrap();
    assert!(!id.is_empty());
    eventually_equal_digests(&east, &west, 30);
    let after: i64 = west.redis().get("memory:hits").unwrap();
    assert_eq!(after, before + 1);
}
