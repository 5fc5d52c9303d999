//! How far two stretches of bytes are the same, from either end.

/// Length of the longest common prefix.
pub(super) fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    const BLOCK: usize = 64;
    let (blocks_a, blocks_b) = (a.as_chunks::<BLOCK>().0, b.as_chunks::<BLOCK>().0);
    let blocks = blocks_a
        .iter()
        .zip(blocks_b)
        .take_while(|(a, b)| a == b)
        .count()
        * BLOCK;
    blocks
        + a[blocks..]
            .iter()
            .zip(&b[blocks..])
            .take_while(|(a, b)| a == b)
            .count()
}

/// Length of the longest common suffix.
pub(super) fn common_suffix(a: &[u8], b: &[u8]) -> usize {
    const BLOCK: usize = 64;
    let (blocks_a, blocks_b) = (a.as_rchunks::<BLOCK>().1, b.as_rchunks::<BLOCK>().1);
    let equal = blocks_a
        .iter()
        .rev()
        .zip(blocks_b.iter().rev())
        .take_while(|(a, b)| a == b);
    let blocks = equal.count() * BLOCK;
    let (a, b) = (&a[..a.len() - blocks], &b[..b.len() - blocks]);
    blocks
        + a.iter()
            .rev()
            .zip(b.iter().rev())
            .take_while(|(a, b)| a == b)
            .count()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn common_ends_are_counted(a in prop::collection::vec(0u8..2, 0..300), cut in 0usize..300, tail in prop::collection::vec(0u8..2, 0..9)) {
            let mut b = a[..cut.min(a.len())].to_vec();
            b.extend(&tail);
            let naive = a.iter().zip(&b).take_while(|(x, y)| x == y).count();
            prop_assert_eq!(common_prefix(&a, &b), naive);
            let (a, b): (Vec<u8>, Vec<u8>) = (a.into_iter().rev().collect(), b.into_iter().rev().collect());
            prop_assert_eq!(common_suffix(&a, &b), naive);
        }
    }
}
