//! Where a chunk stands in history, by its fingerprint.

use hashbrown::HashTable;

use super::{Extent, Position};
use crate::chunker::Fingerprint;

/// A hash table from fingerprints to positions: 12 bytes and a control byte per slot, so about 21
/// bytes per chunk at hashbrown's average load (15 to 30, as a table is full or has just grown).
///
/// An entry keeps 36 bits of the fingerprint. What it finds is a hint that the caller checks
/// against the bytes (as LBFS does), so a false match costs a comparison and nothing else.
#[derive(Debug, Default)]
pub(crate) struct Index {
    table: HashTable<Entry>,
}

/// 44 bits of position (16 TiB), 16 of length − 1, 36 of fingerprint.
#[derive(Clone, Copy, Debug)]
struct Entry([u32; 3]);

const TAG_BITS: u32 = 36;
const POSITION_MAX: u64 = (1 << 44) - 1;

impl Entry {
    fn new(tag: u64, extent: Extent) -> Self {
        let place = (extent.at.0 << 4) | (tag >> 32);
        let len = (extent.len.saturating_sub(1) as u32) & 0xffff;
        Self([
            tag as u32,
            place as u32,
            ((place >> 32) as u32 & 0xffff) | (len << 16),
        ])
    }

    fn place(self) -> u64 {
        u64::from(self.0[1]) | (u64::from(self.0[2] & 0xffff) << 32)
    }

    fn tag(self) -> u64 {
        u64::from(self.0[0]) | ((self.place() & 0xf) << 32)
    }

    fn extent(self) -> Extent {
        Extent {
            at: Position(self.place() >> 4),
            len: (self.0[2] >> 16) as usize + 1,
        }
    }
}

fn tag_of(fingerprint: Fingerprint) -> u64 {
    fingerprint.0 >> (64 - TAG_BITS)
}

/// Spreads a tag over the 64 bits that the table draws bucket and control byte from.
fn spread(tag: u64) -> u64 {
    tag.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

impl Index {
    /// Chunks in the index.
    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    /// Where a chunk with this fingerprint was appended last.
    pub(crate) fn get(&self, fingerprint: Fingerprint) -> Option<Extent> {
        let tag = tag_of(fingerprint);
        self.table
            .find(spread(tag), |entry| entry.tag() == tag)
            .map(|entry| entry.extent())
    }

    /// Remembers a chunk; an older one of the same fingerprint is forgotten.
    pub(crate) fn insert(&mut self, fingerprint: Fingerprint, extent: Extent) {
        if extent.end().0 > POSITION_MAX || extent.len > 1 << 16 {
            return;
        }
        let tag = tag_of(fingerprint);
        let entry = Entry::new(tag, extent);
        let slot = self.table.entry(
            spread(tag),
            |held| held.tag() == tag,
            |held| spread(held.tag()),
        );
        slot.and_modify(|held| *held = entry).or_insert(entry);
    }

    /// Keeps the chunks that lie wholly in `oldest..tail`.
    pub(crate) fn retain(&mut self, oldest: Position, tail: Position) {
        self.table.retain(|entry| {
            let extent = entry.extent();
            extent.at >= oldest && extent.end() <= tail
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_pack_and_unpack() {
        for at in [0, 1, 0xdead_beef, POSITION_MAX - (1 << 16)] {
            for len in [1, 2048, 65_535, 65_536] {
                for tag in [0, 0xf_ffff_ffff, 0x1_2345_6789] {
                    let extent = Extent {
                        at: Position(at),
                        len,
                    };
                    let entry = Entry::new(tag, extent);
                    assert_eq!((entry.tag(), entry.extent()), (tag, extent));
                }
            }
        }
        assert_eq!(size_of::<Entry>(), 12);
    }

    #[test]
    fn the_newest_wins_and_eviction_forgets() {
        let mut index = Index::default();
        let chunk = |at| Extent {
            at: Position(at),
            len: 100,
        };
        for i in 0..10_000u64 {
            index.insert(Fingerprint(i << 30), chunk(i * 100));
        }
        index.insert(Fingerprint(0), chunk(5_000_000));
        assert_eq!(index.get(Fingerprint(0)), Some(chunk(5_000_000)));
        index.retain(Position(50), Position(400));
        assert_eq!(index.get(Fingerprint(1 << 30)), Some(chunk(100)));
        assert_eq!(index.get(Fingerprint(4 << 30)), None);
    }
}
