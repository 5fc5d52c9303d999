//! kill -9 in a loop under load: what was acknowledged as durable is there, ids never go back.
//! `STRAIT_KILL_ROUNDS` sets how often (default 4).

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

use std::time::{Duration, Instant};

use redis::Commands;
use strait_tests::{Site, eventually_equal_digests, pair_of_sites};

/// What one client was told.
#[derive(Default)]
struct Acknowledged {
    hits: i64,
    ids: Vec<(u64, u64)>,
}

fn rounds() -> u64 {
    let rounds = std::env::var("STRAIT_KILL_ROUNDS").ok();
    rounds.and_then(|text| text.parse().ok()).unwrap_or(4)
}

/// Writes until the gateway is gone.
fn write(site: &Site, client: usize) -> Acknowledged {
    let mut acknowledged = Acknowledged::default();
    let Ok(mut redis) = redis::Client::open(format!("redis://{}/", site.grid))
        .and_then(|client| client.get_connection())
    else {
        return acknowledged;
    };
    let deadline = Instant::now() + Duration::from_secs(20);
    while Instant::now() < deadline {
        let added: redis::RedisResult<i64> = redis.incr(format!("hits:{client}"), 1);
        if added.is_err() {
            break;
        }
        acknowledged.hits += 1;
        let id: redis::RedisResult<String> = redis.xadd("clicks", "*", &[("c", client)]);
        let Ok(id) = id else { break };
        let (ms, seq) = id.split_once('-').unwrap();
        acknowledged
            .ids
            .push((ms.parse().unwrap(), seq.parse().unwrap()));
    }
    acknowledged
}

/// Entry ids of a log, as they stand there.
fn ids(site: &Site, log: &str) -> Vec<(u64, u64)> {
    let entries: redis::streams::StreamRangeReply = site.redis().xrange_all(log).unwrap();
    let ids = entries.ids.iter().map(|entry| {
        let (ms, seq) = entry.id.split_once('-').unwrap();
        (ms.parse().unwrap(), seq.parse().unwrap())
    });
    ids.collect()
}

#[test]
fn every_acknowledged_write_survives_kill_9() {
    const CLIENTS: usize = 4;
    let (mut east, west, _cable) = pair_of_sites();
    east.stop();
    east.change_config("durability = \"memory\"", "durability = \"disk\"");
    east.start();
    let mut hits = [0; CLIENTS];
    let mut all = Vec::new();
    for round in 0..rounds() {
        let heard: Vec<Acknowledged> = std::thread::scope(|scope| {
            let site = &east;
            let clients: Vec<_> = (0..CLIENTS)
                .map(|client| scope.spawn(move || write(site, client)))
                .collect();
            // Somewhere else in a flush each time.
            std::thread::sleep(Duration::from_millis(150 + round * 37 % 200));
            site.kill_now();
            clients
                .into_iter()
                .map(|client| client.join().unwrap())
                .collect()
        });
        east.reap();
        east.start();
        for (client, heard) in heard.into_iter().enumerate() {
            hits[client] += heard.hits;
            let found: Option<i64> = east.redis().get(format!("hits:{client}")).unwrap();
            let found = found.unwrap_or(0);
            assert!(
                found == hits[client] || found == hits[client] + 1,
                "round {round}: {} acknowledged, {found} found",
                hits[client]
            );
            // One that was on its way may have been carried out.
            hits[client] = found;
            all.extend(heard.ids);
        }
        let held = ids(&east, "clicks");
        assert!(
            held.windows(2).all(|two| two[0] < two[1]),
            "round {round}: ids go back"
        );
        all.sort_unstable();
        assert!(
            all.windows(2).all(|two| two[0] != two[1]),
            "an id was given twice"
        );
        let missing = all.iter().find(|id| held.binary_search(id).is_err());
        assert_eq!(
            missing, None,
            "round {round}: an acknowledged entry is gone"
        );
    }
    assert!(!all.is_empty());
    eventually_equal_digests(&east, &west, 30);
    assert_eq!(ids(&east, "clicks"), ids(&west, "east.clicks"));
}
