//! What is lost or wrong of a log comes back from a peer.

use std::path::Path;
use std::time::Instant;

use super::cold::{ALL, files, fill, flip_a_bit, line, open, read_of, rewrite};
use super::*;
use crate::grid::cold::Scrub;

/// `log` of east, as it stands on `grid`.
fn east_log() -> LogName {
    LogName {
        site: "east".parse().unwrap(),
        name: b"log"[..].into(),
    }
}

fn site(name: &str, dir: &Path) -> Arc<Grid> {
    let config = GridConfig {
        cold: Some(ALL),
        ..config(name, Some(dir.to_owned()))
    };
    Arc::new(Grid::open(config).unwrap().0)
}

/// What a peer would tell of a span, at most so many records.
fn tell(from: &Grid, log: &LogName, span: Span, is_right: bool) -> Told {
    let mut told = Told {
        records: Vec::new(),
        reached: span.after,
        is_right,
    };
    while told.reached < span.to && told.records.len() < 20 {
        let have = LogPosition {
            last: told.reached,
            ..LogPosition::default()
        };
        let Some((record, reached)) = from.log_after(log, have, 100_000) else {
            break;
        };
        told.records.push(record);
        told.reached = reached.last;
    }
    told
}

/// Takes `span` of east's log anew, as far as `from` has it.
fn mend(to: &Grid, from: &Grid, span: Span, is_right: bool) -> Mended {
    mend_log(to, from, (&east_log(), span), is_right)
}

pub(super) fn mend_log(
    to: &Grid,
    from: &Grid,
    (log, mut span): (&LogName, Span),
    is_right: bool,
) -> Mended {
    let mut all = Mended::default();
    while let Some(unit) = to.mendable(log, span) {
        let told = tell(from, log, unit, is_right);
        let mended = to.mend(log, unit, &told).unwrap();
        all.added += mended.added;
        all.contradicted += mended.contradicted;
        all.replaced += mended.replaced;
        all.reached = mended.reached;
        if mended.reached <= unit.after || mended.reached >= span.to {
            break;
        }
        span.after = mended.reached;
    }
    all
}

/// Takes what is lost from a peer.
pub(super) fn mend_holes(to: &Grid, from: &Grid) {
    for (log, span) in to.holes() {
        mend_log(to, from, (&log, span), false);
    }
}

/// Likewise, until a reader comes upon nothing that is lost any more.
pub(super) fn mend_all(to: &Grid, from: &Grid) {
    for _ in 0..100 {
        to.digest();
        if to.holes().is_empty() {
            return;
        }
        mend_holes(to, from);
    }
    panic!("it is never whole");
}

/// East with a log of 200 entries, mostly on disk and nowhere else, and west that has it all.
fn two_sites() -> (tempfile::TempDir, Arc<Grid>, Arc<Grid>) {
    let dir = tempfile::tempdir().unwrap();
    let east = site("east", dir.path());
    for round in 0..20 {
        fill(&east, 1 + round * 10, (round + 1) * 10);
        assert!(east.spill() > 0);
    }
    rewrite(&east);
    east.close_cold();
    let west = grid("west");
    catch_up(&east, &west);
    (dir, east, west)
}

/// All of the log can be read, and the grid is what it was.
fn assert_whole(east: &Grid, digest: Digest) {
    assert_eq!(
        (read_of(east, b"log", IdRange::ALL), east.digest()),
        ((1..=200).collect(), digest)
    );
}

fn assert_whole_after_start(dir: &Path, digest: Digest) {
    let (east, recovery) = open(dir);
    assert_eq!(recovery.cold_damaged, Vec::<String>::new());
    assert_whole(&east, digest);
}

#[test]
fn a_block_with_a_flipped_bit_comes_back_from_a_peer_and_stays() {
    let (dir, east, west) = two_sites();
    let digest = west.digest();
    drop(east);
    flip_a_bit(dir.path());
    let (east, _) = open(dir.path());
    let mut found = east.subscribe_holes();
    assert_ne!(east.digest(), digest);
    assert!(found.has_changed().unwrap(), "who mends is woken");
    found.mark_unchanged();
    // Nobody has it: the error stays.
    let empty = grid("north");
    mend_holes(&east, &empty);
    assert!(east.stats().log_holes > 0);
    mend_all(&east, &west);
    assert_eq!(east.stats().log_holes, 0);
    assert!(east.stats().mended_entries_total > 0);
    assert_whole(&east, digest);
    assert_eq!(east.stats().entries, 200);
    drop(east);
    assert_whole_after_start(dir.path(), digest);
}

