//! Where a stream went on when it left history, and where it came back.
//!
//! The second version of a file follows the first's history, leaves it at each change for newly
//! appended bytes, and comes back. The third follows the same threads and needs no look-up.

use super::Position;

const SLOTS: usize = 1 << 16;

/// A direct-mapped table, bounded at 1 MiB: what it says is checked against the bytes.
#[derive(Debug)]
pub(crate) struct Threads {
    slots: Vec<(Position, Position)>,
}

impl Default for Threads {
    fn default() -> Self {
        Self {
            slots: vec![(Position(u64::MAX), Position(0)); SLOTS],
        }
    }
}

fn slot(from: Position) -> usize {
    (from.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48) as usize % SLOTS
}

impl Threads {
    /// Memory that the table takes.
    pub(crate) const BYTES: u64 = (SLOTS * size_of::<(Position, Position)>()) as u64;

    /// The stream that stood at `from` went on at `to`.
    pub(crate) fn tie(&mut self, from: Position, to: Position) {
        self.slots[slot(from)] = (from, to);
    }

    /// Where the last stream that stood at `from` went on, if it left history's order there.
    pub(crate) fn follow(&self, from: Position) -> Option<Position> {
        let (at, to) = self.slots[slot(from)];
        (at == from).then_some(to)
    }
}
