//! Which history: positions mean nothing without it.

use std::fmt;

/// A history's identity, drawn by its sender. A sender that lost its history, or meets a receiver
/// that did, starts a new one from position 0.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct HistoryId(pub(crate) [u8; 16]);

impl HistoryId {
    /// Draws a new identity.
    pub(crate) fn random() -> Self {
        let mut id = [0; 16];
        fill_random(&mut id);
        Self(id)
    }
}

impl fmt::Debug for HistoryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "HistoryId({:016x}…)",
            u64::from_be_bytes(*self.0.first_chunk().unwrap_or(&[0; 8]))
        )
    }
}

/// Fills from the operating system's generator.
pub(crate) fn fill_random(out: &mut [u8]) {
    getrandom::fill(out).expect("the operating system gives random bytes");
}
