//! One log: entries with rising ids, appended only by its origin.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::Notify;

use super::blocks::Blocks;
use super::record::{LogHead, LogSection, SectionBuilder};
use super::{EntryId, LogName, LogPosition};

/// How `XTRIM` and `XADD` bound a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trim {
    /// What stays.
    pub(crate) keep: Keep,
    /// Only where it costs nothing: whole blocks (`~`).
    pub(crate) roughly: bool,
    /// Trim at most so many entries; only with `roughly`.
    pub(crate) limit: Option<u64>,
}

/// What stays of a log when it is trimmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    /// The newest so many entries.
    Newest(u64),
    /// Entries from this id on.
    From(EntryId),
}

/// A log with its place in replication.
#[derive(Debug)]
pub(crate) struct Log {
    pub(super) name: LogName,
    blocks: Blocks,
    /// What is here now.
    position: LogPosition,
    /// What the last flush took.
    pub(super) sealed: LogPosition,
    /// What is on disk.
    pub(super) durable: LogPosition,
    /// Entries that clients see.
    len: u64,
    /// Entries ever appended here.
    added: u64,
    /// Entries up to here are physically gone.
    freed_to: EntryId,
    /// Entries above this stay physically, trimmed or not, because a peer lacks them.
    floor: EntryId,
    /// Stands in the list of logs that the next flush looks at.
    pub(super) dirty: bool,
    waiters: Vec<Arc<Notify>>,
}

impl Log {
    pub(super) fn new(name: LogName, floor: EntryId) -> Self {
        Self {
            name,
            blocks: Blocks::default(),
            position: LogPosition::default(),
            sealed: LogPosition::default(),
            durable: LogPosition::default(),
            len: 0,
            added: 0,
            freed_to: EntryId::MIN,
            floor,
            dirty: false,
            waiters: Vec::new(),
        }
    }

    pub(crate) fn position(&self) -> LogPosition {
        self.position
    }

    /// Whether clients see the log at all.
    pub(crate) fn exists(&self) -> bool {
        !self.position.is_deleted() && self.position != LogPosition::default()
    }

    /// Number of entries that clients see.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Number of entries ever appended, as far as this site knows.
    pub(crate) fn added(&self) -> u64 {
        self.added
    }

    /// Memory taken.
    pub(super) fn bytes(&self) -> usize {
        self.blocks.bytes()
    }

    /// Visible entries from `start` to `end`, oldest first.
    pub(crate) fn range(
        &self,
        start: EntryId,
        end: EntryId,
    ) -> impl Iterator<Item = (EntryId, &[u8])> {
        let visible = self.position.trimmed_to.next().unwrap_or(EntryId::MAX);
        self.blocks
            .from(start.max(visible))
            .take_while(move |(id, _)| *id <= end)
    }

    /// Visible entries from `end` down to `start`, newest first.
    pub(crate) fn range_back(
        &self,
        start: EntryId,
        end: EntryId,
    ) -> impl Iterator<Item = (EntryId, &[u8])> {
        let trimmed_to = self.position.trimmed_to;
        self.blocks
            .back_from(end)
            .take_while(move |(id, _)| *id >= start && *id > trimmed_to)
    }

    /// Appends an entry; `id` must be above the last one.
    pub(super) fn append(&mut self, id: EntryId, payload: &[u8]) {
        self.revive();
        self.blocks.push(id, payload);
        self.position.last = id;
        self.len += 1;
        self.added += 1;
        for waiter in self.waiters.drain(..) {
            waiter.notify_one();
        }
    }

    fn revive(&mut self) {
        if self.position.is_deleted() {
            self.position.revision += 1;
        }
    }

    /// Deletes the log: its entries go, its last id stays.
    pub(super) fn delete(&mut self) {
        if self.exists() {
            self.position.revision += 1;
            self.hide_to(self.position.last);
        }
    }

    /// Trims and returns how many entries went.
    pub(super) fn trim(&mut self, trim: Trim) -> u64 {
        let before = self.len;
        let limit = trim.limit.unwrap_or(u64::MAX);
        let from = self.position.trimmed_to;
        let to = match trim.keep {
            Keep::Newest(newest) if newest >= self.len => None,
            Keep::Newest(newest) => {
                self.blocks
                    .nth(from, (self.len - newest).min(limit), trim.roughly)
            }
            Keep::From(id) if trim.roughly => {
                let end = self.blocks.block_end_before(id);
                let limited = self.blocks.nth(from, limit, true);
                end.min(limited)
            }
            Keep::From(id) => id.previous(),
        };
        if let Some(to) = to {
            self.hide_to(to.min(self.position.last));
        }
        before - self.len
    }

    fn hide_to(&mut self, to: EntryId) {
        if to > self.position.trimmed_to {
            self.len -= self.blocks.count(self.position.trimmed_to, to);
            self.position.trimmed_to = to;
            self.free();
        }
    }

