//! Taking a stretch of a log anew: what was lost or damaged here comes back from a peer.
//!
//! A stretch becomes the *union* of what both sites hold of it. Entries are only ever written by
//! clients of the log's origin, so whoever has one that another lacks is right: an origin gets
//! back what its disk lost, a peer what it lost. Only where both hold other bytes under one id one
//! of the two is wrong: then the origin is right, or who agrees with it.
//!
//! The result goes to the disk as blocks in a file of its own, which is there whole or not at all,
//! and only then takes the old blocks' place. So at any moment a start finds the one or the other.

use std::collections::BTreeMap;
use std::io;

use bytes::Bytes;
use tokio::sync::watch;

use super::super::blocks::{Hole, Span, Stretch, Whereabouts};
use super::super::record::{Kind, Malformed, decode_log, kind_of};
use super::super::state::LogId;
use super::super::{EntryId, Grid, Log, LogName};
use super::block::section;
use super::spill::{BLOCK_BYTES_MAX, Spill};
use super::{Absent, ColdError};

/// Memory of what is taken anew at once: here, at the peer, and together.
const UNIT_BYTES_MAX: u64 = 16 << 20;
/// Entries copied under the lock at a time.
const SLICE: usize = 1024;
/// How often a trim may move on into a further block meanwhile.
const ATTEMPTS: usize = 16;

/// What a peer told of a stretch of a log: all that it holds there.
#[derive(Clone, Debug)]
pub struct Told {
    /// Records of the log, each going on where the one before ends, as [`Grid::log_after`] gives
    /// them. The first follows the stretch's beginning.
    pub records: Vec<Bytes>,
    /// Up to here it told everything.
    pub reached: EntryId,
    /// Where we contradict each other the peer is right.
    pub is_right: bool,
}

/// What came of a stretch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mended {
    /// Up to here it is done.
    pub reached: EntryId,
    /// Entries that were not here.
    pub added: u64,
    /// Entries that the two sites hold with other bytes.
    pub contradicted: u64,
    /// Those of them that are as the peer's now.
    pub replaced: u64,
}

/// Why a stretch stays as it was.
#[derive(Debug, thiserror::Error)]
pub enum MendError {
    #[error("the peer told something else than was asked for: {0}")]
    Malformed(&'static str),
    #[error("the peer holds other entries there than were lost here")]
    OtherEntries,
    #[error("a grid without a disk has nowhere to put them")]
    NoDisk,
    #[error("the disk for logs is full: grid.logs_disk_bytes_max")]
    Full,
    #[error("entries of the stretch came or went meanwhile")]
    Moved,
    #[error("it cannot be read or written: {0}")]
    Io(String),
}

impl From<Malformed> for MendError {
    fn from(error: Malformed) -> Self {
        Self::Malformed(error.0)
    }
}

impl From<io::Error> for MendError {
    fn from(error: io::Error) -> Self {
        Self::Io(error.to_string())
    }
}

impl From<ColdError> for MendError {
    fn from(error: ColdError) -> Self {
        Self::Io(error.to_string())
    }
}

/// What stands in a stretch, ids rising.
type Entries = BTreeMap<EntryId, Vec<u8>>;

impl Grid {
    /// What is lost of all logs: between which ids, oldest first.
    pub fn holes(&self) -> Vec<(LogName, Span)> {
        self.holes_where(|_, hole| !hole.is_doubtful)
    }

    pub(in crate::grid) fn holes_where(
        &self,
        is_wanted: impl Fn(&Log, &Hole) -> bool,
    ) -> Vec<(LogName, Span)> {
        let state = self.lock();
        let torn = state.logs.iter().filter(|log| log.lost() > 0);
        let holes = torn.flat_map(|log| {
            let holes = log.holes().filter(|hole| is_wanted(log, hole));
            let spans = holes.map(|hole| Span {
                after: log.last_to(hole.first.previous().unwrap_or_default()),
                to: hole.last,
            });
            spans.map(|span| (log.name.clone(), span))
        });
        holes.collect()
    }

    /// Moves whenever something is found to be lost of a log.
    pub fn subscribe_holes(&self) -> watch::Receiver<u64> {
        self.holes_found.subscribe()
    }

    /// Moves whenever something that was lost of a log is here again.
    pub fn subscribe_mended(&self) -> watch::Receiver<u64> {
        self.mended.subscribe()
    }

    /// What of `span` can be taken anew at once, from its beginning on, with what stands in one
    /// block with it; none if there is nothing durable of it here, or it is trimmed.
    pub fn mendable(&self, log: &LogName, span: Span) -> Option<Span> {
        let state = self.lock();
        let log = state.log(*state.log_ids.get(log)?);
        let unit = log.unit(span, UNIT_BYTES_MAX)?;
        (unit.to > log.position().trimmed_to).then_some(unit)
    }

