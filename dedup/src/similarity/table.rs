//! Where in history a chunk with a given super-feature stands.

use super::features::{SUPER_FEATURES, SuperFeatures};
use crate::history::Position;

const SLOT_BITS: u32 = 17;
/// Bits of a slot that check the super-feature; the rest is the position.
const TAG_BITS: u32 = 20;

/// Direct-mapped tables, 3 MiB in all for the newest 131 072 chunks: what they say is checked
/// against the bytes.
#[derive(Debug)]
pub(crate) struct Similar {
    slots: [Vec<u64>; SUPER_FEATURES],
}

impl Default for Similar {
    fn default() -> Self {
        Self {
            slots: std::array::from_fn(|_| vec![0; 1 << SLOT_BITS]),
        }
    }
}

fn slot_and_tag(feature: u64) -> (usize, u64) {
    // Never 0, which marks an empty slot.
    let tag = (feature & ((1 << TAG_BITS) - 1)) | 1;
    ((feature >> (64 - SLOT_BITS)) as usize, tag)
}

impl Similar {
    /// Memory that the tables take.
    pub(crate) const BYTES: u64 = (SUPER_FEATURES * size_of::<u64>()) as u64 * (1 << SLOT_BITS);

    pub(crate) fn insert(&mut self, features: SuperFeatures, at: Position) {
        for (slots, feature) in self.slots.iter_mut().zip(features.0) {
            let (slot, tag) = slot_and_tag(feature);
            slots[slot] = (at.0 << TAG_BITS) | tag;
        }
    }

    /// Chunks that share a super-feature, each once.
    pub(crate) fn find(&self, features: SuperFeatures) -> impl Iterator<Item = Position> {
        let mut found: Vec<u64> = Vec::new();
        for (slots, feature) in self.slots.iter().zip(features.0) {
            let (slot, tag) = slot_and_tag(feature);
            let held = slots[slot];
            let at = held >> TAG_BITS;
            if held & ((1 << TAG_BITS) - 1) == tag && !found.contains(&at) {
                found.push(at);
            }
        }
        found.into_iter().map(Position)
    }
}
