//! Comparing copies of a log: fingerprints along it, by which two sites see where they differ.

use super::blocks::Span;
use super::cold::{ColdError, IdRange};
use super::compare::short;
use super::counter::SiteId;
use super::digest::with_length;
use super::state::LogId;
use super::{EntryId, Grid, LogName};

/// Entries of a log behind one mark.
const ENTRIES_PER_MARK: usize = 4096;
/// Marks of a log that are told at a time.
pub const LOG_MARKS_MAX: usize = 256;

/// What a log holds up to an id, since the mark before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogMark {
    pub to: EntryId,
    pub fingerprint: u128,
}

/// What of logs is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogDepth {
    /// What is in memory.
    Memory,
    /// What is on disk too: it is read.
    Disk,
}

/// Marks along a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogMarks {
    /// The first mark begins after this id.
    pub start: EntryId,
    /// At most [`LOG_MARKS_MAX`], ids rising.
    pub marks: Vec<LogMark>,
}

impl LogMarks {
    /// Up to where they say something.
    pub fn end(&self) -> EntryId {
        self.marks.last().map_or(self.start, |mark| mark.to)
    }
}

impl Grid {
    /// Marks along what is durable of `log` after `after`; none where that is nothing. What is lost
    /// counts as if it had never been. Reads the log: not for tokio's threads.
    pub fn log_marks(&self, log: &LogName, after: EntryId, depth: LogDepth) -> Option<LogMarks> {
        let id = self.log_id(log)?;
        let start = self.comparable(id, depth).after.max(after);
        let (mut marks, mut at) = (Vec::new(), start);
        while marks.len() < LOG_MARKS_MAX {
            let to = self.comparable(id, depth).to;
            let span = Span { after: at, to };
            let Some(mark) = self.log_mark(id, span, ENTRIES_PER_MARK) else {
                break;
            };
            at = mark.to;
            marks.push(mark);
        }
        (!marks.is_empty()).then_some(LogMarks { start, marks })
    }

    /// Where `log` differs here from what a peer marked. What only one of the two has trimmed, or
    /// has already, is not compared, nor is what is on disk unless that is asked for. Reads the log:
    /// not for tokio's threads.
    pub fn compare_log(&self, log: &LogName, theirs: &LogMarks, depth: LogDepth) -> Vec<Span> {
        let Some(id) = self.log_id(log) else {
            return Vec::new();
        };
        let (mut after, mut found) = (theirs.start, Vec::<Span>::new());
        for mark in &theirs.marks {
            let span = Span { after, to: mark.to };
            after = mark.to;
            if !self.comparable(id, depth).covers(span) {
                continue;
            }
            let ours = self.log_mark(id, span, usize::MAX);
            let is_same = ours.is_some_and(|ours| ours == *mark);
            // Unless it was trimmed meanwhile.
            if is_same || !self.comparable(id, depth).covers(span) {
                continue;
            }
            match found.last_mut() {
                Some(last) if last.to == span.after => last.to = span.to,
                Some(_) | None => found.push(span),
            }
        }
        found
    }

    /// A comparison with its origin found `log` the same after `from`, or, with none, not the same.
    pub fn set_agrees(&self, log: &LogName, from: Option<EntryId>) {
        let mut state = self.lock();
        if let Some(id) = state.log_ids.get(log).copied() {
            let known = &mut state.logs[id.0].agrees_from;
            *known = from.map(|from| known.map_or(from, |known| known.min(from)));
        }
    }

    /// Whether `log` after `after` is our own, or was as its origin's at the last comparison.
    pub fn agrees(&self, log: &LogName, after: EntryId) -> bool {
        let state = self.lock();
        let own = log.site == *state.origins.site(SiteId::OWN);
        let known = state.log_ids.get(log).map(|id| state.log(*id));
        own || known.is_some_and(|log| log.agrees_from.is_some_and(|from| from <= after))
    }

    /// What of a log has come to rest.
    fn comparable(&self, id: LogId, depth: LogDepth) -> Span {
        let state = self.lock();
        let log = state.log(id);
        let cold_to = match depth {
            LogDepth::Memory => log.cold_to(),
            LogDepth::Disk => EntryId::MIN,
        };
        Span {
            after: log.position().trimmed_to.max(cold_to),
            to: log.durable.last,
        }
    }

    /// Hashes at most `count` entries of `span`; none if there are none.
    fn log_mark(&self, id: LogId, span: Span, count: usize) -> Option<LogMark> {
        let (mut item, mut taken, mut to) = (blake3::Hasher::new(), 0, span.after);
        let mut left = Some(span.after);
        while let Some(after) = left {
            let Some(start) = after.next() else { break };
            let range = IdRange {
                start,
                end: span.to,
                newest_first: false,
            };
            let read = self.read_log(id, range, |id, payload| {
                item.update(&id.ms.to_le_bytes());
                item.update(&id.seq.to_le_bytes());
                with_length(&mut item, payload);
                (taken, to) = (taken + 1, id);
                taken < count
            });
            left = match read {
                Ok(()) | Err(ColdError::Io { .. }) => None,
                // It counts as lost now.
                Err(ColdError::Damaged { .. }) => Some(after.max(to)),
                Err(ColdError::Lost { last, .. } | ColdError::Doubtful { last, .. }) => {
                    Some(last).filter(|last| *last < span.to)
                }
            };
        }
        let mark = LogMark {
            to,
            fingerprint: short(&item),
        };
        (taken > 0).then_some(mark)
    }
}
