//! Where chunks end.

use super::fingerprint::{Fingerprint, FingerprintHasher, FingerprintKey};
use super::gear::{Gear, WINDOW_BYTES};
use super::{CHUNK_BYTES_AVG, CHUNK_BYTES_MAX, CHUNK_BYTES_MIN, ChunkerKey};

/// `hash <= THRESHOLD` is true for one position in (average − minimum).
const THRESHOLD: u64 = u64::MAX / (CHUNK_BYTES_AVG - CHUNK_BYTES_MIN) as u64;

/// Finds cut points under one key.
#[derive(Clone)]
pub(crate) struct Chunker {
    gear: Gear,
    fingerprints: FingerprintKey,
}

/// A chunk whose end has not been seen: the part of it that earlier calls have scanned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct OpenChunk {
    len: usize,
    hash: u64,
}

impl std::fmt::Debug for Chunker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Chunker(…)")
    }
}

impl Chunker {
    pub(crate) fn new(key: ChunkerKey) -> Self {
        let mut stream = blake3::Hasher::new_derive_key("strait chunker v1 gear table");
        stream.update(&key.0);
        Self {
            gear: Gear::new(&mut stream.finalize_xof()),
            fingerprints: FingerprintKey::new(key),
        }
    }

    /// Scans on in `data`, which follows what `open` has seen. Returns the offset in `data` at
    /// which the chunk ends, with `open` reset for the next one; or `None` when it goes on.
    pub(crate) fn next_cut(&self, open: &mut OpenChunk, data: &[u8]) -> Option<usize> {
        let warm_up = CHUNK_BYTES_MIN - WINDOW_BYTES;
        let skip = warm_up.saturating_sub(open.len).min(data.len());
        let blind = CHUNK_BYTES_MIN.saturating_sub(open.len).min(data.len());
        let limit = (CHUNK_BYTES_MAX - open.len).min(data.len());
        let mut hash = self.gear.roll(open.hash, &data[skip..blind]);
        let cut = self.gear.scan(&mut hash, &data[blind..limit], THRESHOLD);
        let at_max = open.len + limit == CHUNK_BYTES_MAX;
        match cut.map(|n| blind + n).or(at_max.then_some(limit)) {
            Some(cut) => {
                *open = OpenChunk::default();
                Some(cut)
            }
            None => {
                *open = OpenChunk {
                    len: open.len + data.len(),
                    hash,
                };
                None
            }
        }
    }

    pub(crate) fn hasher(&self) -> FingerprintHasher {
        self.fingerprints.hasher()
    }

    pub(crate) fn fingerprint(&self, chunk: &[u8]) -> Fingerprint {
        self.fingerprints.of(chunk)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::noise::noise;

    fn cuts(chunker: &Chunker, pieces: &[&[u8]]) -> Vec<usize> {
        let (mut open, mut base, mut found) = (OpenChunk::default(), 0, Vec::new());
        for piece in pieces {
            let mut at = 0;
            while let Some(cut) = chunker.next_cut(&mut open, &piece[at..]) {
                at += cut;
                found.push(base + at);
            }
            base += piece.len();
        }
        found
    }

    #[test]
    fn cut_points_are_pinned() {
        let chunker = Chunker::new(ChunkerKey([7; 32]));
        let found = cuts(&chunker, &[&noise(1, 100_000)]);
        assert_eq!(
            found,
            [
                3363, 7711, 10299, 15308, 17721, 26181, 33893, 45355, 49049, 62354, 65625, 74981,
                80398, 88799
            ],
            "changing cut points needs a new chunker::VERSION"
        );
        assert_eq!(cuts(&chunker, &[&[0; 200_000]]), [65536, 131_072, 196_608]);
    }

    #[test]
    fn average_is_near_its_aim() {
        let chunker = Chunker::new(ChunkerKey([1; 32]));
        let found = cuts(&chunker, &[&noise(2, 16 << 20)]);
        let average = found[found.len() - 1] / found.len();
        assert!((7800..8600).contains(&average), "average chunk {average} B");
    }

    proptest! {
        #[test]
        fn cuts_do_not_depend_on_the_split(splits in prop::collection::vec(0usize..300_000, 0..6)) {
            let chunker = Chunker::new(ChunkerKey([3; 32]));
            let data = noise(3, 300_000);
            let mut ends = splits;
            ends.sort_unstable();
            let mut pieces = Vec::new();
            let mut from = 0;
            for end in ends {
                pieces.push(&data[from..end]);
                from = end;
            }
            pieces.push(&data[from..]);
            prop_assert_eq!(cuts(&chunker, &pieces), cuts(&chunker, &[&data]));
        }

        #[test]
        fn edits_resynchronise(at in 0usize..200_000, insert in prop::collection::vec(any::<u8>(), 0..50)) {
            let chunker = Chunker::new(ChunkerKey([4; 32]));
            let data = noise(4, 400_000);
            let mut edited = data.clone();
            edited.splice(at..at, insert.iter().copied());
            let old: Vec<usize> = cuts(&chunker, &[&data]).iter().map(|c| c + insert.len()).collect();
            let new = cuts(&chunker, &[&edited]);
            let shared = new.iter().filter(|cut| old.binary_search(cut).is_ok()).count();
            let after = new.iter().filter(|cut| **cut > at + 130_000).count();
            prop_assert!(shared >= after, "{shared} shared of {after} well after the edit");
        }
    }
}
