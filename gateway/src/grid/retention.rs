//! How much of a log stays: by age, bytes and number of entries.
//!
//! What goes is *trimmed*, as by `XTRIM`: clients see it no more, at any site. Its memory is free,
//! here, when every peer has it too, unless the site is told to let go of it before that.

use std::collections::VecDeque;
use std::time::Duration;

use super::counter::SiteId;
use super::log::{Keep, Trim};
use super::state::LogId;
use super::{EntryId, Grid};

/// What stays of a log. Whole blocks of entries go, so a little more may stay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogLimits {
    /// Entries younger than this, by their ids and the machine's clock; those whose ids are ahead of
    /// it, by when they were first seen to be there.
    pub age: Option<Duration>,
    /// The newest so many bytes, as they are in memory.
    pub bytes: Option<u64>,
    /// The newest so many entries.
    pub entries: Option<u64>,
}

/// Notes for each age; entries stay by a part of it too long.
const NOTES_PER_AGE: u64 = 16;

/// When a log's last entry was which, while its ids are ahead of the clock: as they are after the
/// clock was put back, and they never go back.
#[derive(Debug, Default)]
pub(super) struct Ahead(VecDeque<(u64, EntryId)>);

impl Ahead {
    /// Notes that `last` is the last entry at `now_ms`: up to which entry all are older than
    /// `age_ms`, as far as has been noted.
    fn note(&mut self, last: EntryId, now_ms: u64, age_ms: u64) -> Option<EntryId> {
        if last.ms <= now_ms {
            self.0.clear();
            return None;
        }
        // Those were noted by a clock that was put back again.
        self.0.retain(|(noted_ms, _)| *noted_ms <= now_ms);
        let since_ms = self.0.back().map(|(noted_ms, _)| now_ms - noted_ms);
        if since_ms.is_none_or(|since_ms| since_ms >= age_ms.div_ceil(NOTES_PER_AGE)) {
            self.0.push_back((now_ms, last));
        }
        let is_old = |(noted_ms, _): &(u64, EntryId)| now_ms - noted_ms >= age_ms;
        let old = self.0.partition_point(is_old);
        // The last of them is kept: a block is trimmed when it is old as a whole.
        self.0.drain(..old.saturating_sub(1));
        self.0
            .front()
            .filter(|note| is_old(note))
            .map(|(_, id)| *id)
    }
}

impl Grid {
    /// Trims each of our own logs to what `limits_of` its name allows; how many entries went.
    pub fn retain_logs(&self, limits_of: impl Fn(&[u8]) -> Option<LogLimits>, now_ms: u64) -> u64 {
        let mut gone = 0;
        for id in self.own_logs() {
            let mut state = self.lock();
            // Nothing is trimmed that could not be made durable.
            if state.refused.is_some() {
                return gone;
            }
            let log = &mut state.logs[id.0];
            if let Some(limits) = limits_of(&log.name.name) {
                let keeps = log.keeps(limits, now_ms);
                for keep in keeps.into_iter().flatten() {
                    let trim = Trim {
                        keep,
                        roughly: true,
                        limit: None,
                    };
                    if state.logs[id.0].would_trim(trim) {
                        // Whole blocks go, so none has to be looked into.
                        gone += state.with_log(id, |log| log.trim(trim)).unwrap_or(0);
                    }
                }
            }
        }
        gone
    }

    /// Frees trimmed entries that are kept only for peers which lack them; how many bytes went.
    pub fn shed_held(&self) -> u64 {
        let mut shed = 0;
        for id in self.own_logs() {
            let mut state = self.lock();
            let before = state.logs[id.0].bytes();
            state.rehouse_log(id, super::Log::let_go);
            let after = state.logs[id.0].bytes();
            state.tally.shed_bytes += (before - after) as u64;
            shed += (before - after) as u64;
        }
        shed
    }

    fn own_logs(&self) -> Vec<LogId> {
        let state = self.lock();
        let own = state.origins.site(SiteId::OWN);
        let logs = state.logs.iter().enumerate();
        let own = logs.filter(|(_, log)| log.name.site == *own);
        own.map(|(id, _)| LogId(id)).collect()
    }
}

impl super::Log {
    fn keeps(&mut self, limits: LogLimits, now_ms: u64) -> [Option<Keep>; 3] {
        let last = self.position().last;
        let oldest = limits.age.map(|age| {
            let age_ms = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
            let ms = now_ms.saturating_sub(age_ms);
            let old = self.ahead.note(last, now_ms, age_ms);
            match old.map(EntryId::next) {
                // All are old, up to the last id that there can be.
                Some(None) => Keep::Newest(0),
                old => Keep::From(
                    old.flatten()
                        .unwrap_or_default()
                        .max(EntryId { ms, seq: 0 }),
                ),
            }
        });
        let newest = limits.entries.map(Keep::Newest);
        let beyond = limits.bytes.and_then(|bytes| self.first_within(bytes));
        [oldest, newest, beyond.map(Keep::From)]
    }
}