    /// Makes `span` of `log`, as [`Grid::mendable`] gave it, the union of what is here and what a
    /// peer `told`; up to where it told everything. Nothing changes if that fails.
    ///
    /// Takes up to some 100 MiB and waits for the disk: not for tokio's threads.
    pub fn mend(&self, log: &LogName, span: Span, told: &Told) -> Result<Mended, MendError> {
        let theirs = read_told(log, span, told)?;
        let mut spill = self.cold.lock();
        let spill = spill.as_mut().ok_or(MendError::NoDisk)?;
        let cap = self
            .config
            .cold
            .map_or(u64::MAX, |cold| cold.disk_bytes_max);
        if spill.store().bytes() >= cap {
            return Err(MendError::Full);
        }
        self.flush()
            .map_err(|error| MendError::Io(error.to_string()))?;
        let id = self.log_id(log).ok_or(MendError::Moved)?;
        // Nothing of it is freed until this is over.
        let first = span.after.next();
        self.lock().rehouse_log(id, |log| log.pin(first));
        let mended = self.mend_pinned(spill, id, span, (&theirs, told));
        self.lock().rehouse_log(id, |log| log.pin(None));
        self.publish_cold(spill);
        mended
    }

    fn mend_pinned(
        &self,
        spill: &mut Spill,
        id: LogId,
        span: Span,
        (theirs, told): (&Theirs, &Told),
    ) -> Result<Mended, MendError> {
        let mut entries = self.entries_of(id, span)?;
        let Some((span, holes)) = self.settled(id, span, told.reached) else {
            return Ok(Mended {
                reached: span.after,
                ..Mended::default()
            });
        };
        entries.retain(|id, _| span.has(*id));
        holes.iter().try_for_each(|hole| theirs.fits(*hole, span))?;
        let mut mended = Mended {
            reached: span.to,
            ..Mended::default()
        };
        let changed = unite(&mut entries, theirs, (span, told.is_right), &mut mended);
        if changed {
            self.spill_to(spill, id, span.after)?;
            self.take(spill, id, span, (&entries, &holes, mended.added))?;
            self.mended.send_modify(|times| *times += 1);
        }
        let mut state = self.lock();
        state.tally.mended_entries += mended.added;
        state.tally.conflicts += mended.contradicted;
        Ok(mended)
    }

    /// All that is here of `span`, trimmed or not.
    fn entries_of(&self, id: LogId, span: Span) -> Result<Entries, ColdError> {
        let mut entries = Entries::new();
        let mut left = Some(span.after);
        while let Some(after) = left {
            let Some(start) = after.next() else { break };
            let (mut reached, mut absent) = (None, None);
            {
                let state = self.lock();
                for entry in state.log(id).all_from(start).take(SLICE) {
                    match entry {
                        Ok((id, payload)) if span.has(id) => {
                            entries.insert(id, payload.to_vec());
                            reached = Some(id);
                        }
                        Err(found) if found.first <= span.to => {
                            absent = Some(found);
                            break;
                        }
                        Ok(_) | Err(_) => {
                            reached = None;
                            break;
                        }
                    }
                }
            }
            left = match absent {
                Some(absent) => Some(self.add_absent(id, span, &absent, &mut entries)?),
                None => reached,
            };
        }
        Ok(entries)
    }

    /// Adds what a block on disk has of `span`; the block's last id.
    fn add_absent(
        &self,
        id: LogId,
        span: Span,
        absent: &Absent,
        entries: &mut Entries,
    ) -> Result<EntryId, ColdError> {
        match self.load(id, absent) {
            Ok(loaded) => {
                let here = loaded.entries().into_iter();
                let here = here.filter(|(id, _)| span.has(*id));
                entries.extend(here.map(|(id, payload)| (id, payload.to_vec())));
            }
            Err(
                ColdError::Damaged { .. } | ColdError::Lost { .. } | ColdError::Doubtful { .. },
            ) => {}
            Err(error @ ColdError::Io { .. }) => return Err(error),
        }
        Ok(absent.last)
    }

    /// What of `span` is to be taken now that the peer told everything up to `reached`, and what is
    /// lost of it; none if that is nothing.
    fn settled(&self, id: LogId, span: Span, reached: EntryId) -> Option<(Span, Vec<Hole>)> {
        let state = self.lock();
        let log = state.log(id);
        let to = match reached < span.to {
            true => log.boundary_before(reached),
            false => span.to,
        };
        let span = Span { to, ..span };
        let is_left = span.after < to && to > log.position().trimmed_to;
        is_left.then(|| (span, log.holes_in(span)))
    }

    /// Moves what is in memory of the log up to `to` to the disk: what comes after it goes there.
    fn spill_to(&self, spill: &mut Spill, id: LogId, to: EntryId) -> Result<(), MendError> {
        loop {
            let mut state = self.lock();
            state.rehouse_log(id, |log| log.part(to));
            let span = Span { to, ..Span::ALL };
            let Some(stretch) = state.log(id).stretch(span, BLOCK_BYTES_MAX) else {
                return Ok(());
            };
            state.rehouse_log(id, |log| log.pin(Some(stretch.first)));
            drop(state);
            self.spill_one(spill, id, stretch)?;
        }
    }