#[test]
fn a_disk_that_refuses_leaves_all_as_it_was() {
    let (dir, east, west) = two_sites();
    drop(east);
    flip_a_bit(dir.path());
    let (east, _) = open(dir.path());
    east.digest();
    let (log, hole) = east.holes().remove(0);
    let known = files(dir.path());
    east.cold.lock().as_mut().unwrap().break_disk(true);
    let unit = east.mendable(&log, hole).unwrap();
    let told = tell(&west, &log, unit, false);
    let refused = east.mend(&log, unit, &told);
    assert!(matches!(refused, Err(MendError::Io(_))), "{refused:?}");
    assert_eq!((files(dir.path()), east.holes().len()), (known, 1));
    east.cold.lock().as_mut().unwrap().break_disk(false);
    mend_all(&east, &west);
    assert_eq!(east.digest(), west.digest());
}

#[test]
fn marks_show_where_copies_differ() {
    let (west_dir, north_dir) = (disk(), disk());
    let ids: Vec<_> = (1..=60).map(|ms| (ms, false)).collect();
    let mut bent = ids.clone();
    bent[9].1 = true;
    bent.remove(39);
    let west = copy("west", west_dir.path(), &ids, 20);
    let north = copy("north", north_dir.path(), &bent, 20);
    let (log, min) = (east_log(), EntryId::MIN);
    let marks = west.log_marks(&log, min, LogDepth::Disk).unwrap();
    assert_eq!(marks.end().ms, 60);
    assert_eq!(west.log_marks(&log, marks.end(), LogDepth::Disk), None);
    assert_eq!(west.compare_log(&log, &marks, LogDepth::Disk), Vec::new());
    let found = north.compare_log(&log, &marks, LogDepth::Disk);
    assert_eq!(
        found,
        [Span {
            after: min,
            to: marks.end()
        }]
    );
    // Without the disk only what both have in memory is compared.
    let newest = west.log_marks(&log, min, LogDepth::Memory).unwrap();
    assert!(newest.start.ms > 40, "{newest:?}");
    assert_eq!(
        north.compare_log(&log, &newest, LogDepth::Memory),
        Vec::new()
    );
    let mended = mend(&north, &west, found[0], true);
    assert_eq!(
        (mended.added, mended.contradicted, mended.replaced),
        (1, 1, 1)
    );
    assert_eq!(north.compare_log(&log, &marks, LogDepth::Disk), Vec::new());
    // Who agrees with the origin is believed, from there on.
    assert!(!north.agrees(&log, min));
    north.set_agrees(&log, Some(newest.start));
    assert!(!north.agrees(&log, min) && north.agrees(&log, newest.end()));
    north.set_agrees(&log, None);
    assert!(!north.agrees(&log, newest.end()));
}

#[test]
fn what_a_crash_left_half_written_counts_for_nothing() {
    let (dir, east, west) = two_sites();
    let digest = west.digest();
    drop(east);
    flip_a_bit(dir.path());
    let (east, _) = open(dir.path());
    east.digest();
    let known = files(dir.path());
    let (log, hole) = east.holes().remove(0);
    mend_log(&east, &west, (&log, hole), false);
    drop(east);
    let mut new = files(dir.path());
    new.retain(|path| !known.contains(path));
    let aside = new[0].with_extension("part");
    let bytes = std::fs::read(&new[0]).unwrap();
    std::fs::remove_file(&new[0]).unwrap();
    std::fs::write(&aside, &bytes[..bytes.len() - 1]).unwrap();
    let (east, recovery) = open(dir.path());
    assert_eq!(recovery.cold_damaged, Vec::<String>::new());
    assert!(!aside.exists());
    east.digest();
    assert!(east.stats().log_holes > 0, "it is as before");
    mend_all(&east, &west);
    assert_whole(&east, digest);
}

#[test]
fn what_is_missing_with_the_folder_of_cold_logs_comes_back() {
    let (dir, east, west) = two_sites();
    let digest = west.digest();
    drop(east);
    std::fs::remove_dir_all(dir.path().join("cold")).unwrap();
    let (east, recovery) = open(dir.path());
    assert_eq!(recovery.quarantined, Vec::<String>::new());
    assert_eq!(recovery.cold_damaged.len(), 1, "{recovery:?}");
    assert_eq!(east.logs()[0].1.last.ms, 200, "ids go on");
    mend_holes(&east, &west);
    assert_whole(&east, digest);
    drop(east);
    assert_whole_after_start(dir.path(), digest);
}

