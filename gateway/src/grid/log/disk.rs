//! Entries of a log that go to the disk, and come back.

use super::super::EntryId;
use super::super::blocks::{Hole, Span, Stretch, Whereabouts};
use super::super::cold::{Absent, Cold};
use super::Log;

impl Log {
    /// Memory that could be given back.
    pub(in crate::grid) fn spillable_bytes(&self) -> usize {
        self.blocks.spillable_bytes()
    }

    /// The oldest entries in memory above `after`, up to `to`, that can go to the disk as one block.
    pub(in crate::grid) fn stretch(&self, span: Span, bytes_max: usize) -> Option<Stretch> {
        let (durable, trimmed_to) = (self.durable.last.min(span.to), self.position.trimmed_to);
        let after = span.after;
        let stretch = self.blocks.stretch(after, durable, trimmed_to, bytes_max)?;
        Some(Stretch {
            prev: stretch
                .prev
                .max(self.freed_to.min(stretch.first.previous()?)),
            ..stretch
        })
    }

    /// Keeps entries from `first` on in memory, until that is taken back.
    pub(in crate::grid) fn pin(&mut self, first: Option<EntryId>) {
        self.blocks.pin(first);
        self.free();
    }

    /// `stretch`, which was pinned, is on disk.
    pub(in crate::grid) fn freeze(&mut self, stretch: &Stretch, cold: Cold) {
        self.blocks.freeze(stretch, cold, self.position.trimmed_to);
    }

    /// Takes the block on disk that begins with `first` into memory.
    pub(in crate::grid) fn thaw(&mut self, first: EntryId, entries: &[(EntryId, &[u8])]) {
        self.blocks.thaw(first, entries, self.position.trimmed_to);
    }

    /// The block on disk that begins with `first` cannot be read; whether that is new.
    pub(in crate::grid) fn lose(&mut self, first: EntryId) -> bool {
        self.blocks.lose(first)
    }

    /// Takes the blocks that a start found on disk; the log is empty.
    pub(in crate::grid) fn restore(&mut self, blocks: &[(Stretch, Cold)]) {
        if let Some((first, _)) = blocks.first() {
            self.freed_to = first.prev;
        }
        for (stretch, cold) in blocks {
            self.skip_to(stretch.prev);
            self.blocks
                .push_cold(stretch, Whereabouts::OnDisk(cold.clone()));
            self.position.last = stretch.last;
            self.len += stretch.count;
            self.added += stretch.count;
        }
    }

    /// Entries after the last one up to `prev` are missing, if there are any; whether there are.
    pub(in crate::grid) fn skip_to(&mut self, prev: EntryId) -> bool {
        let last = self.position.last.max(self.freed_to);
        let Some(first) = last.next().filter(|first| *first <= prev) else {
            return false;
        };
        self.blocks.push_hole(first, prev);
        self.position.last = prev;
        true
    }

    /// First and last ids between which entries are missing. Those that are trimmed were freed, as
    /// everything before them was: that goes.
    pub(in crate::grid) fn settle_missing(&mut self) -> Vec<(EntryId, EntryId)> {
        let trimmed_to = self.position.trimmed_to;
        // Only what is trimmed is freed: if there was more before the first block, it is missing.
        if self.freed_to > trimmed_to
            && let Some(first) = trimmed_to.next()
        {
            self.blocks.push_hole_first(first, self.freed_to);
            self.freed_to = trimmed_to;
        }
        let trimmed = self.holes().filter(|hole| hole.last <= trimmed_to).last();
        if let Some(hole) = trimmed
            && let Some(gone) = self.blocks.free_to(hole.last)
        {
            self.freed_to = gone;
        }
        self.holes().map(|hole| (hole.first, hole.last)).collect()
    }

    /// Entries in `span` may be lost.
    pub(in crate::grid) fn doubt(&mut self, span: Span) {
        self.blocks.doubt(span);
    }

    /// Nothing is in doubt any more.
    pub(in crate::grid) fn trust(&mut self) {
        self.blocks.trust();
    }

    /// Whether clients may see fewer entries than there are, and nobody knows how many.
    pub(crate) fn is_uncounted(&self) -> bool {
        let visible = Span {
            after: self.position().trimmed_to,
            ..Span::ALL
        };
        self.blocks.lost() > 0 && self.blocks.holes(visible).any(|hole| hole.count == 0)
    }

    /// What is lost of the log.
    pub(in crate::grid) fn holes(&self) -> impl Iterator<Item = Hole> {
        self.blocks.holes(Span::ALL)
    }

    /// Number of stretches that are lost.
    pub(in crate::grid) fn lost(&self) -> usize {
        self.blocks.lost()
    }

    /// What is lost within `span`.
    pub(in crate::grid) fn holes_in(&self, span: Span) -> Vec<Hole> {
        self.blocks.holes(span).collect()
    }

    /// What can be taken anew of `span` at once: see [`Blocks::unit`](super::super::blocks::Blocks::unit).
    pub(in crate::grid) fn unit(&self, span: Span, bytes_max: u64) -> Option<Span> {
        let to = span.to.min(self.durable.last);
        let seen = Span { to, ..span };
        self.blocks.unit(seen, self.freed_to, bytes_max)
    }

    /// Where a stretch may end, at `id` or before.
    pub(in crate::grid) fn boundary_before(&self, id: EntryId) -> EntryId {
        self.blocks.boundary_before(id)
    }

    /// Id of the entry at or before `id`, or of the last that is gone.
    pub(in crate::grid) fn last_to(&self, id: EntryId) -> EntryId {
        self.blocks.last_to(id).unwrap_or(self.freed_to)
    }

    /// Divides what is in memory behind `id`.
    pub(in crate::grid) fn part(&mut self, id: EntryId) {
        self.blocks.part(id);
    }

    /// Puts `new`, with entries of these ids, in the place of what is here of `span`; `more` of
    /// them were not here. False, and nothing is done, if that cannot be.
    pub(in crate::grid) fn swap(
        &mut self,
        span: Span,
        new: Vec<(Stretch, Whereabouts)>,
        (ids, more): (&[EntryId], u64),
    ) -> Result<bool, Absent> {
        let trimmed_to = self.position.trimmed_to;
        let before = self.blocks.count(trimmed_to.max(span.after), span.to)?;
        if !self.blocks.swap(span, new) {
            return Ok(false);
        }
        let visible = ids.iter().filter(|id| **id > trimmed_to).count() as u64;
        self.len = self.len - before + visible;
        self.added += more;
        Ok(true)
    }

    /// The first block on disk above `id`.
    pub(in crate::grid) fn cold_after(&self, id: EntryId) -> Option<Absent> {
        self.blocks.cold_after(id)
    }

    /// An id before the block at this place, oldest first, and after the one before it.
    pub(in crate::grid) fn before_cold(&self, place: usize) -> EntryId {
        self.blocks.before_cold(place)
    }

    /// Up to where the journal need not say anything: that is in files of its own.
    pub(in crate::grid) fn cold_to(&self) -> EntryId {
        self.blocks.cold_to().unwrap_or_default()
    }

    /// Number of blocks on disk.
    pub(in crate::grid) fn cold(&self) -> usize {
        self.blocks.cold()
    }
}
