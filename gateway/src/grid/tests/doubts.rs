//! What a damaged journal lost of logs is known to be missing, or to be in doubt, until it is back.

use std::path::Path;

use super::cold::{ALL, add, fill, line, read_of, rewrite};
use super::mend::{mend_holes, mend_log};
use super::*;

/// East, with the peers west and north.
fn east(dir: &Path) -> (Arc<Grid>, Recovery) {
    let peers = ["west", "north"].map(|site| site.parse().unwrap());
    let config = GridConfig {
        cold: Some(ALL),
        peers: peers.into(),
        ..config("east", Some(dir.to_owned()))
    };
    let (grid, recovery) = Grid::open(config).unwrap();
    (Arc::new(grid), recovery)
}

fn site(name: &str) -> SiteName {
    name.parse().unwrap()
}

/// Damages the frames that hold one of these entries.
fn damage(dir: &Path, entries: &[u64]) {
    for file in std::fs::read_dir(dir).unwrap() {
        let path = file.unwrap().path();
        if !path.is_file() {
            continue;
        }
        let mut bytes = std::fs::read(&path).unwrap();
        for entry in entries {
            let line = line(*entry);
            let place = bytes.windows(line.len()).position(|part| part == line);
            bytes[place.unwrap()] ^= 1;
        }
        std::fs::write(path, bytes).unwrap();
    }
}

/// Why the log cannot be read to its end.
fn refused(grid: &Grid) -> String {
    let log = grid.log_id(&east_log()).unwrap();
    let read = grid.read_log(log, IdRange::ALL, |_, _| true);
    read.unwrap_err().to_string()
}

fn east_log() -> LogName {
    LogName {
        site: site("east"),
        name: b"log"[..].into(),
    }
}

/// Takes from a peer what may be lost, as a comparison does.
fn mend_doubts(to: &Grid, from: &Grid) {
    for (log, span) in to.doubts() {
        mend_log(to, from, (&log, span), false);
    }
}

fn ids(ranges: impl IntoIterator<Item = std::ops::RangeInclusive<u64>>) -> Vec<u64> {
    ranges.into_iter().flatten().collect()
}

#[test]
fn what_follows_a_damaged_record_stays_and_what_it_held_is_a_hole() {
    let dir = tempfile::tempdir().unwrap();
    let (grid, _) = east(dir.path());
    let west = super::grid("west");
    for n in 1..=60 {
        fill(&grid, n, n);
    }
    catch_up(&grid, &west);
    drop(grid);
    damage(dir.path(), &[20, 21, 40]);
    let (grid, recovery) = east(dir.path());
    assert_eq!(recovery.quarantined.len(), 3, "{recovery}");
    assert_eq!(grid.stats().entries, 57);
    assert_eq!(grid.holes().len(), 2);
    assert!(refused(&grid).contains("are lost"), "{}", refused(&grid));
    // The journal is rewritten without the damage, and says so all the same.
    grid.flush().unwrap();
    rewrite(&grid);
    drop(grid);
    let (grid, recovery) = east(dir.path());
    assert_eq!(recovery.quarantined, Vec::<String>::new());
    assert_eq!((grid.stats().entries, grid.holes().len()), (57, 2));
    // A peer that lacks what is lost here is sent nothing beyond it.
    let north = super::grid("north");
    catch_up(&grid, &north);
    assert_eq!(read_of(&north, b"east.log", IdRange::ALL), ids([1..=19]));
    let mut mended = grid.subscribe_mended();
    mend_holes(&grid, &west);
    assert!(mended.has_changed().unwrap(), "it is to be sent now");
    mended.mark_unchanged();
    assert_eq!(grid.digest(), west.digest());
    catch_up(&grid, &north);
    assert_eq!(north.digest(), west.digest());
    drop(grid);
    let (grid, _) = east(dir.path());
    assert_eq!(read_of(&grid, b"log", IdRange::ALL), ids([1..=60]));
    assert_eq!(grid.stats().log_holes, 0);
}

