//! What a chunk is found by.
//!
//! A fingerprint only hints at where a chunk may stand: the bytes there are compared before they are
//! referred to. So it need not be a cryptographic hash, and XXH3 takes a third of BLAKE3's time. The
//! secret keeps outsiders from making chunks that collide; all they could win is missed references.

use xxhash_rust::xxh3::{Xxh3, xxh3_64_with_secret};

use super::ChunkerKey;

const SECRET_BYTES: usize = 192;

/// 64 bits of a keyed hash of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Fingerprint(pub(crate) u64);

/// What fingerprints are taken under.
#[derive(Clone)]
pub(super) struct FingerprintKey([u8; SECRET_BYTES]);

impl FingerprintKey {
    pub(super) fn new(key: ChunkerKey) -> Self {
        let mut stream = blake3::Hasher::new_derive_key("strait chunker v2 fingerprint");
        let mut secret = [0; SECRET_BYTES];
        stream.update(&key.0).finalize_xof().fill(&mut secret);
        Self(secret)
    }

    pub(super) fn of(&self, chunk: &[u8]) -> Fingerprint {
        Fingerprint(xxh3_64_with_secret(chunk, &self.0))
    }

    pub(super) fn hasher(&self) -> FingerprintHasher {
        FingerprintHasher(Xxh3::with_secret(self.0))
    }
}

/// Fingerprint of a chunk that arrives in pieces.
#[derive(Clone)]
pub(crate) struct FingerprintHasher(Xxh3);

impl std::fmt::Debug for FingerprintHasher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FingerprintHasher(…)")
    }
}

impl FingerprintHasher {
    pub(crate) fn update(&mut self, piece: &[u8]) {
        self.0.update(piece);
    }

    pub(crate) fn finish(&self) -> Fingerprint {
        Fingerprint(self.0.digest())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn fingerprints_are_pinned() {
        let key = FingerprintKey::new(ChunkerKey([7; 32]));
        let found = [0, 100, 5000].map(|len| key.of(&vec![1; len]).0);
        assert_eq!(
            found,
            [
                2_794_232_052_883_621_494,
                11_237_369_151_179_429_604,
                3_720_839_417_196_917_764
            ],
            "changing these needs a new chunker::VERSION"
        );
    }

    proptest! {
        #[test]
        fn pieces_make_the_whole(chunk in prop::collection::vec(any::<u8>(), 0..3000), at in any::<prop::sample::Index>()) {
            let key = FingerprintKey::new(ChunkerKey([1; 32]));
            let (first, second) = chunk.split_at(at.index(chunk.len() + 1));
            let mut hasher = key.hasher();
            hasher.update(first);
            hasher.update(second);
            prop_assert_eq!(hasher.finish(), key.of(&chunk));
        }
    }
}
