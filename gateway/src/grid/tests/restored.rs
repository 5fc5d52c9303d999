//! A site whose disk lost what it had fsynced: its data directory was put back from an older copy,
//! its machine from a snapshot, or the disk lied. It goes on from there before a peer is heard.

use std::path::Path;

use super::*;
use crate::grid::journal::frame::JOURNAL_MAGIC;
use crate::grid::journal::{Generation, JournalReader};

fn open(site: &str, dir: &Path, peers: &[&str]) -> Arc<Grid> {
    let config = GridConfig {
        peers: peers.iter().map(|peer| peer.parse().unwrap()).collect(),
        ..config(site, Some(dir.to_owned()))
    };
    Arc::new(Grid::open(config).unwrap().0)
}

pub(super) fn copy(from: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.path().join(entry.file_name())).unwrap();
    }
    to
}

/// A session of two sites from its beginning, as [`replicate`](crate::replicate) has it.
pub(super) fn link(a: &Arc<Grid>, b: &Arc<Grid>) {
    let sides = [(a, b), (b, a)];
    let told = sides.map(|(site, peer)| site.positions_for(&peer.origin().site, Feed::Counters));
    let lost = [(a, &told[1]), (b, &told[0])].map(|(site, theirs)| site.lacks_own(theirs));
    // Whoever lacks something of its own hears the other out first.
    let order = if lost[0] { [1, 0] } else { [0, 1] };
    for side in order {
        let (from, to) = sides[side];
        send(from, to, &told[1 - side]);
        to.heard(&from.origin().site, Feed::Counters);
        to.flush().unwrap();
    }
    // And what changed with that.
    for side in order {
        let (from, to) = sides[side];
        send(from, to, &positions(to));
        to.flush().unwrap();
    }
}

fn send(from: &Arc<Grid>, to: &Arc<Grid>, have: &Positions) {
    let site = from.origin().site;
    let mut scan = from.scan_counters(have);
    while let Some(record) = scan.next(usize::MAX).unwrap() {
        to.apply(&site, record).unwrap();
    }
}

pub(super) fn value(grid: &Grid, key: &[u8]) -> i64 {
    grid.lock().get(key).unwrap().unwrap_or(0)
}

pub(super) fn add(grid: &Grid, key: &[u8], by: i64) {
    grid.lock().add(key, by).unwrap();
    grid.flush().unwrap();
}

#[test]
fn what_a_peer_holds_of_lost_epochs_and_what_was_counted_since_both_count() {
    let (home, west) = (tempfile::tempdir().unwrap(), grid("west"));
    let east = open("east", home.path(), &["west"]);
    add(&east, b"both", 1);
    add(&east, b"before", 1);
    link(&east, &west);
    let copied = copy(home.path());
    for _ in 0..5 {
        add(&east, b"both", 10);
        add(&east, b"lost", 10);
    }
    link(&east, &west);
    drop(east);
    // More and fewer flushes than those that were lost.
    for flushes in [2, 9] {
        let (home, west_copy) = (copy(copied.path()), grid("west"));
        link(&west, &west_copy);
        let east = open("east", home.path(), &["west"]);
        for _ in 0..flushes {
            add(&east, b"both", 100);
            add(&east, b"since", 100);
        }
        link(&east, &west_copy);
        for site in [&east, &west_copy] {
            assert_eq!(value(site, b"before"), 1);
            assert_eq!(value(site, b"lost"), 50);
            assert_eq!(value(site, b"since"), 100 * flushes);
            assert_eq!(value(site, b"both"), 51 + 100 * flushes);
        }
        assert_eq!(east.digest(), west_copy.digest());
        assert!(east.stats().own_from_peers_total > 0, "nobody is told");
        // Also after another start.
        drop(east);
        let east = open("east", home.path(), &["west"]);
        assert_eq!(value(&east, b"both"), 51 + 100 * flushes);
        link(&east, &west_copy);
        assert_eq!(east.digest(), west_copy.digest());
    }
}

#[test]
fn lost_epochs_above_all_that_a_site_has_used_since_are_no_obstacle() {
    let (home, west) = (tempfile::tempdir().unwrap(), grid("west"));
    let east = open("east", home.path(), &["west"]);
    let copied = copy(home.path());
    // The clock was ahead then.
    east.lock().epoch.0 += 1 << 40;
    add(&east, b"both", 1);
    add(&east, b"lost", 1);
    link(&east, &west);
    let east = open("east", copied.path(), &["west"]);
    add(&east, b"both", 10);
    add(&east, b"since", 10);
    east.lock().set_deadline(b"since", 1 << 42).unwrap();
    east.flush().unwrap();
    link(&east, &west);
    for site in [&east, &west] {
        let values = [&b"both"[..], b"lost", b"since"].map(|key| value(site, key));
        assert_eq!(values, [11, 1, 10]);
        assert_eq!(site.lock().deadline(b"since"), Some(1 << 42));
    }
    assert_eq!(east.digest(), west.digest());
}

