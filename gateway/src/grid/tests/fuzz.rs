//! What a peer may send instead of records and positions: read or refused, never more memory than
//! its bytes are worth, and what is read is the same when it comes again.

use std::path::{Path, PathBuf};

use strait_fuzz::Target;

use super::*;
use crate::grid::cold::{blocks_of_index, decode as cold_decode};
use crate::grid::journal::frame::COLD_MAGIC;
use crate::grid::journal::{Found, Generation, JournalReader};

/// Names that foreign bytes made are forgotten after so many inputs.
const INPUTS_A_GRID: u32 = 256;

fn corpus(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/corpus")
        .join(name)
}

fn fuzz(name: &str, memory_bytes_max: usize, check: impl FnMut(&[u8])) {
    let target = Target {
        name,
        corpora: &[&corpus(name)],
        memory_bytes_max,
        per_mille: 1000,
    };
    target.run(check);
}

/// A grid that is made anew now and then.
fn renewed() -> impl FnMut() -> Arc<Grid> {
    let (mut current, mut inputs) = (grid("west"), 0);
    move || {
        inputs += 1;
        if inputs % INPUTS_A_GRID == 0 {
            current = grid("west");
        }
        current.clone()
    }
}

#[test]
fn records() {
    let (mut west, mut merged) = (renewed(), 0);
    fuzz("record", 4 << 20, |input| {
        let (west, record) = (west(), Bytes::copy_from_slice(input));
        if west.apply(&peer(), record.clone()).is_ok() {
            merged += 1;
            let digest = west.digest();
            west.apply(&peer(), record).unwrap();
            assert_eq!(west.digest(), digest, "a repetition changes nothing");
        }
    });
    assert!(merged > 100, "{merged} records were understood");
}

#[test]
fn packed_records() {
    // What came before, so that an input may speak of keys and words by number.
    let before = ["counters-1.bin", "log-1.bin"];
    let before = before.map(|name| std::fs::read(corpus("packed").join(name)).unwrap());
    let (mut west, mut unpacked) = (renewed(), 0);
    fuzz("packed", 4 << 20, |input| {
        let (west, mut heard) = (west(), Heard::default());
        let from = peer();
        let mut unpack =
            |bytes: &[u8]| west.unpack(&from, &mut heard, Bytes::copy_from_slice(bytes));
        for packed in &before {
            unpack(packed).unwrap();
        }
        for one in unpack(input).into_iter().flatten() {
            assert!(one.record.len() <= RECORD_BYTES_MAX);
            if one.record == input {
                // It was not packed.
                continue;
            }
            unpacked += 1;
            // What an entry holds is looked at when it is merged; all else can be read.
            let is_log = is_log(&one.record);
            let merged = west.apply(&peer(), one);
            assert!(
                is_log || !matches!(merged, Err(ApplyError::Malformed(_))),
                "{merged:?}"
            );
        }
    });
    assert!(unpacked > 100, "{unpacked} records were understood");
}

#[test]
fn cold_blocks() {
    // What stands before it in its group, so that an input may speak of words by number.
    let before = std::fs::read(corpus("cold").join("block-0.bin")).unwrap();
    let mut understood = 0;
    fuzz("cold", 8 << 20, |input| {
        let mut heard = None;
        cold_decode(&mut heard, &before).unwrap();
        let after = cold_decode(&mut heard, input);
        for loaded in after.into_iter().chain(cold_decode(&mut None, input)) {
            let entries = loaded.entries();
            assert!(!entries.is_empty() && entries.is_sorted_by_key(|(id, _)| *id));
            understood += 1;
        }
        understood += blocks_of_index(input).unwrap_or_default();
    });
    assert!(understood > 100, "{understood} were understood");
}

