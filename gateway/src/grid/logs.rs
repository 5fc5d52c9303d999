//! What clients do to logs, and a look at all of them.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::clock::AHEAD_MAX_MS;
use super::cold::Absent;
use super::counter::SiteId;
use super::log::{Log, Trim};
use super::recent::Feed;
use super::state::{Kind, LogId, OpError, State};
use super::{EntryId, Grid, LogName};

/// Longest entry, its fields and values together with their lengths.
pub(crate) const ENTRY_BYTES_MAX: usize = 768 << 10;

/// Logs that are looked at under the lock at a time.
pub(super) const LOGS_SLICE: usize = 1024;

/// Sequences that the first id after a start is chosen from where the clock is behind the last one:
/// far more than there can be entries in a window of loss.
const SEQ_BY_CHANCE_END: u64 = 1 << 48;

/// The id that `XADD` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NewId {
    /// `*`
    Auto,
    /// `<ms>-*`
    AutoSeq(u64),
    /// `<ms>-<seq>`
    Explicit(EntryId),
}

impl Grid {
    /// Looks at every log; the lock is given back now and then, so clients' commands run in between.
    pub(super) fn each_log(&self, mut look: impl FnMut(LogId, &Log)) {
        let mut from = 0;
        loop {
            let state = self.lock();
            let slice = state.logs.iter().enumerate().skip(from).take(LOGS_SLICE);
            for (place, log) in slice {
                look(LogId(place), log);
            }
            from += LOGS_SLICE;
            if from >= state.logs.len() {
                return;
            }
        }
    }
}

impl State {
    /// The log behind `key`; none when there is nothing.
    pub(crate) fn find_log(&self, key: &[u8]) -> Result<Option<LogId>, OpError> {
        match self.kind(key) {
            None => Ok(None),
            Some(Kind::Log(id)) => Ok(Some(id)),
            Some(Kind::Counter | Kind::Hash) => Err(OpError::WrongType),
        }
    }

    /// `XADD`: the new entry's id; none when the log is not there and is not to be made.
    pub(crate) fn append(
        &mut self,
        key: &[u8],
        id: NewId,
        payload: &[u8],
        (create, trim): (bool, Option<Trim>),
        now_ms: u64,
    ) -> Result<Option<EntryId>, OpError> {
        self.check_writable(Feed::Logs)?;
        self.expire_if_due(key);
        if payload.len() > ENTRY_BYTES_MAX {
            return Err(OpError::EntryTooLong);
        }
        let log = self.find_log(key)?;
        if log.is_none() && !create {
            return Ok(None);
        }
        let log = match log {
            Some(log) => log,
            None => self.create_log(key)?,
        };
        self.check_own_log(log)?;
        let (last, ids_from) = {
            let log = &self.logs[log.0];
            (log.position().last, log.ids_from.max(self.ids_from))
        };
        let id = next_id((last, ids_from), id, now_ms)?;
        if let Some(trim) = trim {
            let checked = self.logs[log.0].check_trim(trim, 1);
            checked.map_err(|absent| self.want(log, absent))?;
        }
        self.doubt_before(log, id);
        self.with_log(log, |log| {
            log.append(id, payload);
            // What it would have to look into is in memory: that was checked.
            trim.map(|trim| log.trim(trim));
        });
        self.tally.writes[Feed::Logs as usize] += 1;
        Ok(Some(id))
    }

    /// After a start: no entry gets an id that another one had whose confirmation the disk lost with
    /// what was written within `lost` before the end.
    ///
    /// Such an id is at most so much later than the log's last one that is left. As long as the clock
    /// is ahead of the last id, ids come from the clock: then a start later than all of them is enough.
    /// Where the clock is behind the last id, because it ran ahead and was set right, they would come
    /// again, by sequence or by the clock, unless they begin after that time; and at a sequence by
    /// chance, as this start's ids may be lost as well and the next one begin here too. Other logs, and
    /// new ones, had ids from the same clock; but an id that is further ahead was named by a client.
    pub(super) fn resume_ids(&mut self, now_ms: u64, lost: Duration) {
        let lost_ms = u64::try_from(lost.as_millis()).unwrap_or(u64::MAX);
        let seq = rand::random_range(0..SEQ_BY_CHANCE_END);
        let after = |last_ms: u64| id_after(last_ms.saturating_add(lost_ms), seq);
        let own = self.origins.site(SiteId::OWN);
        for log in self.logs.iter_mut().filter(|log| log.name.site == *own) {
            let last_ms = log.position().last.ms;
            if last_ms >= now_ms {
                log.ids_from = after(last_ms);
            }
            if (now_ms..now_ms.saturating_add(AHEAD_MAX_MS)).contains(&last_ms) {
                self.ids_from = self.ids_from.max(after(last_ms));
            }
        }
    }

    /// A peer told of entries of our own log that are not here: this site lost its directory. Entries that
    /// no peer has may have followed them; no other entry gets the id of one of those. Where the clock is
    /// behind the last id, it was then, and their ids went on from it by sequence.
    pub(super) fn resume_log(&mut self, log: &LogName) {
        let seq = rand::random_range(0..SEQ_BY_CHANCE_END);
        if let Some(id) = self.log_ids.get(log) {
            let log = &mut self.logs[id.0];
            log.ids_from = id_after(log.position().last.ms, seq);
        }
    }

