//! Content-defined chunking: cut points that depend on the bytes alone, so that an insertion moves
//! the cuts with it and everything after the next cut is found again.
//!
//! Gear hashing (Xia et al., "Ddelta", 2014; "FastCDC", USENIX ATC '16) with the bytes below the
//! minimum skipped and one threshold on the whole hash instead of FastCDC's two masks. The gear
//! table is derived from the deployment's key, so that chunk sizes tell an outsider nothing about
//! known files. Golden vectors pin the cut points and fingerprints of
//! [`VERSION`].

mod cut;
mod fingerprint;
mod gear;

pub(crate) use cut::{Chunker, OpenChunk};
pub(crate) use fingerprint::{Fingerprint, FingerprintHasher};
pub(crate) use gear::Gear;

use std::fmt;

/// Version of the cut points and fingerprints: two gateways share cut points only under the same
/// version and key.
pub(crate) const VERSION: u8 = 2;
/// No chunk but the last of a stream is shorter.
pub(crate) const CHUNK_BYTES_MIN: usize = 2 << 10;
/// The mean over incompressible data.
pub(crate) const CHUNK_BYTES_AVG: usize = 8 << 10;
/// No chunk is longer.
pub(crate) const CHUNK_BYTES_MAX: usize = 64 << 10;

/// The deployment's secret from which cut points and fingerprints follow.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ChunkerKey(pub(crate) [u8; 32]);

impl fmt::Debug for ChunkerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChunkerKey(…)")
    }
}

/// Lengths of the content chunks of `data`, cut under `key`: for measuring the chunker alone.
pub fn chunk_lengths(key: [u8; 32], data: &[u8]) -> impl Iterator<Item = usize> {
    let chunker = Chunker::new(ChunkerKey(key));
    let mut rest = data;
    std::iter::from_fn(move || {
        let cut = chunker.next_cut(&mut OpenChunk::default(), rest);
        let len = cut.unwrap_or(rest.len());
        rest = &rest[len..];
        (len > 0).then_some(len)
    })
}