    /// Writes the result to the disk, and puts it in the place of what was here.
    fn take(
        &self,
        spill: &mut Spill,
        id: LogId,
        span: Span,
        (entries, holes, more): (&Entries, &[Hole], u64),
    ) -> Result<(), MendError> {
        let (name, prev) = {
            let state = self.lock();
            let log = state.log(id);
            (log.name.clone(), log.last_to(span.after))
        };
        let blocks = cut(&name, prev, entries);
        let colds = spill.store().write_apart(&name, &blocks)?;
        let stretches = blocks.iter().map(|(stretch, _)| *stretch);
        let colds = colds.into_iter().map(Whereabouts::OnDisk);
        let mut new: Vec<(Stretch, Whereabouts)> = stretches.zip(colds).collect();
        let last = entries.keys().next_back().copied().unwrap_or(prev);
        // What is lost at its end stays so if the peer has not got it either.
        let at_end = holes.last().filter(|hole| hole.last >= span.to);
        if let (Some(hole), Some(first), true) = (at_end, last.next(), last < span.to) {
            new.push((lost(last, first, span.to), hole.whereabouts()));
        }
        let ids: Vec<_> = entries.keys().copied().collect();
        for _ in 0..ATTEMPTS {
            let swapped = {
                let mut state = self.lock();
                state.with_log(id, |log| log.swap(span, new.clone(), (&ids, more)))
            };
            match swapped {
                Ok(true) => return Ok(()),
                Ok(false) => break,
                Err(absent) => self.thaw(id, &absent)?,
            }
        }
        Err(MendError::Moved)
    }
}

fn lost(prev: EntryId, first: EntryId, last: EntryId) -> Stretch {
    Stretch {
        prev,
        first,
        last,
        count: 0,
        bytes_hot: 0,
    }
}

/// What a peer told, read and checked.
struct Theirs {
    entries: Entries,
    trimmed_to: EntryId,
}

impl Theirs {
    /// Whether it has what was lost there, as far as that is known.
    fn fits(&self, hole: Hole, span: Span) -> Result<(), MendError> {
        let is_known = hole.count > 0 && self.trimmed_to < hole.first;
        if !is_known || hole.last > span.to {
            return Ok(());
        }
        let there = self.entries.range(hole.first..=hole.last).count() as u64;
        let has_ends = [hole.first, hole.last]
            .iter()
            .all(|id| self.entries.contains_key(id));
        match has_ends && there == hole.count {
            true => Ok(()),
            false => Err(MendError::OtherEntries),
        }
    }
}

/// Reads what a peer told, whatever its bytes are.
fn read_told(log: &LogName, span: Span, told: &Told) -> Result<Theirs, MendError> {
    let mut theirs = Theirs {
        entries: Entries::new(),
        trimmed_to: EntryId::MIN,
    };
    let mut at = span.after;
    for record in &told.records {
        let (Kind::Log, body) = kind_of(record)? else {
            return Err(MendError::Malformed("no record of a log"));
        };
        let section = decode_log(body)?;
        if section.head.log != *log || section.head.prev != at {
            return Err(MendError::Malformed("another stretch"));
        }
        theirs.trimmed_to = theirs.trimmed_to.max(section.head.trimmed_to);
        at = section.entries.last().map_or(at, |(id, _)| *id);
        let entries = section.entries.into_iter().filter(|(id, _)| span.has(*id));
        theirs
            .entries
            .extend(entries.map(|(id, payload)| (id, payload.to_vec())));
    }
    Ok(theirs)
}

/// Adds what the peer has of `span` and we have not; whether anything of `entries` changed.
fn unite(
    entries: &mut Entries,
    theirs: &Theirs,
    (span, is_right): (Span, bool),
    mended: &mut Mended,
) -> bool {
    let mut changed = false;
    for (id, payload) in theirs.entries.iter().filter(|(id, _)| span.has(**id)) {
        match entries.get_mut(id) {
            Some(ours) if ours == payload => {}
            Some(ours) => {
                mended.contradicted += 1;
                if is_right {
                    ours.clone_from(payload);
                    mended.replaced += 1;
                    changed = true;
                }
            }
            None => {
                entries.insert(*id, payload.clone());
                mended.added += 1;
                changed = true;
            }
        }
    }
    changed
}

/// Cuts entries into blocks, of which the first follows `prev`.
fn cut(log: &LogName, mut prev: EntryId, entries: &Entries) -> Vec<(Stretch, Bytes)> {
    let mut blocks = Vec::new();
    let mut left = entries.iter().peekable();
    while let Some((first, _)) = left.peek().copied() {
        let (mut builder, mut count) = (section(log, prev), 0);
        let fits =
            |taken: usize, payload: &[u8]| taken == 0 || taken + payload.len() <= BLOCK_BYTES_MAX;
        while let Some((id, payload)) = left.next_if(|(_, payload)| fits(builder.len(), payload)) {
            builder.add(*id, payload);
            count += 1;
        }
        let stretch = Stretch {
            prev,
            first: *first,
            last: builder.last(),
            count,
            bytes_hot: builder.len() as u32,
        };
        prev = stretch.last;
        blocks.push((stretch, builder.finish()));
    }
    blocks
}