#[test]
fn what_clients_append_after_damage_encloses_a_doubt_until_every_peer_is_compared() {
    let dir = tempfile::tempdir().unwrap();
    let (grid, _) = east(dir.path());
    let (west, north) = (super::grid("west"), super::grid("north"));
    for n in 1..=28 {
        fill(&grid, n, n);
        if n == 20 {
            catch_up(&grid, &north);
        }
    }
    catch_up(&grid, &west);
    // Something of the journal stands behind the last entries.
    grid.lock().add(b"hits", 1).unwrap();
    grid.flush().unwrap();
    drop(grid);
    damage(dir.path(), &ids([15..=28]));
    let (grid, recovery) = east(dir.path());
    assert!(recovery.is_doubtful);
    assert_eq!(read_of(&grid, b"log", IdRange::ALL), ids([1..=14]));
    assert_eq!(grid.stats().doubted_peers, 2);
    add(&grid, 100);
    let one = append(&grid, "other", 1);
    fill(&grid, 101, 102);
    let told = |grid: &Grid| {
        assert!(refused(grid).contains("may be lost"), "{}", refused(grid));
        let log = grid.log_id(&east_log()).unwrap();
        assert!(grid.lock().log(log).is_uncounted());
        let doubts: Vec<_> = grid
            .doubts()
            .into_iter()
            .map(|(log, span)| (log.name, span.to))
            .collect();
        let before = |id: EntryId| id.previous().unwrap();
        let log = before(EntryId { ms: 100, seq: 0 });
        assert_eq!(
            doubts,
            [(b"log"[..].into(), log), (b"other"[..].into(), before(one))]
        );
    };
    told(&grid);
    assert_eq!(grid.stats().log_holes, 2);
    // Killed, and rewritten meanwhile or not.
    drop(grid);
    let (grid, _) = east(dir.path());
    told(&grid);
    grid.flush().unwrap();
    rewrite(&grid);
    drop(grid);
    let (grid, recovery) = east(dir.path());
    assert!(!recovery.is_doubtful);
    told(&grid);
    // What is not known to be lost keeps nothing back.
    catch_up(&grid, &north);
    catch_up(&grid, &west);
    mend_doubts(&grid, &north);
    grid.settle_doubts(&site("north"));
    assert!(refused(&grid).contains("may be lost"));
    grid.spill();
    mend_doubts(&grid, &west);
    grid.settle_doubts(&site("west"));
    let all = ids([1..=28, 100..=102]);
    assert_eq!(read_of(&grid, b"log", IdRange::ALL), all);
    assert_eq!((grid.stats().log_holes, grid.stats().doubted_peers), (0, 0));
    grid.flush().unwrap();
    drop(grid);
    let (grid, _) = east(dir.path());
    assert_eq!(read_of(&grid, b"log", IdRange::ALL), all);
    assert_eq!(grid.stats().log_holes, 0);
    assert_eq!(grid.digest(), west.digest());
}

#[test]
fn what_is_lost_and_trimmed_keeps_nothing_back() {
    let dir = tempfile::tempdir().unwrap();
    let (grid, _) = east(dir.path());
    (1..=9).for_each(|n| fill(&grid, n, n));
    drop(grid);
    damage(dir.path(), &[5]);
    let (grid, _) = east(dir.path());
    let north = super::grid("north");
    catch_up(&grid, &north);
    assert_eq!(read_of(&north, b"east.log", IdRange::ALL), ids([1..=4]));
    // Whoever gives it up trims the log behind it.
    let keep = Keep::From(EntryId { ms: 6, seq: 0 });
    let trim = Trim {
        keep,
        roughly: false,
        limit: None,
    };
    grid.lock().trim(b"log", trim).unwrap();
    grid.flush().unwrap();
    catch_up(&grid, &north);
    assert_eq!(read_of(&north, b"east.log", IdRange::ALL), ids([6..=9]));
    assert_eq!(grid.digest(), north.digest());
    // In one record, too.
    let (record, _) = grid
        .log_after(&east_log(), LogPosition::default(), RECORD_BYTES_MAX)
        .unwrap();
    let west = super::grid("west");
    west.apply(&peer(), record).unwrap();
    west.flush().unwrap();
    assert_eq!(read_of(&west, b"east.log", IdRange::ALL), ids([6..=9]));
}

#[test]
fn without_a_peer_nobody_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let config = config("east", Some(dir.path().to_owned()));
    let (grid, _) = Grid::open(config.clone()).unwrap();
    (1..=5).for_each(|n| fill(&grid, n, n));
    grid.lock().add(b"hits", 1).unwrap();
    grid.flush().unwrap();
    drop(grid);
    damage(dir.path(), &[5]);
    let (grid, _) = Grid::open(config).unwrap();
    add(&grid, 9);
    assert_eq!(read_of(&grid, b"log", IdRange::ALL), [1, 2, 3, 4, 9]);
}

#[test]
fn a_peer_that_is_removed_is_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let (grid, _) = east(dir.path());
    (1..=5).for_each(|n| fill(&grid, n, n));
    grid.lock().add(b"hits", 1).unwrap();
    grid.flush().unwrap();
    drop(grid);
    damage(dir.path(), &[5]);
    let (grid, _) = east(dir.path());
    fill(&grid, 9, 9);
    drop(grid);
    let (grid, _) = Grid::open(config("east", Some(dir.path().to_owned()))).unwrap();
    assert_eq!(read_of(&grid, b"log", IdRange::ALL), [1, 2, 3, 4, 9]);
}
