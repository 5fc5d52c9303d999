//! A grid that comes back from its journal: cut, damaged, rewritten, on a full disk.

use super::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

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
        let (digest, positions) = (grid.digest(), positions(&grid));
        drop(grid);
        let (grid, recovery) = Grid::open(config).unwrap();
        prop_assert_eq!(grid.digest(), digest);
        prop_assert_eq!(super::positions(&grid), positions);
        prop_assert_eq!((recovery.torn_bytes, recovery.quarantined.len()), (0, 0));
    }
}

fn first_file(dir: &std::path::Path) -> PathBuf {
    let first = std::fs::read_dir(dir).unwrap().next().unwrap();
    first.unwrap().path()
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
    let path = first_file(dir.path());
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
    let path = first_file(dir.path());
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
    assert_eq!(positions(&grid).watermark(&grid.origin()), durable);
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

/// Bytes of all files in `dir`, and how many there are.
fn files(dir: &std::path::Path) -> (u64, usize) {
    let files = std::fs::read_dir(dir).unwrap();
    let lens = files.map(|file| file.unwrap().metadata().unwrap().len());
    lens.fold((0, 0), |(bytes, count), len| (bytes + len, count + 1))
}

#[test]
fn a_full_disk_gets_back_what_attempts_to_write_took() {
    let dir = tempfile::tempdir().unwrap();
    let config = config("east", Some(dir.path().to_owned()));
    let (grid, _) = Grid::open(config.clone()).unwrap();
    grid.lock().add(b"hits", 1).unwrap();
    grid.flush().unwrap();
    append(&grid, "clicks", 1);
    grid.lock().add(b"hits", 1).unwrap();
    grid.writer.lock().break_disk(true);
    grid.flush().unwrap_err();
    // Whole records stay, as the process might end before there is space.
    let before = files(dir.path());
    for _ in 0..3 {
        // At once, without the pause.
        grid.writer.lock().break_disk(true);
        grid.flush().unwrap_err();
        assert_eq!(files(dir.path()), before);
    }
    // There is not even room for the head of a new file; then the process ends.
    let unbegun = dir.path().join("journal-00000000000000ff");
    std::fs::write(&unbegun, b"straitG").unwrap();
    drop(grid);
    let (grid, recovery) = Grid::open(config).unwrap();
    assert_eq!((recovery.torn_bytes, recovery.quarantined), (0, vec![]));
    assert_eq!(files(dir.path()), before);
    assert_eq!(grid.lock().get(b"hits"), Ok(Some(1)));
    assert_eq!(grid.stats().entries, 1, "the record of the log was whole");
}

#[test]
fn a_journal_that_somebody_removes_is_written_anew() {
    let dir = tempfile::tempdir().unwrap();
    let config = config("east", Some(dir.path().to_owned()));
    let (grid, _) = Grid::open(config.clone()).unwrap();
    grid.lock().add(b"before", 1).unwrap();
    grid.flush().unwrap();
    for file in std::fs::read_dir(dir.path()).unwrap() {
        std::fs::remove_file(file.unwrap().path()).unwrap();
    }
    grid.lock().add(b"after", 1).unwrap();
    let error = grid.flush().unwrap_err().to_string();
    assert!(error.contains("was removed"), "{error}");
    // The next attempt need not be waited for.
    grid.writer.lock().break_disk(false);
    grid.flush().unwrap();
    let digest = grid.digest();
    drop(grid);
    let (grid, _) = Grid::open(config).unwrap();
    assert_eq!(grid.digest(), digest);
    assert_eq!(grid.lock().get(b"before"), Ok(Some(1)));
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
