//! Features of a chunk: the maxima of a dozen linear maps over sampled gear hashes.

use crate::chunker::{ChunkerKey, Gear};

const FEATURES: usize = 12;
/// Super-features of a chunk; each folds a third of the features.
pub(crate) const SUPER_FEATURES: usize = 3;
/// One hash in 64 is sampled: about 128 of an average chunk.
const SAMPLE_MAX: u64 = u64::MAX >> 6;
/// Only so much of a chunk is sampled: where it is aligned with those like it.
const SAMPLED_BYTES_MAX: usize = 8 << 10;

/// Three digests of a chunk's features; any one in common makes two chunks alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SuperFeatures(pub(crate) [u64; SUPER_FEATURES]);

/// Samples features, under a key so that nobody can craft collisions.
#[derive(Clone)]
pub(crate) struct Sampler {
    gear: Gear,
    maps: [(u64, u64); FEATURES],
}

impl std::fmt::Debug for Sampler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sampler(…)")
    }
}

impl Sampler {
    pub(crate) fn new(key: ChunkerKey) -> Self {
        let mut stream = blake3::Hasher::new_derive_key("strait similarity v1");
        stream.update(&key.0);
        let mut stream = stream.finalize_xof();
        let gear = Gear::new(&mut stream);
        let mut draw = || {
            let mut bytes = [0; 8];
            stream.fill(&mut bytes);
            u64::from_le_bytes(bytes)
        };
        let maps = std::array::from_fn(|_| (draw() | 1, draw()));
        Self { gear, maps }
    }

    /// `None` for a chunk in which too little was sampled to tell, such as one of zeros.
    pub(crate) fn sample(&self, chunk: &[u8]) -> Option<SuperFeatures> {
        let mut features = [0; FEATURES];
        let (mut hash, mut last, mut sampled) = (0u64, 0, 0);
        let mut rest = &chunk[..chunk.len().min(SAMPLED_BYTES_MAX)];
        while let Some(at) = self.gear.scan(&mut hash, rest, SAMPLE_MAX) {
            rest = &rest[at..];
            if hash == last {
                continue;
            }
            last = hash;
            sampled += 1;
            for (feature, &(factor, addend)) in features.iter_mut().zip(&self.maps) {
                *feature = (*feature).max(hash.wrapping_mul(factor).wrapping_add(addend));
            }
        }
        (sampled >= FEATURES).then(|| fold(&features))
    }
}

fn fold(features: &[u64; FEATURES]) -> SuperFeatures {
    let mut folded = [0u64; SUPER_FEATURES];
    for (part, into) in features.chunks(FEATURES / SUPER_FEATURES).zip(&mut folded) {
        *into = part.iter().fold(0, |digest, feature| {
            (digest ^ feature)
                .wrapping_mul(0x9e37_79b9_7f4a_7c15)
                .rotate_left(29)
        });
    }
    SuperFeatures(folded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::noise;

    #[test]
    fn alike_chunks_share_a_super_feature_and_others_do_not() {
        let sampler = Sampler::new(ChunkerKey([1; 32]));
        let shared = |a: &[u8], b: &[u8]| {
            let (a, b) = (
                sampler.sample(a).expect("sampled"),
                sampler.sample(b).expect("sampled"),
            );
            a.0.iter().zip(b.0).any(|(a, b)| *a == b)
        };
        let mut alike = 0;
        for seed in 0..100 {
            let chunk = noise(seed, 8192);
            let mut edited = chunk.clone();
            edited.splice(3000..3100, *b"an edit of another length");
            alike += usize::from(shared(&chunk, &edited));
            assert!(!shared(&chunk, &noise(seed + 100, 8192)));
        }
        assert!(alike > 90, "{alike} of 100");
        assert_eq!(sampler.sample(&[0; 10_000]), None);
    }
}
