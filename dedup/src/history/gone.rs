//! Stretches of history that the receiver turned out to lack.

use std::collections::BTreeMap;

use super::{Extent, Position};

/// Most stretches remembered; past that the oldest are tried again, at the cost of a batch each.
const STRETCHES_MAX: usize = 1 << 16;

/// What a batch referred to that the receiver could not resolve (rule H5), as a view names it:
/// disjoint stretches that do not touch, start to end.
#[derive(Debug, Default)]
pub(crate) struct Gone {
    stretches: BTreeMap<Position, Position>,
}

impl Gone {
    pub(crate) fn insert(&mut self, extent: Extent) {
        let (mut start, mut end) = (extent.at, extent.end());
        if start >= end {
            return;
        }
        while let Some((&at, &to)) = self.stretches.range(..=end).next_back() {
            if to < start {
                break;
            }
            (start, end) = (start.min(at), end.max(to));
            self.stretches.remove(&at);
        }
        self.stretches.insert(start, end);
        if self.stretches.len() > STRETCHES_MAX {
            self.stretches.pop_first();
        }
    }

    /// Where the stretch that is gone before `at` ends; `at` itself within one.
    pub(crate) fn end_before(&self, at: Position) -> Option<Position> {
        let (_, end) = self.stretches.range(..at).next_back()?;
        Some(at.min(*end))
    }

    /// Where the next stretch that is gone begins; `at` itself within one.
    pub(crate) fn begin_after(&self, at: Position) -> Option<Position> {
        let within = self.stretches.range(..=at).next_back();
        if within.is_some_and(|(_, end)| *end > at) {
            return Some(at);
        }
        self.stretches.range(at..).next().map(|(start, _)| *start)
    }

    pub(crate) fn evict_below(&mut self, floor: Position) {
        self.retain(floor, Position(u64::MAX));
    }

    /// Keeps what lies in `oldest..tail`: what was received may have been begun anew, and positions
    /// past the tail are assigned again.
    pub(crate) fn retain(&mut self, oldest: Position, tail: Position) {
        self.stretches
            .retain(|start, end| *end > oldest && *start < tail);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretches_join_and_limit_what_is_beside_them() {
        let mut gone = Gone::default();
        for (at, len) in [(100, 50), (300, 10), (150, 20), (90, 15), (400, 0)] {
            gone.insert(Extent {
                at: Position(at),
                len,
            });
        }
        let stretches = [(90, 170), (300, 310)].map(|(a, b)| (Position(a), Position(b)));
        assert_eq!(gone.stretches, BTreeMap::from(stretches));
        let limits = |at| {
            let at = Position(at);
            let number = |position: Option<Position>| position.map(|p| p.0);
            (number(gone.end_before(at)), number(gone.begin_after(at)))
        };
        assert_eq!(limits(80), (None, Some(90)));
        assert_eq!(limits(90), (None, Some(90)));
        assert_eq!(limits(120), (Some(120), Some(120)));
        assert_eq!(limits(170), (Some(170), Some(300)));
        assert_eq!(limits(200), (Some(170), Some(300)));
        assert_eq!(limits(310), (Some(310), None));
        gone.retain(Position(170), Position(1000));
        assert_eq!(gone.stretches.len(), 1);
    }
}
