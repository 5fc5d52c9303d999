//! Finds chunks that are much alike though not equal.
//!
//! Twelve features are sampled by gear hash and folded to three super-features; two chunks that
//! share one most likely share most of their bytes. After Zou et al., "The Dilemma between
//! Deduplication and Locality: Can Both be Achieved?" (Odess, FAST '21), and Broder's resemblance by
//! min-wise sampling, which it speeds up.

mod features;
mod table;

pub(crate) use features::{Sampler, SuperFeatures};
pub(crate) use table::Similar;
