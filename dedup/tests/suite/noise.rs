//! Bytes that nothing compresses, the same for the same seed. Unit tests include this file too.

pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut data = vec![0; len];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.finalize_xof().fill(&mut data);
    data
}