#[test]
fn a_clock_that_stepped_back_an_hour_meanwhile_loses_nothing() {
    // Of four starts from the same directory; in a run that peers hold and the journal has lost, and
    // in none.
    const HOUR_OF_EPOCHS: u64 = 3_600_000 << 12;
    let (home, west) = (tempfile::tempdir().unwrap(), grid("west"));
    let east = open("east", home.path(), &["west"]);
    add(&east, b"hits", 1);
    link(&east, &west);
    let copied = copy(home.path());
    drop(east);
    // The clock was an hour ahead at this start, and right at the others.
    let east = open("east", home.path(), &["west"]);
    east.lock().epoch.0 += HOUR_OF_EPOCHS;
    add(&east, b"hits", 10);
    drop(east);
    let east = open("east", home.path(), &["west"]);
    add(&east, b"hits", 100);
    link(&east, &west);
    assert_eq!(east.stats().own_from_peers_total, 0);
    drop(east);
    let east = open("east", copied.path(), &["west"]);
    add(&east, b"hits", 1000);
    link(&east, &west);
    assert!(east.stats().own_from_peers_total > 0);
    for site in [&east, &west] {
        assert_eq!(value(site, b"hits"), 1111);
    }
    assert_eq!(east.digest(), west.digest());
}

#[test]
fn epochs_of_a_flush_whose_end_is_missing_are_not_used_again() {
    let home = tempfile::tempdir().unwrap();
    let east = open("east", home.path(), &["west"]);
    // The clock is behind: it does not give the next run its epochs.
    east.lock().epoch.0 += 1 << 45;
    for key in 0..30_000 {
        let key = format!("banner:{key:020}:impressions");
        east.lock().add(key.as_bytes(), 1).unwrap();
    }
    let used = east.flush().unwrap();
    drop(east);
    let path = home.path().join(Generation(1).file_name());
    let magic = JOURNAL_MAGIC;
    let mut reader = JournalReader::open(&path, magic, Generation(1)).unwrap();
    let mut records = 0;
    while reader.next().unwrap().is_some() {
        records += 1;
    }
    assert!(records > 2, "which runs there were, and counters");
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.set_len(reader.record_offset()).unwrap();
    let east = open("east", home.path(), &["west"]);
    east.lock().add(b"hits", 1).unwrap();
    assert!(east.flush().unwrap() > used);
}

#[derive(Clone, Copy, Debug)]
enum Write {
    Add(i64),
    Set(i64),
    Delete,
}

/// What is left of a counter that was 1 when the directory was copied, if these writes were lost, but
/// for a peer, and those came since.
fn left_of(lost: &[Write], since: &[Write]) -> Option<i64> {
    let write = |east: &Grid, writes: &[Write]| {
        for write in writes {
            match write {
                Write::Add(by) => drop(east.lock().add(b"k", *by).unwrap()),
                Write::Set(to) => drop(east.lock().set(b"k", *to, SetIf::Always, false).unwrap()),
                Write::Delete => drop(east.lock().delete(b"k").unwrap()),
            }
            east.flush().unwrap();
        }
    };
    let (home, west) = (tempfile::tempdir().unwrap(), grid("west"));
    let east = open("east", home.path(), &["west"]);
    write(&east, &[Write::Add(1)]);
    link(&east, &west);
    let copied = copy(home.path());
    write(&east, lost);
    link(&east, &west);
    let east = open("east", copied.path(), &["west"]);
    write(&east, since);
    link(&east, &west);
    assert_eq!(east.digest(), west.digest());
    let [here, there] = [&east, &west].map(|site| site.lock().get(b"k").unwrap());
    assert_eq!(here, there);
    here
}

#[test]
fn what_was_set_or_deleted_in_one_branch_stays_so_and_the_other_counts_on() {
    use Write::{Add, Delete, Set};
    let table: [(&[Write], &[Write], Option<i64>); 8] = [
        (&[Add(10), Delete], &[], None),
        (&[], &[Add(100), Delete], None),
        (&[Add(10), Delete], &[Add(100)], Some(100)),
        (&[Add(10), Delete, Add(20)], &[Add(100)], Some(120)),
        // What neither saw stays, as with two sites.
        (&[Add(10)], &[Delete, Add(100)], Some(110)),
        (&[Add(10)], &[Set(7)], Some(17)),
        (&[Set(5)], &[Set(7)], Some(12)),
        (&[Add(10), Delete], &[Delete, Add(100)], Some(100)),
    ];
    for (lost, since, left) in table {
        assert_eq!(left_of(lost, since), left, "{lost:?}, then {since:?}");
    }
}

