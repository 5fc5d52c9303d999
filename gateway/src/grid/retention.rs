//! How much of a log stays: by age, bytes and number of entries.
//!
//! What goes is *trimmed*, as by `XTRIM`: clients see it no more, at any site. Its memory is free,
//! here, when every peer has it too, unless the site is told to let go of it before that.

use std::time::Duration;

use super::counter::SiteId;
use super::log::{Keep, Trim};
use super::state::LogId;
use super::{EntryId, Grid};

/// What stays of a log. Whole blocks of entries go, so a little more may stay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogLimits {
    /// Entries younger than this, by their ids and the machine's clock.
    pub age: Option<Duration>,
    /// The newest so many bytes, as they are in memory.
    pub bytes: Option<u64>,
    /// The newest so many entries.
    pub entries: Option<u64>,
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
            let log = &state.logs[id.0];
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
    fn keeps(&self, limits: LogLimits, now_ms: u64) -> [Option<Keep>; 3] {
        let oldest = limits.age.map(|age| {
            let age_ms = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
            let ms = now_ms.saturating_sub(age_ms);
            Keep::From(EntryId { ms, seq: 0 })
        });
        let newest = limits.entries.map(Keep::Newest);
        let beyond = limits.bytes.and_then(|bytes| self.first_within(bytes));
        [oldest, newest, beyond.map(Keep::From)]
    }
}
