//! A gateway that comes back finds its history again; whatever became of its files, it starts, and
//! the link delivers what was sent.

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use strait_dedup::{BatchId, Store, StoreConfig};
use tempfile::TempDir;

use crate::link::Wire;
use crate::noise::noise;

/// Two gateways with a disk each.
struct Sites {
    sender: TempDir,
    receiver: TempDir,
    memory_bytes_max: u64,
    disk_bytes_max: u64,
}

impl Sites {
    fn new() -> Self {
        let dir = || tempfile::tempdir().expect("a directory");
        Self {
            sender: dir(),
            receiver: dir(),
            memory_bytes_max: 8 << 20,
            disk_bytes_max: 1 << 30,
        }
    }

    fn store(&self, dir: &Path) -> Store {
        Store::open(StoreConfig {
            dir: Some(dir.to_path_buf()),
            memory_bytes_max: self.memory_bytes_max,
            disk_bytes_max: self.disk_bytes_max,
            links: 1,
        })
    }

    fn start(&self) -> Wire {
        let (encoder, _) = self.store(self.sender.path()).link("receiver");
        let (_, decoder) = self.store(self.receiver.path()).link("sender");
        Wire::between(encoder, decoder)
    }
}

fn send(wire: &mut Wire, stream: u64, data: &[u8]) -> usize {
    let before = wire.wire_bytes;
    for (seq, raw) in data.chunks(1 << 20).enumerate() {
        wire.send(
            BatchId {
                stream,
                seq: seq as u64,
            },
            2,
            raw,
        );
        wire.drain();
    }
    wire.wire_bytes - before
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let links = fs::read_dir(dir)
        .expect("listed")
        .map(|entry| entry.expect("listed").path());
    let links = links.filter(|path| path.is_dir());
    let files = links.flat_map(|dir| fs::read_dir(dir).expect("listed"));
    let files = files.map(|entry| entry.expect("listed").path());
    let mut files: Vec<_> = files
        .filter(|path| path.extension().is_some_and(|e| e == "seg"))
        .collect();
    files.sort();
    files
}

#[test]
fn history_outlives_both_ends() {
    let sites = Sites::new();
    // More than fits in memory, over several segments.
    let data = noise(1, 40 << 20);
    send(&mut sites.start(), 0, &data);
    let mut wire = sites.start();
    let again = send(&mut wire, 0, &data);
    assert!(again < 50_000, "{again} B after a restart");
    assert_eq!(wire.resent, 0);
    // And what is appended after a restart is found after the next.
    let more = noise(2, 3 << 20);
    send(&mut wire, 1, &more);
    drop(wire);
    let again = send(&mut sites.start(), 0, &more);
    assert!(again < 30_000, "{again} B after two restarts");
}

/// As after a crash that lost the newest bytes.
fn halve_last_segment(dir: &Path) {
    let last = segments(dir).pop().expect("segments");
    let file = fs::File::options().write(true).open(&last).expect("opens");
    let len = file.metadata().expect("there").len();
    file.set_len(len / 2).expect("cut");
}

#[test]
fn a_sender_that_lost_its_newest_bytes_goes_on_from_what_it_has() {
    let sites = Sites::new();
    let data = noise(3, 20 << 20);
    send(&mut sites.start(), 0, &data);
    halve_last_segment(sites.sender.path());
    let mut wire = sites.start();
    wire.reconnect();
    let again = send(&mut wire, 0, &data);
    assert!(
        again < 5 << 20,
        "{again} B: only what was lost is sent again"
    );
    assert!(send(&mut wire, 1, &data) < 50_000);
    assert_eq!(wire.resent, 0);
}

#[test]
fn a_receiver_that_lost_its_newest_bytes_is_sent_those() {
    let sites = Sites::new();
    let data = noise(4, 20 << 20);
    send(&mut sites.start(), 0, &data);
    halve_last_segment(sites.receiver.path());
    let mut wire = sites.start();
    let again = send(&mut wire, 0, &data);
    assert!(
        again < 5 << 20,
        "{again} B: only what was lost is sent again"
    );
    assert_eq!(wire.resent, 0);
}

#[test]
fn a_damaged_record_is_sent_again_and_never_delivered() {
    let sites = Sites::new();
    let data = noise(5, 40 << 20);
    send(&mut sites.start(), 0, &data);
    let first = segments(sites.receiver.path()).remove(0);
    let mut bytes = fs::read(&first).expect("read");
    bytes[3 << 20] ^= 1;
    fs::write(&first, bytes).expect("written");
    let mut wire = sites.start();
    let again = send(&mut wire, 0, &data);
    assert!(
        wire.resent > 0 && again < 4 << 20,
        "{again} B, {} sent again",
        wire.resent
    );
    // What the receiver lost is not referred to again, and is soon held again.
    let resent = wire.resent;
    assert!(send(&mut wire, 1, &data) < 4 << 20);
    let again = send(&mut wire, 2, &data);
    assert!(again < 50_000, "{again} B");
    assert_eq!(wire.resent, resent);
}