#[test]
fn a_slow_walk_finds_what_rots_and_goes_round() {
    let (dir, east, west) = two_sites();
    let blocks = east.stats().cold_blocks;
    drop(east);
    flip_a_bit(dir.path());
    let (east, _) = open(dir.path());
    let (every, begun) = (Duration::from_secs(1000), Instant::now());
    let mut scrub = Scrub::new(every, begun, 7);
    let mut walk = |grid: &Grid, from: u64, to: u64| {
        (from..to).for_each(|s| scrub.step(grid, begun + Duration::from_secs(s)));
    };
    walk(&east, 0, 500);
    let half = east.stats().scrubbed_blocks_total;
    assert!(
        (blocks / 3..=blocks * 2 / 3).contains(&half),
        "{half} of {blocks}"
    );
    walk(&east, 500, 2200);
    let lost = east.stats().log_holes;
    assert!((1..=8).contains(&lost), "those of a group: {lost}");
    mend_holes(&east, &west);
    assert_eq!(east.digest(), west.digest());
    walk(&east, 2200, 4400);
    assert_eq!(east.stats().lost_blocks_total, lost, "and now all is well");
}

/// A record with entries `ids` of east's log, each with the line of the id plus `off`.
fn record(prev: u64, ids: &[u64], off: u64) -> Bytes {
    let prev = EntryId { ms: prev, seq: 0 };
    let head = record::LogHead {
        log: east_log(),
        prev,
        trimmed_to: EntryId::MIN,
        revision: 0,
    };
    let mut builder = record::SectionBuilder::new(&head, RECORD_BYTES_MAX);
    for ms in ids {
        builder.add(EntryId { ms: *ms, seq: 0 }, &line(ms + off));
    }
    builder.finish()
}

#[test]
fn a_peer_that_tells_something_else_changes_nothing() {
    let (dir, east, _) = two_sites();
    drop(east);
    flip_a_bit(dir.path());
    let (east, _) = open(dir.path());
    east.digest();
    let holes = east.holes();
    let (log, hole) = &holes[0];
    let unit = east.mendable(log, *hole).unwrap();
    let (first, last) = (unit.after.ms, unit.to.ms);
    let some: Vec<_> = (first + 1..=last).collect();
    let told = |records| Told {
        records,
        reached: unit.to,
        is_right: true,
    };
    let bad = [
        vec![Bytes::from_static(b"garbage")],
        vec![record(first + 1, &[last], 0)],
        vec![record(first, &some[1..], 0)],
        vec![record(first, &some[..some.len() - 1], 0)],
        vec![record(first, &[], 0)],
    ];
    for records in bad {
        assert!(east.mend(log, unit, &told(records)).is_err());
        assert_eq!(east.holes(), holes);
    }
    // One that stops before the end is no answer yet.
    let mut short = told(vec![record(first, &some[..1], 0)]);
    short.reached.ms = first + 1;
    let mended = east.mend(log, unit, &short).unwrap();
    assert_eq!((mended.reached, mended.added), (unit.after, 0));
    east.mend(log, unit, &told(vec![record(first, &some, 0)]))
        .unwrap();
    assert_eq!(east.holes().len(), holes.len() - 1);
}

/// Where there is one, a folder in memory: its fsyncs cost nothing.
fn disk() -> tempfile::TempDir {
    let dir = tempfile::tempdir_in("/dev/shm");
    dir.or_else(|_| tempfile::tempdir()).unwrap()
}

