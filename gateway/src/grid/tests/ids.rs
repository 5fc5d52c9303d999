//! Ids of entries at their ends: the last one that there can be, and those that a crash took back.

use super::*;

/// The hour by which a clock was wrong.
const HOUR_MS: u64 = 3_600_000;
const NOON_MS: u64 = 1_700_000_000_000;

fn append_at(grid: &Grid, key: &[u8], id: NewId, now_ms: u64) -> EntryId {
    let mut state = grid.lock();
    let id = state.append(key, id, &payload(1), (true, None), now_ms);
    id.unwrap().unwrap()
}

fn trim(grid: &Grid, keep: Keep) {
    let trim = Trim {
        keep,
        roughly: false,
        limit: None,
    };
    grid.lock().trim(b"clicks", trim).unwrap();
}

type Change = fn(&Grid);

#[test]
fn a_log_that_has_the_last_possible_id_is_trimmed_and_deleted_at_every_site_and_stays_so() {
    let changes: [(Change, u64); 4] = [
        (|grid| trim(grid, Keep::Newest(0)), 0),
        (|grid| trim(grid, Keep::From(EntryId::MAX)), 1),
        (
            |grid| assert_eq!(grid.lock().delete(b"clicks"), Ok(true)),
            0,
        ),
        (
            |grid| assert!(grid.lock().set(b"clicks", 7, SetIf::Always, false).is_ok()),
            0,
        ),
    ];
    for (change, left) in changes {
        let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let open = |site: usize| {
            let config = GridConfig {
                peers: BTreeSet::from([["west", "east"][site].parse().unwrap()]),
                ..config(["east", "west"][site], Some(dirs[site].path().to_owned()))
            };
            Arc::new(Grid::open(config).unwrap().0)
        };
        let (east, west) = (open(0), open(1));
        append_at(&east, b"clicks", NewId::Auto, NOON_MS);
        append_at(&east, b"clicks", NewId::Explicit(EntryId::MAX), NOON_MS);
        let ship = |records: Vec<Bytes>, to: &Grid| {
            for record in records {
                to.apply(&"east".parse().unwrap(), record).unwrap();
            }
            to.flush().unwrap();
        };
        ship(flush(&east), &west);
        assert_eq!(west.stats().entries, 2);
        change(&east);
        // Whether it comes with its flush or as what was missed.
        let missed = Arc::new(Grid::open(config("north", None)).unwrap().0);
        catch_up(&west, &missed);
        let records = flush(&east);
        assert!(records.iter().any(is_log), "the change leaves its site");
        ship(records, &west);
        catch_up(&east, &missed);
        for site in [&east, &west, &missed] {
            assert_eq!(site.stats().entries, left);
            assert_eq!(site.digest(), east.digest());
        }
        drop((east, west));
        for site in [0, 1].map(open) {
            assert_eq!(site.stats().entries, left, "after a start");
        }
    }
}

#[test]
fn an_entry_with_the_last_possible_id_that_is_trimmed_and_kept_for_a_peer_is_not_seen() {
    let config = GridConfig {
        peers: BTreeSet::from([peer()]),
        ..config("east", None)
    };
    let east = Grid::open(config).unwrap().0;
    append_at(&east, b"clicks", NewId::Explicit(EntryId::MAX), NOON_MS);
    trim(&east, Keep::Newest(0));
    east.flush().unwrap();
    let state = east.lock();
    let Some(Kind::Log(id)) = state.kind(b"clicks") else {
        panic!("no log");
    };
    assert_eq!(state.log(id).range(EntryId::MIN, EntryId::MAX).count(), 0);
}

#[test]
fn ids_that_a_crash_took_back_are_given_to_no_other_entry() {
    let dir = tempfile::tempdir().unwrap();
    let open = |now_ms: u64| {
        let config = config("east", Some(dir.path().to_owned()));
        let grid = Grid::open(config.clone()).unwrap().0;
        grid.lock().resume_ids(now_ms, config.loss_window);
        grid
    };
    // The clock is an hour ahead for the first entries, and then set right.
    for clock_ms in [
        [NOON_MS + HOUR_MS; 3],
        [NOON_MS + HOUR_MS, NOON_MS, NOON_MS],
    ] {
        let [first, then, last] = clock_ms;
        let east = open(first);
        append_at(&east, b"clicks", NewId::Auto, first);
        east.flush().unwrap();
        let mut given = BTreeSet::new();
        for n in 0..50 {
            for log in [&b"clicks"[..], b"another"] {
                given.insert((log, append_at(&east, log, NewId::Auto, then + 10 * n)));
            }
        }
        // Killed before they are on disk; the clock is right at the next start, and goes on.
        drop(east);
        let east = open(last - 10);
        let hours = (0..2 * HOUR_MS).step_by(500);
        for now_ms in hours
            .map(|ms| NOON_MS + ms)
            .chain((0..50).map(|n| NOON_MS + HOUR_MS + n))
        {
            for log in [&b"clicks"[..], b"another"] {
                let id = append_at(&east, log, NewId::Auto, now_ms);
                assert!(!given.contains(&(log, id)), "{id} is given twice");
            }
        }
    }
}

/// As above, but what was lost is the directory, and a peer has the entries before.
#[test]
fn ids_that_went_with_a_directory_are_given_to_no_other_entry() {
    let (east, west) = (grid("east"), grid("west"));
    append_at(&east, b"clicks", NewId::Auto, NOON_MS + HOUR_MS);
    east.flush().unwrap();
    catch_up(&east, &west);
    let mut given = BTreeSet::new();
    for n in 0..50 {
        given.insert(append_at(&east, b"clicks", NewId::Auto, NOON_MS + n));
    }
    drop(east);

    let east = grid("east");
    east.lock().resume_ids(NOON_MS, Duration::from_secs(1));
    catch_up(&west, &east);
    for n in 0..50 {
        let id = append_at(&east, b"clicks", NewId::Auto, NOON_MS + 100 + n);
        assert!(!given.contains(&id), "{id} is given twice");
    }
}

#[test]
fn an_id_that_a_client_named_far_ahead_moves_its_own_log_alone() {
    let dir = tempfile::tempdir().unwrap();
    let config = config("east", Some(dir.path().to_owned()));
    let named = EntryId {
        ms: NOON_MS * 2,
        seq: 0,
    };
    let east = Grid::open(config.clone()).unwrap().0;
    append_at(&east, b"clicks", NewId::Explicit(named), NOON_MS);
    east.flush().unwrap();
    drop(east);
    let east = Grid::open(config).unwrap().0;
    east.lock().resume_ids(NOON_MS, Duration::from_secs(1));
    let id = append_at(&east, b"clicks", NewId::Auto, NOON_MS);
    assert_eq!(id.ms, named.ms + 1001);
    assert_eq!(
        append_at(&east, b"another", NewId::Auto, NOON_MS).ms,
        NOON_MS
    );
}
