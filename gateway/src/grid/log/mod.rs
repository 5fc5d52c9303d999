//! One log: entries with rising ids, appended only by its origin.

mod disk;

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::Notify;

use super::blocks::{Blocks, Entry};
use super::cold::{Absent, IdRange, Loaded};
use super::record::{LogHead, LogSection, SectionBuilder};
use super::retention::Ahead;
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
    /// From here on it was as its origin's when the two were last compared; none: it differed, or
    /// was not compared yet.
    pub(super) agrees_from: Option<EntryId>,
    /// No entry gets an id before this one: see [`State::resume_ids`](super::State::resume_ids).
    pub(super) ids_from: EntryId,
    /// Where the last stretch begins that peers could not be sent, and that was named for it.
    held_up_at: Option<EntryId>,
    /// For retention by age.
    pub(super) ahead: Ahead,
    /// Stands in the list of logs that the next flush looks at.
    pub(super) dirty: bool,
    waiters: Vec<Arc<Notify>>,
}

impl Log {
    /// Memory of the room that a list of blocks has beyond the first from the start.
    pub(super) const SPARE_BYTES: usize = Blocks::SPARE_BYTES;

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
            agrees_from: None,
            ids_from: EntryId::MIN,
            held_up_at: None,
            ahead: Ahead::default(),
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