    /// Frees trimmed entries, but never ahead of the disk: after a crash the trim may be undone,
    /// and then the entries must still be there for peers.
    fn free(&mut self) {
        let to = self.durable.trimmed_to.min(self.floor);
        if let Some(gone) = self.blocks.free_to(to) {
            self.freed_to = gone;
        }
    }

    /// Every peer holds entries up to `id`.
    pub(super) fn set_floor(&mut self, id: EntryId) {
        self.floor = self.floor.max(id);
        self.free();
    }

    /// Whether `trim` would trim anything.
    pub(super) fn would_trim(&self, trim: Trim) -> bool {
        let visible = self.position.trimmed_to;
        match trim.keep {
            Keep::Newest(newest) => newest < self.len,
            Keep::From(id) => self
                .blocks
                .block_end_before(id)
                .is_some_and(|end| end > visible),
        }
    }

    /// The first entry of the newest blocks that have at most `bytes`.
    pub(super) fn first_within(&self, bytes: u64) -> Option<EntryId> {
        self.blocks.first_within(bytes)
    }

    /// Frees what is trimmed, whoever lacks it.
    pub(super) fn let_go(&mut self) {
        if let Some(gone) = self.blocks.free_to(self.durable.trimmed_to) {
            self.freed_to = gone;
        }
    }

    /// Memory of entries that are trimmed and still here.
    pub(super) fn held_bytes(&self) -> usize {
        self.blocks.bytes_to(self.position.trimmed_to)
    }

    /// What the flush before this took is on disk now.
    pub(super) fn set_durable(&mut self, position: LogPosition) {
        self.durable = position;
        self.free();
    }

    /// Wakes `waiter` at the next entry.
    pub(super) fn wait(&mut self, waiter: &Arc<Notify>) {
        // Those whose client left are held by no one else.
        self.waiters.retain(|known| Arc::strong_count(known) > 1);
        self.waiters.push(waiter.clone());
    }

    pub(super) fn take_waiters(&mut self) -> Vec<Arc<Notify>> {
        std::mem::take(&mut self.waiters)
    }

    pub(super) fn add_waiters(&mut self, waiters: Vec<Arc<Notify>>) {
        self.waiters.extend(waiters);
    }

    /// Whether a stretch leaves out entries between ours and its own.
    pub(super) fn has_gap_before(&self, section: &LogSection<'_>) -> bool {
        section.head.prev > self.position.last && section.head.prev > section.head.trimmed_to
    }

    /// Merges a stretch that has no gap before it; how many entries were new.
    pub(super) fn merge(&mut self, section: &LogSection<'_>) -> u64 {
        let mut new = 0;
        if section.head.prev > self.position.last {
            self.freed_to = section.head.prev;
        }
        for (id, payload) in &section.entries {
            if *id > self.position.last {
                self.append(*id, payload);
                new += 1;
            }
        }
        if section.head.revision > self.position.revision {
            self.position.revision = section.head.revision;
        }
        if section.head.trimmed_to > self.position.last {
            self.position.last = section.head.trimmed_to;
        }
        self.hide_to(section.head.trimmed_to);
        new
    }

    /// The next stretch for somebody at `have`, up to `to`, and where they then are.
    ///
    /// Entries that are trimmed but still here go along, and their trim only with the last
    /// stretch: readers at the other end see them pass.
    pub(super) fn section_after(
        &self,
        have: LogPosition,
        to: LogPosition,
        bytes_max: usize,
    ) -> Option<(Bytes, LogPosition)> {
        if have.covers(&to) {
            return None;
        }
        let gone = self.freed_to.max(have.trimmed_to);
        let start = have.last.max(gone).next()?;
        let mut builder = self.section(have.last, (gone, have.revision), bytes_max);
        for (id, payload) in self.blocks.from(start).take_while(|(id, _)| *id <= to.last) {
            if !builder.push(id, payload) {
                let last = builder.last();
                let reached = LogPosition {
                    last,
                    trimmed_to: gone,
                    revision: have.revision,
                };
                return Some((builder.finish(), reached));
            }
        }
        Some((
            self.last_section(have, to, start, bytes_max),
            to.max_of(&have),
        ))
    }

    fn section(
        &self,
        prev: EntryId,
        (trimmed_to, revision): (EntryId, u64),
        bytes_max: usize,
    ) -> SectionBuilder {
        let head = LogHead {
            log: self.name.clone(),
            prev,
            trimmed_to,
            revision,
        };
        SectionBuilder::new(&head, bytes_max)
    }

    fn last_section(
        &self,
        have: LogPosition,
        to: LogPosition,
        start: EntryId,
        bytes_max: usize,
    ) -> Bytes {
        let mut builder = self.section(have.last, (to.trimmed_to, to.revision), bytes_max);
        for (id, payload) in self.blocks.from(start).take_while(|(id, _)| *id <= to.last) {
            builder.push(id, payload);
        }
        builder.finish()
    }
}
