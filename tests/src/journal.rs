//! Changes a stopped gateway's journal by hand, as damage below its checks would.
//! The format is drawn in docs/STORE.md, section "Journal".

use std::fs;
use std::path::{Path, PathBuf};

const HEAD_BYTES: usize = 24;
const FRAME_BYTES: usize = 12;

/// What becomes of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edit {
    /// It is gone without a trace, and what follows moves up.
    Remove,
    /// The last counter's sum ends in another byte.
    Sum(u8),
    /// One bit is flipped, and the check says so.
    FlipBit,
}

/// The newest journal of a data directory.
pub fn newest_journal(data: &Path) -> PathBuf {
    let names = fs::read_dir(data.join("grid")).expect("a journal's folder");
    let names = names.map(|entry| entry.expect("a name").path());
    let journals = names.filter(|path| path.to_string_lossy().contains("/journal-"));
    journals.max().expect("a journal")
}

/// Changes the records in the newest journal of a data directory that hold `text`; how many.
pub fn edit_journal(data: &Path, text: &[u8], edit: Edit) -> usize {
    let path = newest_journal(data);
    let old = fs::read(&path).expect("a journal that can be read");
    let generation = &old[12..20];
    let mut new = old[..HEAD_BYTES].to_vec();
    let (mut at, mut edited) = (HEAD_BYTES, 0);
    while at < old.len() {
        let len = u32::from_le_bytes(old[at + 4..at + 8].try_into().expect("four bytes")) as usize;
        let old_check: [u8; 4] = old[at + 8..at + 12].try_into().expect("four bytes");
        let mut record = old[at + FRAME_BYTES..at + FRAME_BYTES + len].to_vec();
        let hit = record.windows(text.len()).any(|window| window == text);
        at += FRAME_BYTES + len;
        edited += usize::from(hit);
        if hit && edit == Edit::Remove {
            continue;
        }
        if let Edit::Sum(byte) = edit
            && hit
        {
            // The column of sums ends before the length of the column of extras, which is empty.
            assert_eq!(record[len - 1], 0, "no counter has extras");
            record[len - 2] = byte;
        }
        let offset = (new.len() as u64).to_le_bytes();
        let place = [generation, &offset, &(len as u32).to_le_bytes()].concat();
        let check = match edit {
            // What an earlier flip left stays wrong.
            Edit::FlipBit => old_check,
            Edit::Remove | Edit::Sum(_) => {
                crc32c::crc32c_append(crc32c::crc32c(&place), &record).to_le_bytes()
            }
        };
        new.extend(b"SgR1");
        new.extend((len as u32).to_le_bytes());
        new.extend(check);
        if hit && edit == Edit::FlipBit {
            record[len / 2] ^= 1;
        }
        new.extend(record);
    }
    fs::write(path, new).expect("a journal that can be written");
    edited
}

/// Appends a record to the newest journal of a data directory.
pub fn append_to_journal(data: &Path, record: &[u8]) {
    let path = newest_journal(data);
    let mut bytes = fs::read(&path).expect("a journal that can be read");
    let offset = (bytes.len() as u64).to_le_bytes();
    let len = (record.len() as u32).to_le_bytes();
    let place = [&bytes[12..20], &offset, &len].concat();
    let check = crc32c::crc32c_append(crc32c::crc32c(&place), record);
    bytes.extend([&b"SgR1"[..], &len, &check.to_le_bytes(), record].concat());
    fs::write(path, bytes).expect("a journal that can be written");
}
