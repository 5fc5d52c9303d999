//! What a gateway takes of the machine's memory is in its books, and what it no longer needs goes back.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

use redis::Connection;
use strait_tests::{Site, eventually, eventually_equal_digests, pair_of_sites};

const COUNTERS: usize = 150_000;
const LINES: usize = 6000;
const LINE_BYTES: usize = 16 << 10;
const MIB: u64 = 1 << 20;

/// Resident bytes, those that the books account for, and the most that they may come to.
struct Memory {
    resident: u64,
    in_books: u64,
    max: u64,
    text: String,
}

fn memory(site: &Site) -> Memory {
    let memory = site.status().unwrap()["memory"].take();
    let parts = memory["parts"].as_array().unwrap();
    // What is allocated and in nobody's books is what this is about.
    let booked = parts.iter().filter(|part| part["part"] != "other");
    Memory {
        resident: memory["resident_bytes"].as_u64().unwrap(),
        in_books: booked.map(|part| part["bytes"].as_u64().unwrap()).sum(),
        max: memory["bytes_max"].as_u64().unwrap(),
        text: memory.to_string(),
    }
}

/// The books are right to 16 MiB or a tenth, whichever is more, at both sites.
fn check_books(sites: [&Site; 2], when: &str) {
    for site in sites {
        // What a flush takes for a moment is in no book.
        eventually(
            &format!("the books of {} are right {when}", site.name),
            30,
            || {
                let memory = memory(site);
                let off = memory.resident.abs_diff(memory.in_books);
                eprintln!(
                    "{when}, {}: {} MiB off of {} MiB: {}",
                    site.name,
                    off / MIB,
                    memory.resident / MIB,
                    memory.text
                );
                assert!(memory.resident <= memory.max, "{}", memory.text);
                (off <= (16 * MIB).max(memory.resident / 10)).then_some(())
            },
        );
    }
}

fn counters(redis: &mut Connection, command: &str, more: &[&str]) {
    for first in (0..COUNTERS).step_by(5000) {
        let mut pipe = redis::pipe();
        for n in first..first + 5000 {
            let key = format!("banner:{n:07}:impressions");
            pipe.cmd(command).arg(key).arg(more).ignore();
        }
        let () = pipe.query(redis).unwrap();
    }
}

fn lines(redis: &mut Connection) {
    for first in (0..LINES).step_by(200) {
        let mut pipe = redis::pipe();
        for n in first..first + 200 {
            let line = format!("{n:016x}").repeat(LINE_BYTES / 16);
            pipe.cmd("XADD")
                .arg("log")
                .arg("*")
                .arg("line")
                .arg(line)
                .ignore();
        }
        let () = pipe.query(redis).unwrap();
    }
}

#[test]
fn memory_is_in_the_books_and_goes_back() {
    let (east, west, _cable) = pair_of_sites();
    eventually_equal_digests(&east, &west, 30);
    let at_first = [&east, &west].map(memory);
    let mut redis = east.redis();

    counters(&mut redis, "INCRBY", &["1000000"]);
    eventually_equal_digests(&east, &west, 120);
    check_books([&east, &west], "with counters");

    counters(&mut redis, "DEL", &[]);
    eventually_equal_digests(&east, &west, 120);
    check_books([&east, &west], "with counters deleted");

    lines(&mut redis);
    eventually_equal_digests(&east, &west, 120);
    check_books([&east, &west], "with a log");
    let loaded = [&east, &west].map(memory);

    let gone: u64 = redis::cmd("DEL").arg("log").query(&mut redis).unwrap();
    assert_eq!(gone, 1);
    eventually_equal_digests(&east, &west, 60);
    for (site, (first, loaded)) in [&east, &west].into_iter().zip(at_first.iter().zip(&loaded)) {
        let log = (LINES * LINE_BYTES) as u64;
        assert!(loaded.resident > first.resident + log, "{}", loaded.text);
        eventually(&format!("{} gives memory back", site.name), 60, || {
            let memory = memory(site);
            // Less a quarter: flushes of logs are kept for peers.
            let went = loaded.resident.saturating_sub(memory.resident);
            eprintln!(
                "{} gave {} MiB back: {}",
                site.name,
                went / MIB,
                memory.text
            );
            (went > log / 4 * 3 && memory.resident <= memory.in_books + 32 * MIB).then_some(())
        });
    }
    check_books([&east, &west], "idle");
}