    /// Visible entries from `start` to `end`, oldest first; where some are on disk, the block
    /// that has them.
    pub(crate) fn range(&self, start: EntryId, end: EntryId) -> impl Iterator<Item = Entry<'_>> {
        // No id comes after the last possible one: where that is trimmed nothing is visible.
        let visible = self.position.trimmed_to.next();
        let entries = visible.map(|visible| self.blocks.from(start.max(visible)));
        let entries = entries.into_iter().flatten();
        entries.take_while(move |entry| first_of(entry) <= end)
    }

    /// Visible entries from `end` down to `start`, newest first; likewise.
    pub(crate) fn range_back(
        &self,
        start: EntryId,
        end: EntryId,
    ) -> impl Iterator<Item = Entry<'_>> {
        let trimmed_to = self.position.trimmed_to;
        let entries = self.blocks.back_from(end);
        entries.take_while(move |entry| last_of(entry) >= start && last_of(entry) > trimmed_to)
    }

    /// One or the other.
    pub(crate) fn read(&self, range: IdRange) -> Box<dyn Iterator<Item = Entry<'_>> + '_> {
        match range.newest_first {
            false => Box::new(self.range(range.start, range.end)),
            true => Box::new(self.range_back(range.start, range.end)),
        }
    }

    /// Entries in memory from `start` to `end`, trimmed or not, as if what is lost or in doubt were nothing.
    pub(super) fn physical(
        &self,
        start: EntryId,
        end: EntryId,
    ) -> impl Iterator<Item = (EntryId, &[u8])> {
        let entries = self.blocks.from(start);
        let is_nowhere = |absent: &Absent| absent.is_doubtful() || absent.is_lost();
        let entries = entries.filter(move |entry| !entry.as_ref().is_err_and(is_nowhere));
        entries
            .map_while(Result::ok)
            .take_while(move |(id, _)| *id <= end)
    }

    /// All entries from `start` on, trimmed or not; where some are on disk, the block that has them.
    pub(super) fn all_from(&self, start: EntryId) -> impl Iterator<Item = Entry<'_>> {
        self.blocks.from(start)
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
            self.len = 0;
            self.position.trimmed_to = self.position.last;
            self.free();
        }
    }

    /// Trims and returns how many entries went. If that ends within a block on disk, nothing is
    /// done but to say so: it is to be thawed first.
    pub(super) fn trim(&mut self, trim: Trim) -> Result<u64, Absent> {
        let before = self.len;
        if let Some(to) = self.trim_to(trim, 0)? {
            self.hide_to(to.min(self.position.last))?;
        }
        Ok(before - self.len)
    }

    /// Whether `trim` can be done when `more` entries have been added.
    pub(super) fn check_trim(&self, trim: Trim, more: u64) -> Result<(), Absent> {
        if self.blocks.cold() > 0
            && let Some(to) = self.trim_to(trim, more)?
        {
            self.blocks.count(self.position.trimmed_to, to)?;
        }
        Ok(())
    }

    /// Up to where `trim` trims the log when it has `more` entries.
    fn trim_to(&self, trim: Trim, more: u64) -> Result<Option<EntryId>, Absent> {
        let limit = trim.limit.unwrap_or(u64::MAX);
        let (from, len) = (self.position.trimmed_to, self.len + more);
        Ok(match trim.keep {
            Keep::Newest(newest) if newest >= len => None,
            Keep::Newest(newest) => {
                self.blocks
                    .nth(from, (len - newest).min(limit), trim.roughly)?
            }
            Keep::From(id) if trim.roughly => {
                let end = self.blocks.block_end_before(id);
                let limited = self.blocks.nth(from, limit, true)?;
                end.min(limited)
            }
            Keep::From(id) => id.previous(),
        })
    }

    fn hide_to(&mut self, to: EntryId) -> Result<(), Absent> {
        if to > self.position.trimmed_to {
            self.len -= self.blocks.count(self.position.trimmed_to, to)?;
            self.position.trimmed_to = to;
            self.free();
        }
        Ok(())
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

    /// Whether entries that are trimmed stay until peers have them.
    pub(super) fn keeps_trimmed(&self) -> bool {
        self.floor < self.position.trimmed_to
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

    /// Merges a stretch that has no gap before it; how many entries were new. If its trim ends
    /// within a block on disk, nothing is done but to say so: it is to be thawed first.
    pub(super) fn merge(&mut self, section: &LogSection<'_>) -> Result<u64, Absent> {
        let mut new = 0;
        if section.head.trimmed_to > self.position.trimmed_to {
            self.blocks
                .count(self.position.trimmed_to, section.head.trimmed_to)?;
        }
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
        self.hide_to(section.head.trimmed_to)?;
        Ok(new)
    }

    /// The trim of what somebody at `have` holds, without entries, and where they then are.
    pub(super) fn trim_section(&self, have: LogPosition) -> Option<(Bytes, LogPosition)> {
        let trimmed_to = self.durable.trimmed_to.min(have.last);
        (trimmed_to > have.trimmed_to).then(|| {
            let section = self.section(have.last, (trimmed_to, have.revision), 0);
            let reached = LogPosition { trimmed_to, ..have };
            (section.finish(), reached)
        })
    }

    /// Peers cannot be sent what begins with `first`; whether that is to be named: once is enough.
    pub(super) fn name_held_up(&mut self, first: EntryId) -> bool {
        self.held_up_at.replace(first) != Some(first)
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
    ) -> Result<Option<(Bytes, LogPosition)>, Absent> {
        let Some((mut builder, start)) = self.begin_section(have, to, bytes_max) else {
            return Ok(None);
        };
        let entries = start.map(|start| self.blocks.from(start));
        let entries = entries.into_iter().flatten();
        for entry in entries.take_while(|entry| first_of(entry) <= to.last) {
            let pushed = match entry {
                Ok((id, payload)) => builder.push(id, payload),
                // To a peer nothing is missing there until that is known.
                Err(absent) if absent.is_doubtful() => true,
                // Nobody needs what is lost and trimmed.
                Err(absent) if absent.is_lost() && absent.last <= to.trimmed_to => true,
                Err(absent) if builder.len() == 0 => return Err(absent),
                Err(_) => false,
            };
            if !pushed {
                return Ok(Some(self.end_section(builder, have)));
            }
        }
        Ok(Some((
            self.last_section(have, to, start, bytes_max),
            to.max_of(&have),
        )))
    }

    /// Likewise, of a block that was read from the disk.
    pub(super) fn section_of(
        &self,
        loaded: &Loaded,
        have: LogPosition,
        to: LogPosition,
        bytes_max: usize,
    ) -> Option<(Bytes, LogPosition)> {
        let (mut builder, start) = self.begin_section(have, to, bytes_max)?;
        for (id, payload) in loaded.entries() {
            if start.is_some_and(|start| id >= start) && !builder.push(id, payload) {
                break;
            }
        }
        (builder.len() > 0).then(|| self.end_section(builder, have))
    }

    /// A stretch that does not bring somebody at `have` to `to`, and its first possible id: none for
    /// somebody who holds the last id that there can be, and may lack a trim or a deletion.
    fn begin_section(
        &self,
        have: LogPosition,
        to: LogPosition,
        bytes_max: usize,
    ) -> Option<(SectionBuilder, Option<EntryId>)> {
        if have.covers(&to) {
            return None;
        }
        let gone = self.freed_to.max(have.trimmed_to);
        let start = have.last.max(gone).next();
        let builder = self.section(have.last, (gone, have.revision), bytes_max);
        Some((builder, start))
    }

    fn end_section(&self, builder: SectionBuilder, have: LogPosition) -> (Bytes, LogPosition) {
        let reached = LogPosition {
            last: builder.last(),
            trimmed_to: self.freed_to.max(have.trimmed_to),
            revision: have.revision,
        };
        (builder.finish(), reached)
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
        start: Option<EntryId>,
        bytes_max: usize,
    ) -> Bytes {
        let mut builder = self.section(have.last, (to.trimmed_to, to.revision), bytes_max);
        if let Some(start) = start {
            for (id, payload) in self.physical(start, to.last) {
                builder.push(id, payload);
            }
        }
        builder.finish()
    }
}

/// The least id that an entry may have.
fn first_of(entry: &Entry<'_>) -> EntryId {
    match entry {
        Ok((id, _)) => *id,
        Err(absent) => absent.first,
    }
}

/// The greatest.
fn last_of(entry: &Entry<'_>) -> EntryId {
    match entry {
        Ok((id, _)) => *id,
        Err(absent) => absent.last,
    }
}
