//! What was sent and is not acknowledged yet.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;

use crate::BatchId;
use crate::history::{Extent, Position};

/// Lanes beyond this share the last one.
const LANES: usize = 4;

/// What the encoder must remember of a batch until it is acknowledged.
#[derive(Clone, Debug)]
pub(crate) struct Flight {
    pub(crate) lane: u8,
    /// Counts encoded batches.
    pub(crate) order: u64,
    pub(crate) start: Position,
    pub(crate) appends: Vec<Range<usize>>,
    /// History that it refers to, or is compressed against.
    pub(crate) sources: Vec<Extent>,
    /// The eviction floor that it carries.
    pub(crate) floor: Position,
}

impl Flight {
    fn appended_len(&self) -> usize {
        self.appends.iter().map(Range::len).sum()
    }
}

/// Batches in flight, by id and by the history they append.
#[derive(Debug, Default)]
pub(crate) struct InFlight {
    batches: HashMap<BatchId, Flight>,
    orders: BTreeSet<u64>,
    /// For each lane, what its batches append: start to end.
    lanes: [BTreeMap<Position, Position>; LANES],
}

fn lane_index(lane: u8) -> usize {
    usize::from(lane).min(LANES - 1)
}

impl InFlight {
    pub(crate) fn insert(&mut self, id: BatchId, flight: Flight) {
        let len = flight.appended_len();
        if len > 0 {
            self.lanes[lane_index(flight.lane)].insert(flight.start, flight.start.after(len));
        }
        self.orders.insert(flight.order);
        self.batches.insert(id, flight);
    }

    pub(crate) fn remove(&mut self, id: BatchId) -> Option<Flight> {
        let flight = self.batches.remove(&id)?;
        // One that appended nothing shares its start with the next.
        if flight.appended_len() > 0 {
            self.lanes[lane_index(flight.lane)].remove(&flight.start);
        }
        self.orders.remove(&flight.order);
        Some(flight)
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// The earliest batch still in flight, counted in encoding order.
    pub(crate) fn earliest(&self) -> Option<u64> {
        self.orders.first().copied()
    }

    /// How far from `at` a batch of `lane` may refer: up to the first byte that is in flight in a
    /// less urgent lane (rule H2).
    pub(crate) fn horizon(&self, lane: u8, at: Position, tail: Position) -> Position {
        let mut horizon = tail;
        if at.in_received().is_some() {
            return horizon;
        }
        for less_urgent in &self.lanes[lane_index(lane) + 1..] {
            if less_urgent
                .range(..=at)
                .next_back()
                .is_some_and(|(_, end)| *end > at)
            {
                return at;
            }
            if let Some((start, _)) = less_urgent.range(at..).next() {
                horizon = horizon.min(*start);
            }
        }
        horizon
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_horizon_ends_at_less_urgent_flights() {
        let mut flying = InFlight::default();
        for (seq, lane, at) in [(0, 0, 0), (1, 2, 100), (2, 1, 200), (3, 2, 300)] {
            let id = BatchId { stream: 0, seq };
            flying.insert(
                id,
                Flight {
                    lane,
                    order: seq,
                    start: Position(at),
                    appends: std::iter::once(0..100).collect(),
                    sources: Vec::new(),
                    floor: Position(0),
                },
            );
        }
        let tail = Position(400);
        assert_eq!(flying.horizon(2, Position(0), tail), tail);
        assert_eq!(flying.horizon(1, Position(0), tail), Position(100));
        assert_eq!(flying.horizon(1, Position(150), tail), Position(150));
        assert_eq!(flying.horizon(1, Position(200), tail), Position(300));
        assert_eq!(flying.horizon(0, Position(200), tail), Position(200));
        // One that appended nothing stands where the next begins, and leaves it alone.
        let id = BatchId { stream: 1, seq: 0 };
        let empty = Flight {
            lane: 2,
            order: 4,
            start: Position(100),
            appends: Vec::new(),
            sources: Vec::new(),
            floor: Position(0),
        };
        flying.insert(id, empty);
        flying.remove(id);
        assert_eq!(flying.horizon(1, Position(0), tail), Position(100));
        flying.remove(BatchId { stream: 0, seq: 1 });
        assert_eq!(flying.horizon(1, Position(0), tail), Position(300));
        assert_eq!(flying.earliest(), Some(0));
    }
}
