//! Entries of a log that go to the disk, and come back.

use super::super::EntryId;
use super::super::blocks::Stretch;
use super::super::cold::Cold;
use super::Log;

impl Log {
    /// Memory that could be given back.
    pub(in crate::grid) fn spillable_bytes(&self) -> usize {
        self.blocks.spillable_bytes()
    }

    /// The oldest entries in memory above `after` that can go to the disk as one block.
    pub(in crate::grid) fn stretch(&self, after: EntryId, bytes_max: usize) -> Option<Stretch> {
        let (durable, trimmed_to) = (self.durable.last, self.position.trimmed_to);
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
            self.blocks.push_cold(stretch, Some(cold.clone()));
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
        let stretch = Stretch {
            prev: last,
            first,
            last: prev,
            count: 0,
            bytes_hot: 0,
        };
        self.blocks.push_cold(&stretch, None);
        self.position.last = prev;
        true
    }

    /// First and last ids between which entries are missing. Those that are trimmed were freed, as
    /// everything before them was: that goes.
    pub(in crate::grid) fn settle_missing(&mut self) -> Vec<(EntryId, EntryId)> {
        let mut missing = self.blocks.lost();
        let trimmed_to = self.position.trimmed_to;
        if let Some((_, last)) = missing.iter().rfind(|(_, last)| *last <= trimmed_to)
            && let Some(gone) = self.blocks.free_to(*last)
        {
            self.freed_to = gone;
        }
        missing.retain(|(_, last)| *last > trimmed_to);
        missing
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
