//! A data directory that was copied, and both copies go on: a peer refuses the second. It is renewed, and
//! what either has counted adds up.

use std::path::Path;

use super::restored::{add, copy, link, value};
use super::*;

fn open(dir: &Path, incarnation: u64) -> Arc<Grid> {
    let config = GridConfig {
        peers: BTreeSet::from(["west".parse().unwrap()]),
        incarnation,
        ..config("east", Some(dir.to_owned()))
    };
    Arc::new(Grid::open(config).unwrap().0)
}

fn own() -> Origin {
    Origin {
        site: "east".parse().unwrap(),
        incarnation: 1,
    }
}

fn set(grid: &Grid, key: &[u8], to: i64) {
    let mut state = grid.lock();
    state.set(key, to, SetIf::Always, false).unwrap();
    drop(state);
    grid.flush().unwrap();
}

fn delete(grid: &Grid, key: &[u8]) {
    grid.lock().delete(key).unwrap();
    grid.flush().unwrap();
}

const KEYS: [&[u8]; 6] = [b"both", b"here", b"set", b"gone", b"back", b"there"];

/// A site, its peer, and a copy of the site's directory in which the gateway was refused and counted.
struct Parted {
    east: Arc<Grid>,
    west: Arc<Grid>,
    home: tempfile::TempDir,
    copied: tempfile::TempDir,
}

impl Parted {
    /// `starts`: how often the copy is started before it is renewed.
    fn new(starts: usize) -> Self {
        let (home, west) = (tempfile::tempdir().unwrap(), grid("west"));
        let east = open(home.path(), 1);
        for key in [&b"both"[..], b"set", b"gone", b"back"] {
            add(&east, key, 10);
        }
        link(&east, &west);
        add(&west, b"both", 1000);
        link(&east, &west);
        let copied = copy(home.path());
        for start in 0..starts {
            let second = open(copied.path(), 1);
            // Counted before the peer has said anything.
            add(&second, b"both", 1);
            if start == 0 {
                assert!(
                    second.refused_as_copy(),
                    "it knows what it counts from here on"
                );
                second.flush().unwrap();
            }
            add(&second, b"both", 4);
            add(&second, b"here", 5);
        }
        let second = open(copied.path(), 1);
        set(&second, b"set", 40);
        add(&second, b"set", 2);
        delete(&second, b"gone");
        add(&second, b"back", 7);
        add(&second, b"back", -7);
        drop(second);
        add(&east, b"both", 100);
        add(&east, b"set", 100);
        add(&east, b"gone", 100);
        add(&east, b"there", 100);
        link(&east, &west);
        Self {
            east,
            west,
            home,
            copied,
        }
    }

    fn check(&self, incarnation: u64, starts: i64) {
        let second = open(self.copied.path(), incarnation);
        link(&second, &self.west);
        link(&self.east, &self.west);
        // Either counts on.
        add(&second, b"both", 10_000);
        add(&self.east, b"both", 100_000);
        link(&second, &self.west);
        link(&self.east, &self.west);
        link(&second, &self.west);
        let both = 10 + 1000 + 5 * starts + 100 + 110_000;
        // Who set or deleted saw nothing of what the other one counts.
        let expected = [both, 5 * starts, 142, 100, 10, 100];
        for (name, site) in [
            ("east", &self.east),
            ("west", &self.west),
            ("copy", &second),
        ] {
            let values = KEYS.map(|key| value(site, key));
            assert_eq!(values, expected, "at {name}");
        }
        assert_eq!(self.east.digest(), self.west.digest());
        assert_eq!(second.digest(), self.west.digest());
        drop(second);
        let again = open(self.copied.path(), incarnation);
        assert_eq!(again.digest(), self.west.digest(), "after another start");
    }
}

#[test]
fn both_branches_add_up() {
    for starts in [1, 3] {
        let parted = Parted::new(starts);
        let renewed = renew(parted.copied.path(), &own(), 2).unwrap();
        assert!(renewed.was_refused);
        assert_eq!(renewed.counters, 5);
        parted.check(2, starts as i64);
    }
}

#[test]
fn a_renewal_that_was_cut_short_is_done_again() {
    let parted = Parted::new(2);
    renew(parted.copied.path(), &own(), 2).unwrap();
    // The directory did not learn of it: it counts on as before, and is renewed once more.
    let second = open(parted.copied.path(), 1);
    assert_eq!(value(&second, b"here"), 10);
    assert_eq!(value(&second, b"both"), 10 + 1000 + 10);
    drop(second);
    let renewed = renew(parted.copied.path(), &own(), 3).unwrap();
    assert_eq!(renewed.counters, 0);
    parted.check(3, 2);
}

#[test]
fn a_directory_that_nobody_refused_keeps_what_it_counted() {
    let parted = Parted::new(1);
    let home = copy(parted.home.path());
    let renewed = renew(home.path(), &own(), 2).unwrap();
    assert_eq!(renewed, Renewed::default());
    let second = open(home.path(), 2);
    add(&second, b"both", 3);
    link(&second, &parted.west);
    link(&parted.east, &parted.west);
    assert_eq!(value(&parted.east, b"both"), 10 + 1000 + 100 + 3);
    assert_eq!(parted.east.digest(), second.digest());
}
