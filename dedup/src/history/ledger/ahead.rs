//! What arrived before its predecessors, until the gap before it closes.

use std::collections::BTreeMap;

use super::super::Position;

/// The peer appends where something else already stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Overlap;

/// Stretches past the contiguous part, disjoint, by where they begin.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    stretches: BTreeMap<Position, Vec<u8>>,
    bytes: usize,
    bytes_max: usize,
}

impl Ahead {
    /// Nothing yet, with room for so many bytes.
    pub(super) fn with_room(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            ..Self::default()
        }
    }

    /// The same with nothing in it.
    pub(super) fn emptied(&self) -> Self {
        Self::with_room(self.bytes_max)
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether there is room for `len` bytes more.
    pub(super) fn has_room(&self, len: usize) -> bool {
        self.bytes + len <= self.bytes_max
    }

    /// Whether the first stretch begins before `end`.
    pub(super) fn begins_before(&self, end: Position) -> bool {
        let first = self.stretches.first_key_value();
        first.is_some_and(|(start, _)| *start < end)
    }

    /// Keeps `bytes` until everything before `at` has arrived. The same again is no overlap.
    pub(super) fn insert(&mut self, at: Position, bytes: &[u8]) -> Result<(), Overlap> {
        let end = at.after(bytes.len());
        let before = self.stretches.range(..end).next_back();
        match before {
            Some((start, held)) if *start == at && held == bytes => Ok(()),
            Some((start, held)) if start.after(held.len()) > at => Err(Overlap),
            Some(_) | None => {
                self.bytes += bytes.len();
                self.stretches.insert(at, bytes.to_vec());
                Ok(())
            }
        }
    }

    /// Takes the stretch that begins at `tail`, if there is one.
    pub(super) fn take(&mut self, tail: Position) -> Option<Vec<u8>> {
        let entry = self.stretches.first_entry()?;
        if *entry.key() != tail {
            return None;
        }
        let bytes = entry.remove();
        self.bytes -= bytes.len();
        Some(bytes)
    }

    /// The bytes from `at` to the end of their stretch; empty in a gap.
    pub(super) fn following(&self, at: Position) -> &[u8] {
        let before = self.stretches.range(..=at).next_back();
        before
            .and_then(|(start, bytes)| bytes.get(at.since(*start)..))
            .unwrap_or(&[])
    }
}