#[test]
fn a_damaged_newest_block_costs_no_more_than_itself() {
    let sites = Sites::new();
    let data = noise(9, 4_700_000);
    send(&mut sites.start(), 0, &data);
    let last = segments(sites.receiver.path()).pop().expect("segments");
    let mut bytes = fs::read(&last).expect("read");
    bytes[4_400_000] ^= 1;
    fs::write(&last, bytes).expect("written");
    let mut wire = sites.start();
    let again = send(&mut wire, 0, &data);
    assert!(again < 2 << 20, "{again} B");
    // What is appended afterwards is found after a restart, but for what shares the block.
    let more = noise(10, 3 << 20);
    send(&mut wire, 1, &more);
    drop(wire);
    let again = send(&mut sites.start(), 1, &more);
    assert!(again < (1 << 20) + 30_000, "{again} B after a restart");
}

#[test]
fn the_disk_cap_holds() {
    let mut sites = Sites::new();
    sites.disk_bytes_max = 128 << 20;
    let mut wire = sites.start();
    for stream in 0..6 {
        send(&mut wire, stream, &noise(stream, 25 << 20));
    }
    for dir in [&sites.sender, &sites.receiver] {
        let bytes: u64 = segments(dir.path())
            .iter()
            .map(|p| fs::metadata(p).map_or(0, |m| m.len()))
            .sum();
        assert!(bytes <= 64 << 20, "{bytes} B on disk");
    }
    assert_eq!(wire.resent, 0);
}

/// Each case sends 54 MB: few, unless `PROPTEST_CASES` asks for more.
fn cases() -> ProptestConfig {
    match std::env::var_os("PROPTEST_CASES") {
        Some(_) => ProptestConfig::default(),
        None => ProptestConfig::with_cases(12),
    }
}

proptest! {
    #![proptest_config(cases())]

    /// Files cut, doubled, swapped, garbled or gone: a start never fails, nothing wrong comes out.
    #[test]
    fn any_damage_costs_bytes_only(
        damage in prop::collection::vec((any::<prop::sample::Index>(), 0u8..5, any::<prop::sample::Index>()), 1..4),
    ) {
        let sites = Sites::new();
        let data = noise(6, 18 << 20);
        send(&mut sites.start(), 0, &data);
        for (which, how, place) in damage {
            let dir = if how % 2 == 0 { &sites.sender } else { &sites.receiver };
            let files = segments(dir.path());
            let path = which.get(&files);
            let mut bytes = fs::read(path).unwrap_or_default();
            if bytes.is_empty() {
                continue;
            }
            let at = place.index(bytes.len());
            match how {
                0 => bytes.truncate(at),
                1 => bytes[at] ^= 0x40,
                2 => bytes = bytes.repeat(2),
                3 => bytes[at..].fill(0),
                _ => bytes = fs::read(&files[0]).unwrap_or_default(),
            }
            fs::write(path, bytes).expect("written");
        }
        let mut wire = sites.start();
        send(&mut wire, 0, &data);
        prop_assert!(send(&mut wire, 1, &data) < 4 << 20);
    }
}

#[test]
fn a_store_says_that_its_key_was_damaged() {
    let sites = Sites::new();
    send(&mut sites.start(), 0, &noise(8, 1 << 20));
    assert!(!sites.store(sites.sender.path()).recovery().is_damaged());
    let key = sites.sender.path().join("chunker-key");
    let mut bytes = fs::read(&key).expect("a key");
    bytes[5] ^= 1;
    fs::write(&key, bytes).expect("written");
    let found = sites.store(sites.sender.path()).recovery();
    assert!(found.damaged_key && found.is_damaged());
    assert!(found.to_string().contains("the chunker key was damaged"));
}

#[test]
fn a_store_says_what_it_holds_and_what_it_found() {
    let sites = Sites::new();
    let data = noise(8, 20 << 20);
    send(&mut sites.start(), 0, &data);
    let first = segments(sites.sender.path()).swap_remove(0);
    fs::write(&first, b"not a segment").expect("written");

    let store = sites.store(sites.sender.path());
    let (_encoder, _decoder) = store.link("receiver");
    let found = store.recovery();
    assert_eq!((found.segments, found.quarantined), (1, 1));
    assert!(found.is_damaged());
    assert!(found.to_string().contains("put aside 1 damaged segment"));
    let figures = store.figures();
    assert!(figures.disk_bytes >= found.history_bytes, "{figures:?}");
    assert!(figures.disk_bytes > 3 << 20, "{figures:?}");
    assert!(figures.chunks > 100, "{figures:?}");
    assert!(
        figures.memory_bytes <= sites.memory_bytes_max,
        "{figures:?}"
    );
}