/// What happens to a site after its directory was put back, until its peer is there again.
#[derive(Clone, Debug)]
enum Event {
    Add(u8, i64),
    Flush,
    Restart,
    Rewrite,
    /// A link that ends before the peer's word is on disk.
    BrokenLink,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (0..3_u8, -5..50_i64).prop_map(|(key, by)| Event::Add(key, by)),
        3 => Just(Event::Flush),
        1 => Just(Event::Restart),
        1 => Just(Event::Rewrite),
        1 => Just(Event::BrokenLink),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn nothing_that_a_peer_holds_is_lost_or_counted_twice(
        before in proptest::collection::vec(event(), 0..6),
        lost in proptest::collection::vec(event(), 0..12),
        since in proptest::collection::vec(event(), 0..12),
        is_heard: bool,
    ) {
        let (home, west) = (tempfile::tempdir().unwrap(), grid("west"));
        let (mut durable, mut written) = ([0; 3], [0; 3]);
        let mut copied = None;
        for (phase, events) in [before, lost, since].iter().enumerate() {
            let home = copied.as_ref().filter(|_| phase == 2).unwrap_or(&home);
            let mut east = open("east", home.path(), &["west"]);
            for event in events {
                match event {
                    Event::Add(key, by) => {
                        east.lock().add(&[*key], *by).unwrap();
                        written[usize::from(*key)] += by;
                    }
                    Event::Flush => drop(east.flush()),
                    Event::Restart => {
                        drop(east);
                        east = open("east", home.path(), &["west"]);
                        written = durable;
                    }
                    Event::Rewrite => {
                        east.flush().unwrap();
                        east.begin_rewrite_now();
                        east.flush().unwrap();
                        east.flush().unwrap();
                    }
                    Event::BrokenLink => send(&west, &east, &east.positions_for(&west.origin().site, Feed::Counters)),
                }
                if matches!(event, Event::Flush | Event::Rewrite) {
                    durable = written;
                }
            }
            east.flush().unwrap();
            durable = written;
            // The directory is copied before the peer hears all of the second phase, and put back after.
            if phase == 0 {
                if is_heard {
                    link(&east, &west);
                }
                copied = Some(copy(home.path()));
            } else {
                link(&east, &west);
                for (key, expected) in durable.iter().enumerate() {
                    prop_assert_eq!(value(&east, &[key as u8]), *expected);
                    prop_assert_eq!(value(&west, &[key as u8]), *expected);
                }
                prop_assert_eq!(east.digest(), west.digest());
            }
        }
    }
}

#[test]
fn what_a_scan_did_not_promise_of_a_first_flush_is_not_taken_for_lost() {
    let (home, west) = (tempfile::tempdir().unwrap(), grid("west"));
    let east = open("east", home.path(), &["west", "north"]);
    add(&east, b"both", 1);
    east.lock().add(b"both", 1).unwrap();
    // Its first version is not told, as it has changed since.
    send(&east, &west, &positions(&west));
    west.flush().unwrap();
    assert!(!east.lacks_own(&positions(&west)));
    link(&east, &west);
    assert_eq!(east.stats().own_from_peers_total, 0);
    assert_eq!(value(&west, b"both"), 2);
}

#[test]
fn starts_cost_nothing_once_the_peer_was_heard() {
    let (home, west) = (tempfile::tempdir().unwrap(), grid("west"));
    let scanned = |east: &Arc<Grid>| {
        let mut scan = east.scan_counters(&Positions::default());
        let records = std::iter::from_fn(|| scan.next(usize::MAX).unwrap());
        records.map(|record| record.len()).sum::<usize>()
    };
    let mut bytes = Vec::new();
    for round in 0..10_u32 {
        let east = open("east", home.path(), &["west"]);
        for key in 0..1000_u32 {
            let key = format!("banner:{key:07}:impressions");
            // All of them at first and some later, so that in the end they are of many runs.
            if round == 0 || key.as_bytes()[13] == b'0' + (round % 10) as u8 {
                east.lock().add(key.as_bytes(), 1).unwrap();
            }
        }
        east.flush().unwrap();
        assert!(east.lock().runs.bytes() > 0);
        link(&east, &west);
        assert_eq!(east.stats().own_from_peers_total, 0);
        add(&east, b"hits", 1);
        assert_eq!(east.lock().runs.bytes(), 0, "nothing is kept");
        let parts = |state: &State| {
            let place = state.keys.find(b"hits").unwrap();
            state.keys.others(keyspace::CounterRef::key(place)).count()
        };
        assert_eq!(parts(&east.lock()), 0);
        link(&east, &west);
        assert_eq!(parts(&west.lock()), 1);
        bytes.push(scanned(&east));
    }
    eprintln!("scan of 1000 counters, by starts: {bytes:?}");
}
