//! Stretches of a log that are taken anew: other blocks in the place of some.

use std::collections::VecDeque;

use super::super::EntryId;
use super::block::Block;
use super::{Blocks, Stretch, Whereabouts};

/// Entries of a log with ids above `after`, up to `to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub after: EntryId,
    pub to: EntryId,
}

impl Span {
    /// All of a log.
    pub(in crate::grid) const ALL: Self = Self {
        after: EntryId::MIN,
        to: EntryId::MAX,
    };

    /// Whether all of `other` is of it.
    pub(in crate::grid) fn covers(self, other: Self) -> bool {
        self.after <= other.after && other.to <= self.to
    }

    /// Whether `id` is of it.
    pub(in crate::grid) fn has(self, id: EntryId) -> bool {
        self.after < id && id <= self.to
    }
}

/// Entries that are lost: between which ids, and how many if that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::grid) struct Hole {
    pub(in crate::grid) first: EntryId,
    pub(in crate::grid) last: EntryId,
    /// 0: nobody knows.
    pub(in crate::grid) count: u64,
    /// Nobody knows whether there are any.
    pub(in crate::grid) is_doubtful: bool,
}

impl Hole {
    /// How a part of it that stays is noted.
    pub(in crate::grid) fn whereabouts(self) -> Whereabouts {
        match self.is_doubtful {
            true => Whereabouts::Doubtful,
            false => Whereabouts::Lost,
        }
    }
}

impl Blocks {
    /// What can be taken anew of `span` at once: it begins and ends where a block on disk does, and
    /// what is here of it took about `bytes_max` of memory at most. None if nothing is left of it.
    pub(in crate::grid) fn unit(
        &self,
        span: Span,
        freed_to: EntryId,
        bytes_max: u64,
    ) -> Option<Span> {
        let start = self.partition_point(|block| block.last <= span.after);
        let after = match start < self.old.len() {
            true => self.last_before(start).unwrap_or(freed_to),
            false => span.after.max(freed_to),
        };
        let (mut to, mut bytes) = (span.to, 0);
        for (place, block) in self.range(start).enumerate() {
            if block.first > span.to {
                break;
            }
            bytes += block.bytes_hot();
            let is_old = start + place < self.old.len();
            let end = match is_old {
                true => block.last,
                false => block.last.min(span.to),
            };
            if bytes >= bytes_max {
                to = end;
                break;
            }
            // A doubt that is not resolved stays, at the end of what is taken anew.
            if block.is_doubtful() && end < span.to {
                to = end;
                break;
            }
            to = end.max(span.to);
        }
        (after < to).then_some(Span { after, to })
    }

    /// Where to stop, at `id` or before, so that no block on disk is cut. A hole of unknown
    /// contents may be.
    pub(in crate::grid) fn boundary_before(&self, id: EntryId) -> EntryId {
        let place = self.partition_point(|block| block.last <= id);
        let cut = self.old.get(place).filter(|block| block.first <= id);
        match cut {
            Some(block) if block.count > 0 => self.last_before(place).unwrap_or(EntryId::MIN),
            Some(_) | None => id,
        }
    }

    /// Id of the last entry at or before `id`.
    pub(in crate::grid) fn last_to(&self, id: EntryId) -> Option<EntryId> {
        self.entry_before(self.partition_point(|block| block.last <= id))
    }

    /// Id of the last entry before the block at `place`, lost or not, that is known to have been one.
    pub(super) fn entry_before(&self, place: usize) -> Option<EntryId> {
        let mut before = (0..place).rev().filter_map(|place| self.get(place));
        before
            .find(|block| !block.is_doubtful())
            .map(|block| block.last)
    }

    fn last_before(&self, place: usize) -> Option<EntryId> {
        Some(self.get(place.checked_sub(1)?)?.last)
    }

    /// What is lost within `span`, oldest first.
    pub(in crate::grid) fn holes(&self, span: Span) -> impl Iterator<Item = Hole> {
        let start = self.partition_point(|block| block.last <= span.after);
        let blocks = self.range(start);
        let blocks = blocks.take_while(move |block| block.first <= span.to);
        let lost = blocks.filter(|block| block.is_lost());
        lost.map(|block| Hole {
            first: block.first,
            last: block.last,
            count: block.count,
            is_doubtful: block.is_doubtful(),
        })
    }

    /// Divides the block in memory that has entries at or before `id` and after it.
    pub(in crate::grid) fn part(&mut self, id: EntryId) {
        let place = self.hot.partition_point(|block| block.last <= id);
        let parted = |block: &&Block| block.is_parted_by(id) && !block.is_lost();
        let Some(block) = self.hot.get(place).filter(parted) else {
            return;
        };
        let mut parts: [Option<Block>; 2] = [None, None];
        for (entry, payload) in block.iter().flatten() {
            let part = parts[usize::from(entry > id)].get_or_insert_with(|| Block::new(entry));
            part.push(entry, payload);
        }
        self.bytes -= block.memory();
        self.hot.remove(place);
        for part in parts.into_iter().flatten().rev() {
            self.bytes += part.memory();
            self.hot.insert(place, part);
        }
    }

    /// Divides the hole of unknown contents that has `id` and ids after it.
    fn part_hole(&mut self, id: EntryId) {
        let place = self.partition_point(|block| block.last <= id);
        let hole = self.get_mut(place);
        let hole = hole.filter(|hole| hole.is_lost() && hole.count == 0 && hole.is_parted_by(id));
        if let (Some(hole), Some(next)) = (hole, id.next()) {
            let last = std::mem::replace(&mut hole.last, id);
            let rest = match hole.is_doubtful() {
                true => Block::doubt(next, last),
                false => Block::hole(next, last),
            };
            self.insert_hole(place + 1, rest);
        }
    }

    /// Puts `new` in the place of what is here of `span`. False, and nothing is done, if that would
    /// cut a block on disk, or leave entries in memory before it.
    pub(in crate::grid) fn swap(&mut self, span: Span, new: Vec<(Stretch, Whereabouts)>) -> bool {
        self.part(span.to);
        self.part_hole(span.to);
        let start = self.partition_point(|block| block.last <= span.after);
        let end = self.partition_point(|block| block.first <= span.to);
        let within = |place| {
            let block: Option<&Block> = self.get(place);
            block.is_none_or(|block| block.first > span.after && block.last <= span.to)
        };
        if start > self.old.len() || end < start || !(start..end).all(within) {
            return false;
        }
        let mut after = VecDeque::new();
        if end <= self.old.len() {
            after = self.old.split_off(end);
        }
        let hot = self
            .hot
            .drain(..end.saturating_sub(self.old.len()).min(self.hot.len()));
        for block in self.old.drain(start..).chain(hot) {
            self.bytes -= block.memory();
            self.lost -= usize::from(block.is_lost());
        }
        self.thawed
            .retain(|first| *first <= span.after || *first > span.to);
        for (stretch, whereabouts) in new {
            self.push_cold(&stretch, whereabouts);
        }
        self.old.append(&mut after);
        self.settle_holes();
        true
    }
}
