//! The grid as a whole: two of them that exchange records, and one that comes back from disk.

mod claims;
mod cleared;
mod cold;
mod conflicts;
mod convergence;
mod copied;
mod doubts;
mod fold;
mod forgetting;
mod full_start;
mod fuzz;
mod ids;
mod journal;
mod memory;
mod mend;
mod model;
mod packed;
mod restored;
mod retention;
mod sites;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;

fn config(site: &str, dir: Option<PathBuf>) -> GridConfig {
    GridConfig {
        dir,
        site: site.parse().unwrap(),
        incarnation: 1,
        flush_interval: Duration::from_millis(5),
        memory_bytes_max: 1 << 30,
        loss_window: Duration::from_secs(1),
        peers: BTreeSet::new(),
        cold: None,
    }
}

fn grid(site: &str) -> Arc<Grid> {
    Arc::new(Grid::open(config(site, None)).unwrap().0)
}

/// Whoever sent a record.
fn peer() -> SiteName {
    "south".parse().unwrap()
}

fn payload(value: u8) -> Vec<u8> {
    vec![2, 1, b'f', 1, value]
}

fn append(grid: &Grid, key: &str, value: u8) -> EntryId {
    let mut state = grid.lock();
    let id = state.append(
        key.as_bytes(),
        NewId::Auto,
        &payload(value),
        (true, None),
        now_ms(),
    );
    id.unwrap().unwrap()
}

/// One thing that a client or the gateway does.
#[derive(Clone, Debug)]
enum Step {
    Add(u8, i64),
    AddField(u8, u8, i64),
    Set(u8, i64),
    Delete(u8),
    Append(u8, u8),
    Trim(u8, u64),
    /// The key expires then; 0: never.
    Expire(u8, u64),
    /// The wall clock says so.
    Clock(u64),
    Flush,
}

fn step() -> impl Strategy<Value = Step> {
    let key = 0..4_u8;
    prop_oneof![
        4 => (key.clone(), any::<i64>()).prop_map(|(key, by)| Step::Add(key, by >> 20)),
        2 => (key.clone(), 0..3_u8, -5..5_i64).prop_map(|(k, f, by)| Step::AddField(k, f, by)),
        1 => (key.clone(), -9..9_i64).prop_map(|(key, value)| Step::Set(key, value)),
        2 => key.clone().prop_map(Step::Delete),
        3 => (key.clone(), any::<u8>()).prop_map(|(key, value)| Step::Append(key, value)),
        1 => (key.clone(), 0..3_u64).prop_map(|(key, newest)| Step::Trim(key, newest)),
        2 => (key, 0..9_u64).prop_map(|(key, at)| Step::Expire(key, at)),
        1 => (1..9_u64).prop_map(Step::Clock),
        3 => Just(Step::Flush),
    ]
}

/// Carries out a step; the records of a flush.
fn run(grid: &Grid, step: &Step) -> Vec<Bytes> {
    let name = |key: &u8| vec![b'k', *key];
    let mut state = grid.lock();
    match step {
        Step::Add(key, by) => drop(state.add(&name(key), *by)),
        Step::AddField(key, field, by) => drop(state.add_field(&name(key), &[*field], *by)),
        Step::Set(key, value) => drop(state.set(&name(key), *value, SetIf::Always, false)),
        Step::Delete(key) => drop(state.delete(&name(key))),
        Step::Append(key, value) => {
            let payload = payload(*value);
            drop(state.append(&name(key), NewId::Auto, &payload, (true, None), now_ms()));
        }
        Step::Trim(key, newest) => {
            let trim = Trim {
                keep: Keep::Newest(*newest),
                roughly: false,
                limit: None,
            };
            drop(state.trim(&name(key), trim));
        }
        Step::Expire(key, at) => drop(state.set_deadline(&name(key), *at)),
        Step::Clock(now) => drop(state.expire_some(*now)),
        Step::Flush => {
            drop(state);
            return flush(grid);
        }
    }
    Vec::new()
}

fn flush(grid: &Grid) -> Vec<Bytes> {
    let before = *grid.subscribe_flushes().borrow();
    grid.flush().unwrap();
    let number = *grid.subscribe_flushes().borrow();
    if number == before {
        return Vec::new();
    }
    flushed(grid, number)
}

/// All records of one flush that are its site's own.
fn flushed(grid: &Grid, number: FlushNumber) -> Vec<Bytes> {
    let feeds = [Feed::Logs, Feed::Counters].map(|feed| grid.flushed(feed, number).unwrap());
    feeds
        .iter()
        .flat_map(|flushed| flushed.records.clone())
        .collect()
}

/// What a site holds of everything.
fn positions(grid: &Grid) -> Positions {
    let [counters, logs] = Feed::ALL.map(|feed| grid.positions(feed));
    Positions {
        logs: logs.logs,
        ..counters
    }
}

fn is_log(record: &Bytes) -> bool {
    record[1] == 2
}

