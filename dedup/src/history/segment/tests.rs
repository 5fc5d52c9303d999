use std::fs::File;

use super::*;

const ID: HistoryId = HistoryId([7; 16]);
const BASE: Position = Position(32 << 20);

fn history(len: u32) -> Vec<u8> {
    (0..len).map(|n| (n * 31 % 253) as u8).collect()
}

/// A segment of `bytes` in records of `record_len`, and one chunk.
fn filled(bytes: &[u8], record_len: usize) -> (File, Segment) {
    let file = tempfile::tempfile().unwrap();
    let mut segment = Segment::create(&file, ID, BASE).unwrap();
    for (n, record) in bytes.chunks(record_len).enumerate() {
        let at = BASE.after(n * record_len);
        segment.append(&file, at, record).unwrap();
    }
    segment.note(ChunkNote {
        extent: Extent {
            at: BASE.after(10),
            len: 500,
        },
        fingerprint: Fingerprint(99),
        features: None,
    });
    (file, segment)
}

fn contents(file: &File) -> Vec<u8> {
    let mut bytes = vec![0; file.size().unwrap() as usize];
    StoredFile::read_exact_at(file, &mut bytes, 0).unwrap();
    bytes
}

fn with(bytes: &[u8]) -> File {
    let file = tempfile::tempfile().unwrap();
    StoredFile::write_all_at(&file, bytes, 0).unwrap();
    file
}

fn open(file: &File) -> Result<Segment, Unusable> {
    Segment::open(file, ID, BASE).map(|(segment, _)| segment)
}

fn check(file: &File, segment: &Segment, bytes: &[u8]) {
    let mut out = Vec::new();
    let read = segment.read(file, BASE.after(7), BASE.after(bytes.len()), &mut out);
    assert_eq!(read, Ok(()));
    assert_eq!(out, bytes[7..]);
}

#[test]
fn a_sealed_segment_comes_back_with_its_chunks() {
    let bytes = history(200_000);
    let (file, mut segment) = filled(&bytes, 65_536);
    segment.seal(&file).unwrap();
    assert_eq!(segment.file_bytes(), file.size().unwrap());
    let segment = open(&file).unwrap();
    assert!(segment.is_sealed());
    assert_eq!(segment.chunks(&file).len(), 1);
    check(&file, &segment, &bytes);
}

#[test]
fn what_is_no_segment_of_this_history_says_so() {
    let (file, mut segment) = filled(&history(1000), 300);
    segment.seal(&file).unwrap();
    let whole = contents(&file);
    let other = Segment::open(&file, HistoryId([8; 16]), BASE);
    assert!(matches!(other, Err(Unusable::Foreign)), "another history's");
    let elsewhere = Segment::open(&file, ID, BASE.after(SEGMENT_BYTES as usize));
    assert!(
        matches!(elsewhere, Err(Unusable::Foreign)),
        "of another place"
    );
    for cut in 0..HEADER_BYTES as usize {
        assert!(matches!(open(&with(&whole[..cut])), Err(Unusable::Io(_))));
    }
    let empty = with(&whole[..HEADER_BYTES as usize]);
    assert!(matches!(open(&empty), Err(Unusable::Empty)));
}

#[test]
fn a_doubled_segment_is_read_once() {
    let bytes = history(1000);
    let (file, mut segment) = filled(&bytes, 300);
    segment.seal(&file).unwrap();
    let whole = contents(&file);
    let doubled = with(&whole.repeat(2));
    let (segment, cut) = Segment::open(&doubled, ID, BASE).unwrap();
    // Its footer tells of other places than the records', or of records cut again.
    assert_eq!(segment.end(), BASE.after(bytes.len()));
    assert!(cut > 0 || segment.is_sealed());
    check(&doubled, &segment, &bytes);
}

#[test]
fn a_torn_tail_is_cut_wherever_it_tears() {
    let bytes = history(2000);
    let (file, _) = filled(&bytes, 300);
    let whole = contents(&file);
    for cut in HEADER_BYTES as usize..whole.len() {
        let file = with(&whole[..cut]);
        let Ok((segment, lost)) = Segment::open(&file, ID, BASE) else {
            assert!(cut < HEADER_BYTES as usize + 312);
            continue;
        };
        let held = segment.end().since(BASE);
        let whole_records = (cut - HEADER_BYTES as usize) / 312;
        assert_eq!(held, (whole_records * 300).min(bytes.len()));
        assert_eq!(lost, cut as u64 - file.size().unwrap());
        check(&file, &segment, &bytes[..held]);
    }
}

