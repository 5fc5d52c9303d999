//! Eviction in two steps (rule H4).
//!
//! The receiver's hello says how much it keeps. The sender stops referring to what is older; once
//! no batch in flight can refer to it any more, batches carry the floor, and the receiver lets go.

use std::collections::VecDeque;

use crate::history::{Ledger, Position};

/// The floor rises in steps of this part of the history, so that the index is swept seldom.
const STEP: u64 = 16;

/// From where on history may be referred to, and what the peer knows of that.
#[derive(Debug)]
pub(crate) struct Floor {
    /// Most bytes the receiver keeps.
    capacity_bytes: u64,
    /// Floors not yet announced, each with the first batch encoded under it.
    pending: VecDeque<(u64, Position)>,
    /// No batch in flight refers below.
    safe: Position,
    /// The peer knows.
    confirmed: Position,
}

impl Default for Floor {
    fn default() -> Self {
        Self {
            capacity_bytes: u64::MAX,
            pending: VecDeque::new(),
            safe: Position(0),
            confirmed: Position(0),
        }
    }
}

impl Floor {
    /// A new floor, when the ledger has outgrown what either end keeps. `order` is that of the next
    /// batch.
    pub(crate) fn raise(&mut self, ledger: &Ledger, order: u64) -> Option<Position> {
        let capacity = self.capacity_bytes.min(ledger.bytes_max());
        // Room for what is in flight while the floor is on its way.
        let window = capacity - capacity / STEP * 2;
        let held = ledger.tail().since(ledger.oldest()) as u64;
        if held <= window {
            return None;
        }
        let floor = ledger.tail().before((window - window / STEP) as usize);
        self.pending.push_back((order, floor));
        Some(floor)
    }

    /// The floor that no batch in flight refers below, given the earliest of those.
    pub(crate) fn announced(&mut self, earliest_in_flight: Option<u64>) -> Position {
        while let Some((order, floor)) = self.pending.front() {
            if earliest_in_flight.is_some_and(|earliest| earliest < *order) {
                break;
            }
            self.safe = self.safe.max(*floor);
            self.pending.pop_front();
        }
        self.safe
    }

    /// What a batch must say of `announced`: nothing once the peer knows.
    pub(crate) fn to_announce(&self, announced: Position) -> Option<Position> {
        (announced > self.confirmed).then_some(announced)
    }

    pub(crate) fn confirm(&mut self, floor: Position) {
        self.confirmed = self.confirmed.max(floor);
    }

    /// After a handshake nothing is in flight, and the peer may have missed what was announced.
    pub(crate) fn restart(&mut self, capacity_bytes: u64, oldest: Position) {
        *self = Self {
            capacity_bytes,
            pending: VecDeque::new(),
            safe: oldest,
            confirmed: Position(0),
        };
    }
}
