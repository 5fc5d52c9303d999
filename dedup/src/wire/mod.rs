//! The wire form of a batch and of a decoder's hello: explicit, little-endian, versioned, drawn in
//! `docs/WIRE.md`. Every length is bounded before memory is taken for it.

pub(crate) mod batch;
pub(crate) mod body;
mod compressor;
pub(crate) mod hello;
pub(crate) mod plan;
mod varint;

pub(crate) use compressor::Compressor;
pub(crate) use varint::{Reader, put_varint, put_zigzag};

/// Version of both forms.
pub(crate) const VERSION: u8 = 2;

/// What is wrong with a peer's bytes, in a few words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed(pub(crate) &'static str);

impl From<crate::range::EndsEarly> for Malformed {
    fn from(_: crate::range::EndsEarly) -> Self {
        Self("a plan that ends early")
    }
}

/// A range in one of the two histories of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    pub(crate) side: Side,
    pub(crate) extent: crate::history::Extent,
}

/// Which of a link's two histories, as seen from a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Side {
    /// What went the way this batch goes.
    Same,
    /// What came the other way.
    Reverse,
}