/// Every bit of a small segment, sealed or not: what is read is what was written.
#[test]
fn no_flipped_bit_is_ever_read() {
    let bytes = history(700);
    for sealed in [false, true] {
        let (file, mut segment) = filled(&bytes, 300);
        if sealed {
            segment.seal(&file).unwrap();
        }
        let whole = contents(&file);
        for bit in 0..whole.len() * 8 {
            let mut damaged = whole.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            file.set_size(damaged.len() as u64).unwrap();
            StoredFile::write_all_at(&file, &damaged, 0).unwrap();
            let Ok(segment) = open(&file) else {
                continue;
            };
            for (n, record) in bytes.chunks(300).enumerate() {
                let (at, mut out) = (BASE.after(n * 300), Vec::new());
                match segment.read(&file, at, at.after(record.len()), &mut out) {
                    Ok(()) => assert!(out == record, "bit {bit}"),
                    Err(Unread::Damaged(extent)) => {
                        assert_eq!(extent.at, at);
                        let again = segment.read(&file, at, at.after(1), &mut out);
                        assert_eq!(again, Err(Unread::Quarantined));
                    }
                    Err(Unread::Absent) => assert!(segment.end() <= at),
                    Err(Unread::Quarantined) => panic!("bit {bit}: read before"),
                }
            }
        }
    }
}

#[test]
fn truncating_goes_to_a_record_and_appends_on() {
    let bytes = history(200_000);
    let (file, mut segment) = filled(&bytes, 65_536);
    segment.seal(&file).unwrap();
    segment.truncate(&file, BASE.after(150_000)).unwrap();
    let end = segment.end();
    assert_eq!(end, BASE.after(131_072));
    assert_eq!(segment.chunks(&file).len(), 1, "the footer's chunks stay");
    segment
        .append(&file, end, &bytes[131_072..140_000])
        .unwrap();
    check(&file, &open(&file).unwrap(), &bytes[..140_000]);
}

/// Mutated segments, with their footer's checksum mended or not: what can be read is what was
/// written, whatever the file says.
#[test]
fn fuzz() {
    const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus/segment");
    let bytes = history(5000);
    let (mut read, mut chunks) = (0, 0);
    let target = strait_fuzz::Target {
        name: "dedup-segment",
        corpora: &[std::path::Path::new(CORPUS)],
        memory_bytes_max: 1 << 20,
        per_mille: 500,
    };
    target.run(|input| {
        for file in [with(input), with(&footer_mended(input))] {
            let Ok(segment) = open(&file) else {
                continue;
            };
            chunks += segment.chunks(&file).len();
            for (at, expected) in bytes.chunks(700).enumerate() {
                let at = BASE.after(at * 700);
                let mut out = Vec::new();
                if segment
                    .read(&file, at, at.after(expected.len()), &mut out)
                    .is_ok()
                {
                    assert_eq!(out, expected);
                    read += 1;
                }
            }
        }
    });
    assert!(read > 0 && chunks > 0, "nothing was read");
}

/// The file with a footer that passes its check, if its counts leave it one.
fn footer_mended(input: &[u8]) -> Vec<u8> {
    let mut mended = input.to_vec();
    let found = input.len().checked_sub(20).and_then(|trailer| {
        let records = number(input, trailer)? as usize;
        let chunks = number(input, trailer + 4)? as usize;
        let tables = records
            .checked_mul(12)?
            .checked_add(chunks.checked_mul(40)?)?;
        Some((trailer.checked_sub(tables)?, trailer + 8))
    });
    if let Some((begin, end)) = found {
        let crc = crc32c::crc32c(&input[begin..end]).to_le_bytes();
        mended[end..end + 4].copy_from_slice(&crc);
    }
    mended
}

#[test]
#[ignore = "writes the corpus anew: only for a new version of the format"]
fn write_corpus() {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus/segment");
    std::fs::create_dir_all(dir).unwrap();
    let (file, mut segment) = filled(&history(5000), 1300);
    std::fs::write(format!("{dir}/open.bin"), contents(&file)).unwrap();
    segment.seal(&file).unwrap();
    std::fs::write(format!("{dir}/sealed.bin"), contents(&file)).unwrap();
}

fn golden() -> std::path::PathBuf {
    std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/segment-v1.seg")
}

fn golden_segment() -> (File, Segment, Vec<u8>) {
    let bytes = history(2000);
    let (file, mut segment) = filled(&bytes, 700);
    segment.note(ChunkNote {
        extent: Extent {
            at: BASE.after(510),
            len: 900,
        },
        fingerprint: Fingerprint(u64::MAX - 1),
        features: Some(SuperFeatures([1, 1 << 40, u64::MAX])),
    });
    segment.seal(&file).unwrap();
    (file, segment, bytes)
}

/// Segments as release 0.1 writes them are read for as long as their version is.
#[test]
fn the_golden_segment_is_read() {
    let file = with(&std::fs::read(golden()).unwrap());
    let (written, expected, bytes) = golden_segment();
    let segment = open(&file).unwrap();
    check(&file, &segment, &bytes);
    assert_eq!(segment.chunks(&file), expected.chunks(&written));
    assert_eq!(contents(&written), contents(&file), "and written so");
}

#[test]
#[ignore = "writes the golden file anew: only for a new version of the format"]
fn write_the_golden_segment() {
    let (file, ..) = golden_segment();
    std::fs::write(golden(), contents(&file)).unwrap();
}
