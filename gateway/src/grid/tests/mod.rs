//! The grid as a whole: two of them that exchange records, and one that comes back from disk.

mod cleared;
mod conflicts;
mod fold;
mod model;
mod packed;
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
        keep_trimmed_for_peers: false,
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
    let flushed = grid.flushed(number).unwrap();
    flushed
        .logs
        .iter()
        .chain(&flushed.counters)
        .cloned()
        .collect()
}

fn is_log(record: &Bytes) -> bool {
    record[1] == 2
}

/// Brings `to` up to date with the means of a link that was down for long.
fn catch_up(from: &Arc<Grid>, to: &Arc<Grid>) {
    let have = to.positions();
    let mut scan = from.scan_counters(have.clone());
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

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Counters' records may come in any order and twice; logs' records in order, also twice.
    #[test]
    fn sites_that_exchange_records_converge(
        steps in proptest::collection::vec((any::<bool>(), step()), 1..60),
        order in any::<u64>(),
    ) {
        let (east, west) = (grid("east"), grid("west"));
        let mut under_way: [Vec<Bytes>; 2] = [Vec::new(), Vec::new()];
        let mut random = order | 1;
        for (at_east, step) in &steps {
            let (here, there) = if *at_east { (&east, &west) } else { (&west, &east) };
            let queue = &mut under_way[usize::from(*at_east)];
            queue.extend(run(here, step));
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            if random >> 62 == 0 && !queue.is_empty() {
                let place = (random >> 32) as usize % queue.len();
                let record = queue[place].clone();
                if !is_log(&record) {
                    there.apply(&peer(), record).unwrap();
                }
            }
        }
        // In the second round both see what the other's deadlines said.
        for _ in 0..2 {
            for grid in [&east, &west] {
                grid.lock().expire_some(5);
            }
            for (place, (here, there)) in [(&west, &east), (&east, &west)].into_iter().enumerate() {
                let mut queue = std::mem::take(&mut under_way[place]);
                queue.extend(flush(here));
                let logs: Vec<_> = queue.iter().filter(|r| is_log(r)).cloned().collect();
                let counters = queue.iter().rev().filter(|r| !is_log(r)).cloned();
                for record in counters.chain(logs.clone()).chain(logs) {
                    there.apply(&peer(), record).unwrap();
                }
            }
        }
        for grid in [&east, &west] {
            grid.flush().unwrap();
        }
        prop_assert_eq!(east.digest(), west.digest());
        // What clients see of counters is the same too.
        for key in 0..4_u8 {
            prop_assert_eq!(east.lock().get(&[b'k', key]).ok().flatten(), west.lock().get(&[b'k', key]).ok().flatten());
        }
    }

    /// A scan at any moment, with writes going on, leaves out nothing.
    #[test]
    fn a_site_that_was_away_catches_up(
        steps in proptest::collection::vec((any::<bool>(), step()), 1..60),
        catch_ups in proptest::collection::vec(0..60_usize, 0..4),
    ) {
        let (east, west) = (grid("east"), grid("west"));
        for (place, (at_east, step)) in steps.iter().enumerate() {
            run(if *at_east { &east } else { &west }, step);
            if catch_ups.contains(&place) {
                catch_up(&east, &west);
                catch_up(&west, &east);
            }
        }
        east.flush().unwrap();
        west.flush().unwrap();
        catch_up(&east, &west);
        catch_up(&west, &east);
        // The last scans may have left out what they found dirty.
        prop_assert_eq!(east.digest(), west.digest());
    }

    /// What was flushed is there after a restart, at any moment.
    #[test]
    fn a_grid_comes_back_from_its_journal(
        steps in proptest::collection::vec(step(), 1..60),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let config = config("east", Some(dir.path().to_owned()));
        let (grid, _) = Grid::open(config.clone()).unwrap();
        for step in &steps {
            run(&grid, step);
        }
        grid.flush().unwrap();
        let (digest, positions) = (grid.digest(), grid.positions());
        drop(grid);
        let (grid, recovery) = Grid::open(config).unwrap();
        prop_assert_eq!(grid.digest(), digest);
        prop_assert_eq!(grid.positions(), positions);
        prop_assert_eq!((recovery.torn_bytes, recovery.quarantined.len()), (0, 0));
    }
}

