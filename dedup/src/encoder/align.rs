//! Finds where a batch and history go on alike after an edit.
//!
//! A small hash table over the history expected next is probed with every position of the batch, as
//! in greedy delta coders (MacDonald, "File System Support for Delta Compression", 2000), but only
//! within a window of a few KiB: what moved farther is found again by its content chunks.

use super::common_ends::{common_prefix, common_suffix};

/// A shorter common stretch may be chance, and costs as much to point at as to compress.
pub(super) const COMMON_BYTES_MIN: usize = 32;
/// A common stretch of this length is taken at once.
const COMMON_BYTES_SURE: usize = 192;
/// No more of a stretch is looked at to judge it: what is skipped before it is shorter.
const TELLING_BYTES_MAX: usize = 2 << 10;
/// At most so many bytes may be skipped for each common one.
const SKIPPED_PER_COMMON: usize = 8;
/// Every so many positions of history are entered in the table.
const STRIDE: usize = 4;
const TABLE_BITS: u32 = 12;
const KEY_BYTES: usize = 8;

/// Where the two go on alike: `new[new_at..new_at + len] == old[old_at..old_at + len]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Common {
    pub(super) new_at: usize,
    pub(super) old_at: usize,
    pub(super) len: usize,
}

impl Common {
    /// Long enough for what it skips: boilerplate that recurs every few KiB must not lead astray.
    fn is_worthwhile(&self, telling: usize) -> bool {
        let skipped = self.new_at.max(self.old_at);
        telling >= COMMON_BYTES_MIN.max(skipped / SKIPPED_PER_COMMON)
    }
}

/// How many of the bytes tell where we are: those unlike the one before. The zeros at the end of a
/// page are alike in every page.
fn telling(bytes: &[u8]) -> usize {
    let bytes = &bytes[..bytes.len().min(TELLING_BYTES_MAX)];
    let pairs = bytes.iter().zip(&bytes[1.min(bytes.len())..]);
    pairs.map(|(a, b)| usize::from(a != b)).sum()
}

/// Aligns windows; keeps its table between calls.
#[derive(Debug)]
pub(super) struct Aligner {
    /// Position in the old window plus one, by the hash of the bytes there.
    table: Box<[u16; 1 << TABLE_BITS]>,
}

impl Default for Aligner {
    fn default() -> Self {
        Self {
            table: Box::new([0; 1 << TABLE_BITS]),
        }
    }
}

impl Aligner {
    /// The first good common stretch of `new` and `old`, at most 64 KiB each. It is grown backwards
    /// but may go on past the windows.
    pub(super) fn align(&mut self, new: &[u8], old: &[u8]) -> Option<Common> {
        if new.len() < COMMON_BYTES_MIN || old.len() < COMMON_BYTES_MIN {
            return None;
        }
        let old = &old[..old.len().min(usize::from(u16::MAX))];
        self.enter(old);
        let mut best: Option<(usize, Common)> = None;
        let mut at = 0;
        while at + COMMON_BYTES_MIN <= new.len() {
            let found = self.probe(new, old, at);
            at += 1;
            let Some(found) = found.filter(|found| found.len >= COMMON_BYTES_MIN) else {
                continue;
            };
            let telling = telling(&new[found.new_at..found.new_at + found.len]);
            if !found.is_worthwhile(telling) {
                continue;
            }
            if best.is_none_or(|(best, _)| telling > best) {
                best = Some((telling, found));
            }
            if telling >= COMMON_BYTES_SURE {
                break;
            }
            at = at.max(found.new_at + found.len - KEY_BYTES);
        }
        best.map(|(_, found)| found)
    }

    fn enter(&mut self, old: &[u8]) {
        self.table.fill(0);
        // Backwards, so that of equal keys the first stays.
        let last = (old.len() - KEY_BYTES) / STRIDE;
        for at in (0..=last).rev().map(|n| n * STRIDE) {
            if let Some(slot) = slot(&old[at..]) {
                self.table[slot] = at as u16 + 1;
            }
        }
    }

    fn probe(&self, new: &[u8], old: &[u8], at: usize) -> Option<Common> {
        let old_at = usize::from(self.table[slot(&new[at..])?]).checked_sub(1)?;
        let forward = common_prefix(&new[at..], &old[old_at..]);
        if forward < KEY_BYTES {
            return None;
        }
        let back = common_suffix(&new[..at], &old[..old_at]);
        Some(Common {
            new_at: at - back,
            old_at: old_at - back,
            len: forward + back,
        })
    }
}

/// Where the bytes are entered. `None` for one byte repeated: padding is alike everywhere, and says
/// nothing about where we are.
fn slot(bytes: &[u8]) -> Option<usize> {
    let key = u64::from_le_bytes(*bytes.first_chunk::<KEY_BYTES>()?);
    let hash = key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - TABLE_BITS);
    (key != key.rotate_left(8)).then_some(hash as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::noise;

    #[test]
    fn finds_the_way_back_after_edits() {
        let mut aligner = Aligner::default();
        let old = noise(1, 2000);
        for (new_gap, old_gap) in [(0, 0), (7, 7), (100, 3), (0, 57), (300, 0)] {
            let new = [&noise(2, new_gap), &old[old_gap..]].concat();
            let common = aligner.align(&new, &old).expect("common");
            assert_eq!((common.new_at, common.old_at), (new_gap, old_gap));
        }
        assert_eq!(aligner.align(&noise(3, 2000), &old), None);
        assert_eq!(aligner.align(&[], &old), None);
    }

    #[test]
    fn padding_does_not_lead_to_another_page() {
        // Pages of a pointer, zeros, and cells; in the new version of the first, every pointer and
        // the first cell differ, and the pointer is the next page's.
        let page = |seed, pointer: u8| {
            let mut page = vec![pointer; 2];
            page.resize(1700, 0);
            page.extend(noise(seed, 2396));
            page
        };
        let (first, second) = (page(1, 7), page(2, 8));
        let mut new = page(1, 8);
        new[1700..1760].copy_from_slice(&noise(3, 60));
        let old = [first, second].concat();
        let common = Aligner::default().align(&new, &old).expect("common");
        assert_eq!(common.new_at, common.old_at);
    }
}
