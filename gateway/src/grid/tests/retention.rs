//! Logs that are kept within limits, and entries that are kept for a peer.

use super::*;

fn fill(grid: &Grid, entries: u64) {
    let line = pack_values([&b"line"[..], &[b'x'; 1000]].into_iter());
    for n in 0..entries {
        let id = NewId::Explicit(EntryId {
            ms: 1000 + n,
            seq: 0,
        });
        grid.lock()
            .append(b"clicks", id, &line, (true, None), 0)
            .unwrap();
    }
    grid.flush().unwrap();
}

fn keep(grid: &Grid, limits: LogLimits, now_ms: u64) -> u64 {
    let of = |log: &[u8]| (log == b"clicks").then_some(limits);
    let gone = grid.retain_logs(of, now_ms);
    grid.flush().unwrap();
    gone
}

#[test]
fn logs_stay_within_age_bytes_and_number() {
    let grid = grid("east");
    fill(&grid, 1000);
    append(&grid, "other", 1);
    let none = LogLimits::default();
    assert_eq!(keep(&grid, none, u64::MAX), 0);
    let number = LogLimits {
        entries: Some(900),
        ..none
    };
    let gone = keep(&grid, number, 0);
    assert!(
        (80..=100).contains(&gone),
        "whole blocks of some 16 entries: {gone}"
    );
    let age = LogLimits {
        age: Some(Duration::from_millis(600)),
        ..none
    };
    keep(&grid, age, 2000);
    let left = 1000 - 400;
    let stats = grid.stats();
    assert!(
        (left..left + 20).contains(&(stats.entries - 1)),
        "{}",
        stats.entries
    );
    let bytes = LogLimits {
        bytes: Some(100_000),
        ..none
    };
    keep(&grid, bytes, 0);
    let entries = grid.stats().entries - 1;
    assert!((80..=100).contains(&entries), "{entries}");
    assert_eq!(keep(&grid, bytes, 0), 0, "once is enough");
}

#[test]
fn trimmed_entries_wait_for_the_peer_unless_they_are_shed() {
    let mut config = config("east", None);
    config.peers = BTreeSet::from([peer()]);
    let east = Arc::new(Grid::open(config).unwrap().0);
    let west = grid("west");
    fill(&east, 500);
    let number = LogLimits {
        entries: Some(20),
        ..LogLimits::default()
    };
    keep(&east, number, 0);
    let held = east.stats().held_bytes;
    assert!(held > 400_000, "{held}");
    // The peer gets them although they are trimmed, and sees the trim.
    catch_up(&east, &west);
    assert_eq!(east.digest(), west.digest());
    assert!(west.stats().entries < 50);
    assert_eq!(east.shed_held(), held);
    let stats = east.stats();
    assert_eq!((stats.held_bytes, stats.shed_bytes_total), (0, held));
    // A peer that comes later goes on without them.
    let north = grid("north");
    catch_up(&east, &north);
    assert_eq!(east.digest(), north.digest());
}

#[test]
fn entries_age_although_the_clock_was_ahead_when_they_came() {
    const HOUR: u64 = 3_600_000;
    let grid = grid("east");
    let line = pack_values([&b"line"[..], &[b'x'; 1000]].into_iter());
    let add = |now_ms: u64| {
        let mut state = grid.lock();
        for _ in 0..100 {
            let added = state.append(b"clicks", NewId::Auto, &line, (true, None), now_ms);
            added.unwrap().unwrap();
        }
    };
    let age = LogLimits {
        age: Some(Duration::from_millis(2 * HOUR)),
        ..LogLimits::default()
    };
    let now = 1000 * HOUR;
    // A year ahead, and back.
    add(now + 9000 * HOUR);
    for hour in 0..10 {
        add(now + hour * HOUR);
        for minute in 0..60 {
            keep(&grid, age, now + hour * HOUR + minute * 60_000);
        }
        let entries = grid.stats().entries;
        let most = 100 * (hour + 2).min(4) + 20;
        assert!(
            (100..=most).contains(&entries),
            "{entries} after hour {hour}"
        );
    }
    // Back a second time: what was noted is forgotten, not believed.
    let back = now - 500 * HOUR;
    assert_eq!(keep(&grid, age, back), 0);
    add(back);
    assert_eq!(keep(&grid, age, back + HOUR), 0);
    assert!(keep(&grid, age, back + 3 * HOUR) > 0);
}