#[test]
fn a_gap_in_a_log_is_refused_and_says_where_to_go_on() {
    let (east, west) = (grid("east"), grid("west"));
    append(&east, "clicks", 1);
    let first = flush(&east);
    append(&east, "clicks", 2);
    let second = flush(&east);
    let record = second.iter().find(|record| is_log(record)).unwrap();
    let Err(ApplyError::Gap { log, have }) = west.apply(&peer(), record.clone()) else {
        panic!("the gap went unseen");
    };
    assert_eq!(have, LogPosition::default());
    while let Some((record, reached)) = east.log_after(&log, have, usize::MAX) {
        west.apply(&peer(), record).unwrap();
        if reached == east.positions().log(&log) {
            break;
        }
    }
    for record in first.iter().chain(&second) {
        west.apply(&peer(), record.clone()).unwrap();
    }
    west.flush().unwrap();
    assert_eq!(east.digest(), west.digest());
    assert_eq!(west.stats().applied_gaps_total, 1);
    assert_eq!(
        west.lock()
            .kind(b"east.clicks")
            .map(|kind| matches!(kind, Kind::Log(_))),
        Some(true)
    );
    let refused = west
        .lock()
        .append(b"east.clicks", NewId::Auto, &payload(1), (true, None), 1);
    assert_eq!(refused, Err(OpError::OthersLog("east".to_owned())));
    let refused = west
        .lock()
        .append(b"east.other", NewId::Auto, &payload(1), (true, None), 1);
    assert_eq!(refused, Err(OpError::OthersName("east".to_owned())));
}

#[test]
fn a_journal_cut_anywhere_gives_back_a_prefix() {
    let dir = tempfile::tempdir().unwrap();
    let config = config("east", Some(dir.path().to_owned()));
    let (grid, _) = Grid::open(config.clone()).unwrap();
    let mut digests = vec![grid.digest()];
    for round in 0..6 {
        grid.lock().add(b"hits", 1).unwrap();
        grid.lock()
            .add_field(b"by:path", &[b'a' + round], 1)
            .unwrap();
        append(&grid, "clicks", round);
        digests.push(grid.digest());
    }
    drop(grid);
    let path = std::fs::read_dir(dir.path())
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let whole = std::fs::read(&path).unwrap();
    let mut seen = 0;
    for cut in (0..=whole.len()).rev() {
        std::fs::write(&path, &whole[..cut]).unwrap();
        let (grid, recovery) = Grid::open(config.clone()).unwrap();
        assert!(recovery.quarantined.is_empty());
        // A flush is two records here, so a cut may fall between those of one flush.
        let hits = grid.lock().get(b"hits").unwrap().unwrap_or(0);
        let entries = grid.stats().entries as i64;
        assert!(entries == hits || entries == hits + 1, "{entries} {hits}");
        seen += usize::from(digests.contains(&grid.digest()));
    }
    assert!(seen >= digests.len());
}

#[test]
fn a_damaged_record_is_put_aside_and_the_rest_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let config = config("east", Some(dir.path().to_owned()));
    let (grid, _) = Grid::open(config.clone()).unwrap();
    for key in [b"a", b"b", b"c"] {
        grid.lock().add(key, 1).unwrap();
        grid.flush().unwrap();
    }
    drop(grid);
    let path = std::fs::read_dir(dir.path())
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let (grid, recovery) = Grid::open(config.clone()).unwrap();
    assert_eq!(recovery.quarantined.len(), 1, "{recovery}");
    assert_eq!(grid.stats().keys, 2);
    assert_eq!(
        std::fs::read_dir(dir.path().join("quarantine"))
            .unwrap()
            .count(),
        1
    );
    grid.lock().add(b"b", 1).unwrap();
    grid.flush().unwrap();
    drop(grid);
    assert_eq!(Grid::open(config).unwrap().0.stats().keys, 3);
}

#[test]
fn ids_never_go_back_even_when_the_clock_does() {
    let dir = tempfile::tempdir().unwrap();
    let config = config("east", Some(dir.path().to_owned()));
    let (grid, _) = Grid::open(config.clone()).unwrap();
    let append = |grid: &Grid, now| {
        grid.lock()
            .append(b"l", NewId::Auto, &payload(0), (true, None), now)
            .unwrap()
            .unwrap()
    };
    let first = append(&grid, 10_000);
    let second = append(&grid, 5_000);
    assert!(second > first);
    grid.lock().delete(b"l").unwrap();
    grid.flush().unwrap();
    drop(grid);
    let (grid, _) = Grid::open(config).unwrap();
    assert_eq!(grid.lock().kind(b"l"), None);
    assert!(append(&grid, 1) > second);
    assert_eq!(grid.stats().entries, 1);
}