/// Brings `to` up to date with the means of a link that was down for long.
fn catch_up(from: &Arc<Grid>, to: &Arc<Grid>) {
    let have = positions(to);
    let mut scan = from.scan_counters(&have);
    while let Some(record) = scan.next(usize::MAX).unwrap() {
        to.apply(&peer(), record).unwrap();
    }
    for (log, _) in from.logs() {
        let mut held = have.log(&log);
        while let Some((record, reached)) = from.log_after(&log, held, 300) {
            assert_ne!(reached, held, "a stretch of {log} that leads nowhere");
            to.apply(&peer(), record).unwrap();
            held = reached;
        }
    }
    to.flush().unwrap();
}

#[test]
fn a_full_grid_refuses_writes_and_still_deletes() {
    let mut config = config("east", None);
    config.memory_bytes_max = 3 << 20;
    let (grid, _) = Grid::open(config).unwrap();
    let refused = (0..100_000_u32).find_map(|i| grid.lock().add(&i.to_le_bytes(), 1).err());
    assert_eq!(refused, Some(OpError::OutOfMemory));
    assert_eq!(grid.lock().delete(&0_u32.to_le_bytes()), Ok(true));
}

/// Appends so many long entries; why it ended before, if it did.
fn fill(grid: &Grid, log: &[u8], entries: usize) -> Option<OpError> {
    let payload = pack_values([&b"f"[..], &[b'x'; 100_000]].into_iter());
    let mut entries = 0..entries;
    entries.find_map(|_| {
        let mut state = grid.lock();
        let added = state.append(log, NewId::Auto, &payload, (true, None), 1);
        added.err()
    })
}

fn small_grid(site: &str) -> Arc<Grid> {
    let mut small = config(site, None);
    small.memory_bytes_max = 32 << 20;
    Arc::new(Grid::open(small).unwrap().0)
}

fn trim_all(grid: &Grid, log: &[u8]) {
    let all = Trim {
        keep: Keep::Newest(0),
        roughly: false,
        limit: None,
    };
    grid.lock().trim(log, all).unwrap();
}

/// Sends `log` from where the other holds it, until it is there or refused; where that is.
fn send_log(from: &Grid, to: &Grid, log: &LogName, mut have: LogPosition) -> LogPosition {
    while let Some((record, reached)) = from.log_after(log, have, 1_000_000) {
        match to.apply(&peer(), record) {
            Ok(_) => {
                // What waits for the journal takes memory, too.
                to.flush().unwrap();
                have = reached;
            }
            Err(ApplyError::Refused(_)) => break,
            Err(error) => panic!("{error}"),
        }
    }
    have
}

#[test]
fn what_filled_a_site_fits_at_its_peer_beside_a_little_of_its_own() {
    let (east, west) = (small_grid("east"), small_grid("west"));
    assert_eq!(fill(&west, b"own", 10), None);
    assert_eq!(fill(&east, b"clicks", 1000), Some(OpError::LogsOutOfMemory));
    east.flush().unwrap();
    let (log, all) = east.logs().remove(0);
    assert_eq!(send_log(&east, &west, &log, LogPosition::default()), all);
    assert_eq!(
        fill(&west, b"own", 1),
        Some(OpError::LogsOutOfMemory),
        "clients find none"
    );
}

#[test]
fn a_trim_needs_no_room_at_a_full_peer_and_makes_it_for_what_follows() {
    let (east, west) = (grid("east"), small_grid("west"));
    fill(&east, b"clicks", 1000);
    east.flush().unwrap();
    let (log, all) = east.logs().remove(0);
    let have = send_log(&east, &west, &log, LogPosition::default());
    assert!(have.last > EntryId::MIN && have.last < all.last, "{have:?}");
    assert_eq!(east.trim_after(&log, have), None);
    trim_all(&east, b"clicks");
    assert_eq!(fill(&east, b"clicks", 1), None);
    east.flush().unwrap();
    let (trim, have) = east.trim_after(&log, have).unwrap();
    west.apply(&peer(), trim).unwrap();
    // On disk it holds up to a crash: then the entries may go.
    west.flush().unwrap();
    let (log, all) = east.logs().remove(0);
    assert_eq!(send_log(&east, &west, &log, have), all);
}

#[test]
fn logs_leave_room_for_counters_whoever_wrote_them() {
    let (east, west) = (grid("east"), small_grid("west"));
    assert_eq!(fill(&west, b"clicks", 1000), Some(OpError::LogsOutOfMemory));
    assert_eq!(west.lock().add(b"hits", 1), Ok(1));
    trim_all(&west, b"clicks");
    assert_eq!(fill(&east, b"clicks", 1000), None);
    east.lock().add(b"hits", 1).unwrap();
    east.flush().unwrap();
    let (log, all) = east.logs().remove(0);
    let have = send_log(&east, &west, &log, LogPosition::default());
    assert!(have.last < all.last, "{have:?}");
    let mut scan = east.scan_counters(&Positions::default());
    west.apply(&peer(), scan.next(usize::MAX).unwrap().unwrap())
        .unwrap();
    assert_eq!(west.lock().add(b"hits", 1), Ok(3));
}