    /// The command is to run again when a block of `log` is in memory.
    fn want(&mut self, log: LogId, absent: Absent) -> OpError {
        self.wanted = Some((log, absent));
        OpError::OnDisk
    }

    /// `XTRIM`: how many entries went.
    pub(crate) fn trim(&mut self, key: &[u8], trim: Trim) -> Result<u64, OpError> {
        let Some(log) = self.find_log(key)? else {
            return Ok(0);
        };
        self.check_not_refused()?;
        self.check_own_log(log)?;
        let trimmed = self.with_log(log, |log| log.trim(trim));
        let trimmed = trimmed.map_err(|absent| self.want(log, absent))?;
        self.tally.writes[Feed::Logs as usize] += 1;
        Ok(trimmed)
    }

    /// Whether there is a log behind `key` that has entries on disk alone.
    pub(crate) fn has_cold_entries(&self, key: &[u8]) -> bool {
        let log = self.find_log(key).ok().flatten();
        log.is_some_and(|log| self.log(log).cold() > 0)
    }

    /// The block on disk that `trim` would have to look into, when the log behind `key` has `more`
    /// entries.
    pub(crate) fn trim_needs(&self, key: &[u8], trim: Trim, more: u64) -> Option<(LogId, Absent)> {
        let log = self.find_log(key).ok()??;
        let checked = self.logs[log.0].check_trim(trim, more);
        checked.err().map(|absent| (log, absent))
    }

    /// Wakes `waiter` when the log behind `key` gets an entry, also if it does not exist yet.
    pub(crate) fn wait_for_entry(
        &mut self,
        key: &[u8],
        waiter: &Arc<Notify>,
    ) -> Result<(), OpError> {
        let log = match self.find_log(key)? {
            Some(log) => log,
            None => match self.create_log(key) {
                Ok(log) => log,
                // Another site's log that has not arrived: it will wake those who wait for it.
                Err(OpError::OthersName(_)) => return self.wait_for_other(key, waiter),
                Err(error) => return Err(error),
            },
        };
        self.logs[log.0].wait(waiter);
        Ok(())
    }

    fn wait_for_other(&mut self, key: &[u8], waiter: &Arc<Notify>) -> Result<(), OpError> {
        let Some((site, name)) = self.split_shown(key) else {
            return Ok(());
        };
        let name = LogName {
            site: self.origins.site(site).clone(),
            name: name.into(),
        };
        let log = self.find_or_create_log(&name).ok_or(OpError::NameTooLong)?;
        self.logs[log.0].wait(waiter);
        Ok(())
    }

    /// An own log under `key`, which shows no kind now.
    fn create_log(&mut self, key: &[u8]) -> Result<LogId, OpError> {
        let site = self.origins.site(SiteId::OWN).clone();
        let name = LogName {
            site,
            name: key.into(),
        };
        if !self.log_ids.contains_key(&name)
            && let Some((site, _)) = self.split_shown(key)
        {
            return Err(OpError::OthersName(self.origins.site(site).to_string()));
        }
        self.find_or_create_log(&name).ok_or(OpError::NameTooLong)
    }

    /// Takes `<site>.<name>` apart if the site is known and not ours.
    fn split_shown<'a>(&self, key: &'a [u8]) -> Option<(SiteId, &'a [u8])> {
        let dot = key.iter().position(|byte| *byte == b'.')?;
        let site = self.origins.find_site(&key[..dot])?;
        (site != SiteId::OWN).then_some((site, &key[dot + 1..]))
    }

    pub(super) fn check_own_log(&self, id: LogId) -> Result<(), OpError> {
        let site = &self.logs[id.0].name.site;
        if site == self.origins.site(SiteId::OWN) {
            Ok(())
        } else {
            Err(OpError::OthersLog(site.to_string()))
        }
    }
}

/// The id in the millisecond after this one.
fn id_after(ms: u64, seq: u64) -> EntryId {
    let ms = ms.saturating_add(1);
    EntryId { ms, seq }
}

/// The id of the entry after `last`; one that is not named by the client is at least `ids_from`.
fn next_id(
    (last, ids_from): (EntryId, EntryId),
    wanted: NewId,
    now_ms: u64,
) -> Result<EntryId, OpError> {
    if last == EntryId::MAX {
        return Err(OpError::IdsExhausted);
    }
    match wanted {
        NewId::Auto if now_ms > last.ms => Ok(EntryId { ms: now_ms, seq: 0 }.max(ids_from)),
        // The clock stands still or stepped back: ids go on from the last one.
        NewId::Auto => {
            let next = last.next().ok_or(OpError::IdsExhausted)?;
            Ok(next.max(ids_from))
        }
        NewId::AutoSeq(ms) if ms > last.ms => Ok(EntryId { ms, seq: 0 }),
        NewId::AutoSeq(ms) if ms == last.ms => {
            let seq = last.seq.checked_add(1).ok_or(OpError::IdTooSmall)?;
            Ok(EntryId { ms, seq })
        }
        NewId::Explicit(id) if id > last => Ok(id),
        NewId::AutoSeq(_) | NewId::Explicit(_) => Err(OpError::IdTooSmall),
    }
}
