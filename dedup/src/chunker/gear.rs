//! The gear hash (Xia et al., "Ddelta", 2014): a shift and an add for each byte.

/// Bytes after which an earlier one has left the 64-bit hash.
pub(crate) const WINDOW_BYTES: usize = 64;

/// A table of random numbers, one for each byte.
#[derive(Clone)]
pub(crate) struct Gear(Box<[u64; 256]>);

impl Gear {
    /// Draws the table from a keyed stream.
    pub(crate) fn new(stream: &mut blake3::OutputReader) -> Self {
        let mut table = [0u8; 256 * 8];
        stream.fill(&mut table);
        let mut gear = Box::new([0u64; 256]);
        for (entry, bytes) in gear.iter_mut().zip(table.as_chunks::<8>().0) {
            *entry = u64::from_le_bytes(*bytes);
        }
        Self(gear)
    }

    fn of(&self, byte: u8) -> u64 {
        self.0[usize::from(byte)]
    }

    /// The hash after `data`.
    pub(crate) fn roll(&self, hash: u64, data: &[u8]) -> u64 {
        data.iter()
            .fold(hash, |hash, byte| (hash << 1).wrapping_add(self.of(*byte)))
    }

    /// Offset just after the first byte at which the hash is at most `threshold`, with `hash` left
    /// there; or at the end.
    ///
    /// Four bytes a step: the chain from one step's hash to the next is a shift and an add, and what
    /// is tested on the way hangs off it. More lanes don't pay: each byte needs its own look into
    /// the table, and gathering those is no faster than loading them one by one.
    pub(crate) fn scan(&self, hash: &mut u64, data: &[u8], threshold: u64) -> Option<usize> {
        let (steps, rest) = data.as_chunks::<4>();
        let low = |hash: u64| hash <= threshold;
        let mut state = *hash;
        for (step, &[b0, b1, b2, b3]) in steps.iter().enumerate() {
            let (g0, g1, g2, g3) = (self.of(b0), self.of(b1), self.of(b2), self.of(b3));
            let two = (g0 << 1).wrapping_add(g1);
            let four = (two << 2).wrapping_add((g2 << 1).wrapping_add(g3));
            let first = (state << 1).wrapping_add(g0);
            let second = (state << 2).wrapping_add(two);
            let third = (second << 1).wrapping_add(g2);
            state = (state << 4).wrapping_add(four);
            if low(first) || low(second) || low(third) || low(state) {
                let hashes = [first, second, third, state];
                let before = hashes.iter().take_while(|hash| !low(**hash)).count();
                *hash = hashes.get(before).copied().unwrap_or(state);
                return Some(step * 4 + before + 1);
            }
        }
        for (n, &byte) in rest.iter().enumerate() {
            state = (state << 1).wrapping_add(self.of(byte));
            if low(state) {
                *hash = state;
                return Some(steps.len() * 4 + n + 1);
            }
        }
        *hash = state;
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn four_bytes_a_step_equal_one(
            data in prop::collection::vec(prop_oneof![any::<u8>(), 0u8..2], 0..300),
            shift in 0u32..12,
            start in any::<u64>(),
        ) {
            let gear = Gear::new(&mut blake3::Hasher::new().finalize_xof());
            let threshold = u64::MAX >> shift;
            let (mut naive, mut at) = (start, None);
            for (n, &byte) in data.iter().enumerate() {
                naive = (naive << 1).wrapping_add(gear.of(byte));
                if naive <= threshold {
                    at = Some(n + 1);
                    break;
                }
            }
            let mut fast = start;
            prop_assert_eq!(gear.scan(&mut fast, &data, threshold), at);
            prop_assert_eq!(fast, naive);
        }
    }
}