#[test]
fn positions() {
    let mut understood = 0;
    fuzz("positions", 4 << 20, |input| {
        let mut positions = Positions::default();
        if positions.extend_from(input).is_ok() {
            understood += 1;
            let mut again = Positions::default();
            for piece in positions.encode() {
                again.extend_from(&piece).unwrap();
            }
            assert_eq!(again, positions);
        }
    });
    assert!(understood > 100, "{understood} were understood");
}

/// What a file of cold blocks holds: two blocks of one group, and their index.
fn cold_records() -> Vec<Bytes> {
    let dir = tempfile::tempdir().unwrap();
    let config = GridConfig {
        cold: Some(cold::ALL),
        ..config("east", Some(dir.path().to_owned()))
    };
    let grid = Grid::open(config).unwrap().0;
    for round in 0..2 {
        for n in 0..40 {
            let id = NewId::Explicit(EntryId {
                ms: 1 + round * 40 + n,
                seq: 0,
            });
            let text = format!("GET /item-{} HTTP/1.1 {n} {:0>900}", n % 3, n * 77);
            let line = pack_values([&b"line"[..], text.as_bytes()].into_iter());
            let mut state = grid.lock();
            state.append(b"log", id, &line, (true, None), 0).unwrap();
        }
        grid.flush().unwrap();
        assert!(grid.spill() > 0);
    }
    grid.close_cold();
    let file = std::fs::read_dir(dir.path().join("cold")).unwrap().next();
    let path = file.unwrap().unwrap().path();
    let mut reader = JournalReader::open(&path, COLD_MAGIC, Generation(1)).unwrap();
    let found = std::iter::from_fn(|| reader.next().unwrap());
    let records = found.filter_map(|found| match found {
        Found::Record(record) => Some(record),
        Found::Damaged { .. } | Found::Torn { .. } => None,
    });
    records.collect()
}

#[test]
#[ignore = "writes the corpora anew: only for a new version of the formats"]
fn write_corpora() {
    let write = |folder: &str, name: &str, bytes: &[u8]| {
        std::fs::create_dir_all(corpus(folder)).unwrap();
        std::fs::write(corpus(folder).join(name), bytes).unwrap();
    };
    let (east, mut sent) = (grid("east"), Sent::default());
    let mut tell = |round: u8| {
        for record in flush(&east) {
            let kind = if is_log(&record) { "log" } else { "counters" };
            let name = format!("{kind}-{round}.bin");
            write("record", &name, &record);
            write("packed", &name, &east.pack(&mut sent, &record));
        }
    };
    for key in ["banner:1:clicks", "banner:2:clicks", "page"] {
        east.lock().add(key.as_bytes(), 1_000).unwrap();
    }
    append(&east, "clicks", 7);
    tell(1);
    east.lock().add(b"banner:1:clicks", -5).unwrap();
    east.lock().add_field(b"by:page", b"/a", 3).unwrap();
    east.lock().delete(b"banner:2:clicks").unwrap();
    east.lock().set_deadline(b"page", 9_000_000).unwrap();
    for value in 0..9 {
        append(&east, "clicks", value);
    }
    let trim = Trim {
        keep: Keep::Newest(4),
        roughly: false,
        limit: None,
    };
    east.lock().trim(b"clicks", trim).unwrap();
    tell(2);
    for (place, record) in cold_records().iter().enumerate() {
        let kind = if record[0] == 1 { "block" } else { "index" };
        write("cold", &format!("{kind}-{place}.bin"), record);
    }
    // Two origins in one record, and how far one is complete.
    let west = grid("west");
    west.lock().add(b"banner:1:clicks", 7).unwrap();
    catch_up(&west, &east);
    let mut scan = east.scan_counters(&Positions::default());
    let whole = scan.next(usize::MAX).unwrap().unwrap();
    write("record", "whole.bin", &whole);
    write(
        "packed",
        "whole.bin",
        &east.pack(&mut Sent::default(), &whole),
    );
    for (place, piece) in super::positions(&east).encode().iter().enumerate() {
        write("positions", &format!("{place}.bin"), piece);
    }
}