#[test]
fn names_of_different_kinds_at_two_sites_converge() {
    let (east, west) = (grid("east"), grid("west"));
    east.lock().add(b"x", 1).unwrap();
    west.lock().add_field(b"x", b"f", 2).unwrap();
    append(&west, "x2", 1);
    east.lock().add(b"west.x2", 1).unwrap();
    for _ in 0..2 {
        east.flush().unwrap();
        west.flush().unwrap();
        catch_up(&east, &west);
        catch_up(&west, &east);
    }
    assert_eq!(east.digest(), west.digest());
    for grid in [&east, &west] {
        assert_eq!(grid.lock().kind(b"x"), Some(Kind::Counter));
        assert_eq!(grid.lock().get_field(b"x", b"f"), Err(OpError::WrongType));
    }
    assert_eq!(east.lock().kind(b"west.x2"), Some(Kind::Counter));
    // Deleting the counter brings the hash to light, at both.
    east.lock().delete(b"x").unwrap();
    east.flush().unwrap();
    catch_up(&east, &west);
    assert_eq!(
        west.lock().kind(b"x"),
        None,
        "DEL takes everything behind the name"
    );
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

#[test]
fn a_full_disk_refuses_writes_and_loses_nothing_when_space_returns() {
    let dir = tempfile::tempdir().unwrap();
    let config = config("east", Some(dir.path().to_owned()));
    let (grid, _) = Grid::open(config.clone()).unwrap();
    grid.lock().add(b"hits", 1).unwrap();
    let durable = grid.flush().unwrap();
    // Confirmed in memory, then the disk is full.
    grid.lock().add(b"hits", 1).unwrap();
    append(&grid, "clicks", 1);
    grid.writer.lock().break_disk(true);
    assert!(grid.flush().is_err());
    let refused = grid.lock().add(b"hits", 1);
    assert!(refused.unwrap_err().to_string().starts_with("MISCONF"));
    let record = CounterRecord::of(b"hits", 5);
    assert!(matches!(
        grid.apply(&peer(), record.clone()),
        Err(ApplyError::Refused(_))
    ));
    assert_eq!(
        *grid.subscribe().borrow(),
        durable,
        "peers are shown nothing that is not on disk"
    );
    assert_eq!(grid.positions().watermark(&grid.origin()), durable);
    assert!(grid.flush().is_err(), "still full");
    grid.writer.lock().break_disk(false);
    let epoch = grid.flush().unwrap();
    assert!(epoch > durable);
    assert_eq!(grid.lock().add(b"hits", 1), Ok(3));
    grid.apply(&peer(), record).unwrap();
    let digest = grid.digest();
    drop(grid);
    let (grid, recovery) = Grid::open(config).unwrap();
    assert_eq!(recovery.quarantined, Vec::<String>::new());
    assert_eq!(grid.digest(), digest);
    assert_eq!(grid.lock().get(b"hits"), Ok(Some(8)));
}

/// A record as another site would send it.
struct CounterRecord;

impl CounterRecord {
    fn of(key: &[u8], value: i64) -> Bytes {
        let west = grid("west");
        west.lock().add(key, value).unwrap();
        flush(&west).pop().unwrap()
    }
}

#[test]
fn a_journal_that_grows_is_rewritten_while_clients_write() {
    let dir = tempfile::tempdir().unwrap();
    let config = config("east", Some(dir.path().to_owned()));
    let (grid, _) = Grid::open(config.clone()).unwrap();
    for round in 0..40_u32 {
        for key in 0..2000_u32 {
            grid.lock()
                .add(&(key % (round + 1) * 7 + key).to_le_bytes(), 1)
                .unwrap();
        }
        append(&grid, "clicks", round as u8);
        if round == 10 {
            grid.begin_rewrite_now();
        }
        grid.flush().unwrap();
    }
    assert_eq!(grid.stats().compactions_total, 1);
    let files = std::fs::read_dir(dir.path()).unwrap().count();
    assert_eq!(files, 1, "the old file is gone");
    let digest = grid.digest();
    drop(grid);
    let (grid, recovery) = Grid::open(config).unwrap();
    assert_eq!(grid.digest(), digest);
    assert!(recovery.quarantined.is_empty());
}

#[test]
fn what_a_lost_disk_held_comes_back_from_a_peer_and_is_named() {
    let (east, west) = (grid("east"), grid("west"));
    for _ in 0..3 {
        east.lock().add(b"hits", 5).unwrap();
        append(&east, "clicks", 1);
        east.flush().unwrap();
    }
    catch_up(&east, &west);
    // The same data directory, its journal gone.
    let east = grid("east");
    catch_up(&west, &east);
    assert_eq!(east.lock().get(b"hits"), Ok(Some(15)));
    assert!(east.stats().own_from_peers_total > 0);
    // And it goes on from there: what it writes next is newer than all that peers hold.
    east.lock().add(b"hits", 1).unwrap();
    assert!(append(&east, "clicks", 2) > EntryId::MIN);
    east.flush().unwrap();
    catch_up(&east, &west);
    catch_up(&west, &east);
    assert_eq!(west.lock().get(b"hits"), Ok(Some(16)));
    assert_eq!(east.digest(), west.digest());
    assert_eq!(west.stats().own_from_peers_total, 0);
}