/// What two sites hold of one log, entry by entry, and whose word counts.
fn copy(name: &str, dir: &Path, ids: &[(u64, bool)], spill_every: usize) -> Arc<Grid> {
    let grid = site(name, dir);
    let mut prev = 0;
    for (place, (ms, bent)) in ids.iter().enumerate() {
        let record = record(prev, &[*ms], u64::from(*bent) * 1000);
        grid.apply(&peer(), record).unwrap();
        prev = *ms;
        if (place + 1) % spill_every == 0 {
            grid.flush().unwrap();
            grid.spill();
        }
    }
    grid.flush().unwrap();
    grid
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// West and north hold parts of east's log, in memory and on disk, some with other bytes. Both
    /// end up with the union, and with west's bytes, whatever is trimmed and whenever they restart.
    #[test]
    fn two_copies_become_one(
        west in proptest::collection::btree_map(1..60_u64, any::<bool>(), 1..40),
        north in proptest::collection::btree_map(1..60_u64, any::<bool>(), 1..40),
        (spill_west, spill_north) in (3..50_usize, 3..50_usize),
        span in (0..60_u64, 0..60_u64), trim in 0..30_u64, restart: bool,
    ) {
        let (west_dir, north_dir) = (disk(), disk());
        let ids = |map: &BTreeMap<u64, bool>| {
            let mut ids: Vec<_> = map.iter().map(|(ms, bent)| (*ms, *bent)).collect();
            ids.push((60, false));
            ids
        };
        let (west_ids, north_ids) = (ids(&west), ids(&north));
        let west = copy("west", west_dir.path(), &west_ids, spill_west);
        let mut north = copy("north", north_dir.path(), &north_ids, spill_north);
        if trim > 0 {
            let head = record::LogHead {
                log: east_log(),
                prev: EntryId { ms: 60, seq: 0 },
                trimmed_to: EntryId { ms: trim - 1, seq: u64::MAX },
                revision: 0,
            };
            let nothing = record::SectionBuilder::new(&head, RECORD_BYTES_MAX).finish();
            north.apply(&peer(), nothing).unwrap();
            north.flush().unwrap();
        }
        let (from, to) = (span.0.min(span.1), span.0.max(span.1));
        let part = Span {
            after: EntryId { ms: from, seq: 0 },
            to: EntryId { ms: to, seq: 0 },
        };
        mend(&north, &west, part, true);
        check(&north, &north_ids, &west_ids, (from, to), trim);
        if restart {
            drop(north);
            north = site("north", north_dir.path());
            check(&north, &north_ids, &west_ids, (from, to), trim);
        }
        mend(&north, &west, Span::ALL, true);
        mend(&west, &north, Span::ALL, false);
        let visible = |grid: &Grid| {
            let mut seen = Vec::new();
            let id = grid.log_id(&east_log()).unwrap();
            let after = trim.saturating_sub(1);
            let range = IdRange::from(EntryId { ms: after, seq: 1 });
            let found = |id: EntryId, payload: &[u8]| {
                seen.push((id, payload.to_vec()));
                true
            };
            grid.read_log(id, range, found).unwrap();
            seen
        };
        prop_assert_eq!(visible(&north), visible(&west));
        let again = mend(&north, &west, Span::ALL, true);
        prop_assert_eq!((again.added, again.contradicted), (0, 0));
        let bytes: usize = north.lock().logs.iter().map(Log::bytes).sum();
        prop_assert_eq!(north.lock().log_bytes, bytes);
    }
}

/// North holds everything that it held, and in the span what west holds, with west's bytes.
fn check(
    north: &Grid,
    own: &[(u64, bool)],
    theirs: &[(u64, bool)],
    (from, to): (u64, u64),
    trim: u64,
) {
    let mut seen = Vec::new();
    let id = north.log_id(&east_log()).unwrap();
    let found = |id: EntryId, payload: &[u8]| {
        let bent = payload != line(id.ms);
        assert!(!bent || payload == line(id.ms + 1000));
        seen.push((id.ms, bent));
        true
    };
    north.read_log(id, IdRange::ALL, found).unwrap();
    assert_eq!(north.stats().entries, seen.len() as u64);
    assert!(seen.is_sorted_by(|a, b| a.0 < b.0));
    let is_there = |(ms, _): &&(u64, bool)| *ms >= trim;
    for (ms, bent) in own.iter().filter(is_there) {
        let here = seen.iter().find(|seen| seen.0 == *ms);
        let here = here.expect("what was here stays");
        let told = theirs.iter().find(|told| told.0 == *ms);
        if from < *ms
            && *ms <= to
            && let Some(told) = told
        {
            assert_eq!(here, told);
        } else if here.1 != *bent {
            // It stands in one block with what was taken.
            assert_eq!(Some(here), told);
        }
    }
    for told in theirs.iter().filter(is_there) {
        if from < told.0 && told.0 <= to {
            assert!(seen.contains(told), "{told:?} of {seen:?}");
        }
    }
}
