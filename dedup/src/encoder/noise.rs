//! Tells data that cannot be compressed from a few KiB of it, so that it goes raw at once.
//!
//! Three looks, the cheapest first, and any of them may say that compressing is worth a try: many
//! small pieces, for a stretch of text or padding anywhere; the distribution of the bytes of those
//! pieces, for a skew that entropy coding would use; whole windows, for bytes that recur. Data that
//! compresses fails the first look after a few pieces.

/// Less is not worth a look.
const NOISE_BYTES_MIN: usize = 64 << 10;
const PIECES: usize = 256;
const PIECE_BYTES: usize = 16;
/// Of 16 random bytes fewer are distinct once in a million times.
const PIECE_DISTINCT_MIN: u32 = 12;
/// Bound of the chi-square statistic with 255 degrees of freedom: five deviations over the mean of
/// random bytes. A skew that stays below saves less than 0.3 %.
const CHI_SQUARE_MAX: f64 = 255.0 + 5.0 * 22.6;
const WINDOWS: usize = 4;
const WINDOW_BYTES: usize = 2 << 10;
const SEEN_BITS: u32 = 12;

/// Whether `data`, a batch, looks random throughout, so that it is not worth compressing; less than
/// 64 KiB never does. Public for measuring the test alone.
pub fn is_noise(data: &[u8]) -> bool {
    data.len() >= NOISE_BYTES_MIN && pieces_are_random(data) && nothing_recurs(data)
}

fn pieces_are_random(data: &[u8]) -> bool {
    let mut counts = [0u32; 256];
    for piece in spread::<PIECES>(data, PIECE_BYTES) {
        if !is_random(piece) {
            return false;
        }
        for byte in piece {
            counts[usize::from(*byte)] += 1;
        }
    }
    let expected = (PIECES * PIECE_BYTES / 256) as f64;
    let off = |count: u32| (f64::from(count) - expected).powi(2) / expected;
    counts.into_iter().map(off).sum::<f64>() <= CHI_SQUARE_MAX
}

/// Whether a piece of 16 bytes looks random: not all ASCII, and few bytes twice.
fn is_random(piece: &[u8]) -> bool {
    let mut seen = [0u64; 4];
    for &byte in piece {
        seen[usize::from(byte >> 6)] |= 1 << (byte & 63);
    }
    let distinct: u32 = seen.iter().map(|word| word.count_ones()).sum();
    distinct >= PIECE_DISTINCT_MIN && (seen[2] | seen[3]) != 0
}

/// Whether eight bytes hardly ever stand twice in a few windows.
fn nothing_recurs(data: &[u8]) -> bool {
    let mut seen = [0u64; 1 << SEEN_BITS];
    let mut recurred = 0;
    for window in spread::<WINDOWS>(data, WINDOW_BYTES) {
        for bytes in window.array_windows::<8>() {
            let key = u64::from_le_bytes(*bytes);
            let slot = key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - SEEN_BITS);
            let held = &mut seen[slot as usize];
            recurred += usize::from(*held == key);
            *held = key;
        }
    }
    recurred <= 1
}

/// `N` pieces of `len` bytes at even distances, from the first byte to the last.
fn spread<const N: usize>(data: &[u8], len: usize) -> impl Iterator<Item = &[u8]> {
    let last = data.len() - len;
    (0..N).map(move |n| &data[last * n / (N - 1)..][..len])
}

/// Whether a chunk looks random, by a quick look: one that does is not worth sampling for features.
pub(super) fn is_noise_chunk(chunk: &[u8]) -> bool {
    chunk.len() >= 1 << 10 && spread::<16>(chunk, PIECE_BYTES).all(is_random)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::noise;

    fn saved_by_zstd(data: &[u8]) -> f64 {
        let compressed = zstd::bulk::compress(data, 3).expect("compresses");
        1.0 - compressed.len() as f64 / data.len() as f64
    }

    #[test]
    fn noise_is_told() {
        let told = (0..200).filter(|seed| is_noise(&noise(*seed, 1 << 20)));
        assert!(told.count() >= 195);
        assert!(!is_noise(&noise(1, 1000)), "too little to tell");
        assert!((0..200).all(|seed| is_noise_chunk(&noise(seed, 8000))));
    }

    /// What compresses by more than half a per cent is not taken for noise.
    #[test]
    fn what_compresses_is_compressed() {
        type Spoil = fn(&mut [u8], f64);
        let kinds: [(&str, Spoil); 5] = [
            ("text within", |data, part| {
                let text: Vec<u8> = b"a line of text, and another ".repeat(1 << 16);
                let len = (data.len() as f64 * part) as usize;
                data[100_000..100_000 + len].copy_from_slice(&text[..len]);
            }),
            ("zeros here and there", |data, part| {
                let every = (200.0 / part) as usize;
                data.chunks_mut(every).for_each(|chunk| {
                    let len = chunk.len().min(200);
                    chunk[..len].fill(0);
                });
            }),
            ("a skew", |data, part| {
                for at in (0..data.len()).step_by((1.0 / part) as usize) {
                    data[at] &= 0x0f;
                }
            }),
            ("seven bits", |data, part| {
                let len = (data.len() as f64 * part) as usize;
                data[..len].iter_mut().for_each(|byte| *byte &= 0x7f);
            }),
            ("records that recur", |data, part| {
                let every = (64.0 / part) as usize;
                for at in (every..data.len() - 64).step_by(every) {
                    data.copy_within(at - every..at - every + 64, at);
                }
            }),
        ];
        for (kind, spoil) in kinds {
            for part in [0.01, 0.02, 0.05, 0.2, 0.9] {
                let (mut lost, rounds) = (0.0, 40);
                for seed in 0..rounds {
                    let mut data = noise(seed, 1 << 20);
                    spoil(&mut data, part);
                    if is_noise(&data) {
                        lost += saved_by_zstd(&data).max(0.0) / rounds as f64;
                    }
                }
                assert!(lost < 0.005, "{kind} of {part}: {lost} lost");
            }
        }
    }
}
