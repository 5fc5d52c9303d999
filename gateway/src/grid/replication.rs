//! What the replication of a link needs: positions, recent flushes, catching up, applying.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use strait_transport::SiteName;
use tokio::sync::watch;

use super::clock::now_ms;
use super::counter::OriginId;
use super::flush::Progress;
use super::forget::Rule;
use super::merge::{NotMerged, Source};
use super::packed::Unpacked;
use super::recent::{Feed, Flushed};
use super::record::{CounterRows, Kind, LogSection, decode_counters, decode_log, kind_of};
use super::relay::Relayed;
use super::scan::{CounterCursor, Have, Show};
use super::state::State;
use super::{
    EntryId, Epoch, FlushError, FlushNumber, Grid, LogName, LogPosition, MERGE_SLICE, Origin,
    Positions, RECORD_BYTES_MAX, Ticket,
};

/// The flush need not wait for its tick when so many bytes of records wait for it.
const QUEUE_BYTES_HURRY: usize = 8 << 20;

/// What a record changed here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applied {
    /// For [`Grid::durable`].
    pub ticket: Ticket,
    /// Counters that the record named.
    pub counters: u64,
    /// Entries that were new.
    pub entries: u64,
}

/// Why a peer's record was not applied. Nothing of it was.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The peer's fault.
    #[error("the peer sent a record that cannot be read: {0}")]
    Malformed(&'static str),
    /// The peer's clock, or ours.
    #[error(
        "the peer's record has a clock reading {ahead_s} s ahead of this machine's clock, more than a day: set the clock right that is wrong"
    )]
    ClockAhead { ahead_s: u64 },
    /// Entries before the record's first are missing: ask again from `have`.
    #[error("log {log} has a gap: we hold it up to {}", have.last)]
    Gap { log: LogName, have: LogPosition },
    /// Our own fault: the journal or the memory cap. Try again later.
    #[error("records are refused for now: {0}")]
    Refused(String),
}

/// A scan over all counters for a peer that was away too long for [`Grid::flushed`].
#[derive(Debug)]
pub struct CounterScan {
    grid: Arc<Grid>,
    number: FlushNumber,
    epoch: Epoch,
    have: Have,
    complete: Vec<(OriginId, Epoch)>,
    cursor: CounterCursor,
    ended: bool,
    /// It tells all that we hold, and says at the end, apart from that, up to where that is all.
    is_whole: bool,
}

impl CounterScan {
    /// The flush and the epoch up to which the scan holds everything: go on with the flush after.
    pub fn complete_to(&self) -> (FlushNumber, Epoch) {
        (self.number, self.epoch)
    }

    /// After the end of a scan that tells all: up to where something may be forgotten that it did not
    /// tell, and the record that says what was complete.
    pub fn forgotten(&self) -> (Positions, Vec<Bytes>) {
        let state = self.grid.state.lock();
        let complete = CounterRows::default().encode(&state.origins, &self.complete);
        (state.forgotten_to(), complete)
    }

    /// Whether it tells all that we hold.
    pub fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// The next record, at most `bytes_max` long; none at the end.
    ///
    /// Blocks: the last step waits for a flush. Not for tokio's threads.
    pub fn next(&mut self, bytes_max: usize) -> Result<Option<Bytes>, FlushError> {
        if self.ended {
            return Ok(None);
        }
        let bytes_max = bytes_max.min(RECORD_BYTES_MAX / 2);
        let (wanted, mut rows) = ((&self.have, Show::Durable), CounterRows::default());
        let mut more = true;
        while more && rows.bytes_max() < bytes_max {
            // No flush is under way: one would have said what it says, and not be on disk.
            let _quiet = self.grid.writer.lock();
            let mut state = self.grid.state.lock();
            more = state.scan_slice(&mut self.cursor, wanted, &mut rows, bytes_max);
            state.say_whole(&mut self.cursor);
        }
        if !more {
            // What was left out because it was not durable gets a version above our epoch.
            self.grid.flush()?;
            self.ended = true;
            if self.cursor.leaves_out {
                // Nor is any older version of it there. What the reader holds is said with that flush.
                self.complete.retain(|(of, _)| *of != OriginId::OWN);
            }
        }
        let says_so = !more && !self.is_whole;
        let complete = if says_so { &self.complete } else { &[][..] };
        let origins = self.grid.state.lock().origins.clone();
        Ok(rows.encode(&origins, complete).pop())
    }
}

/// What merging a record did.
#[derive(Default)]
struct Merged {
    /// It held something that was not here.
    news: bool,
    /// What was news of it, where that is not all: for the journal, and for other peers.
    taken: Option<Vec<Bytes>>,
    /// The sites that wrote what is in it.
    sites: BTreeSet<SiteName>,
    counters: u64,
    entries: u64,
}

impl State {
    /// Queues what was news of a peer's record, in the same hold of the lock as that was merged: a flush
    /// in between would count as durable what the journal does not hold.
    fn enqueue_merged(
        &mut self,
        (from, record): (&SiteName, Bytes),
        merged: Merged,
    ) -> (Applied, usize) {
        self.tally.applied += 1;
        let (mut ticket, mut waiting) = (self.ticket, 0);
        let records = merged.taken.unwrap_or_else(|| vec![record]);
        for record in records.into_iter().filter(|_| merged.news) {
            (ticket, waiting) = self.enqueue(Relayed {
                from: from.clone(),
                sites: merged.sites.clone(),
                record,
            });
        }
        let applied = Applied {
            ticket,
            counters: merged.counters,
            entries: merged.entries,
        };
        (applied, waiting)
    }
}

impl Grid {
    /// What our components are signed with.
    pub fn origin(&self) -> Origin {
        self.state.lock().origins.origin(OriginId::OWN).clone()
    }

    /// The last durable epoch, as it moves.
    pub fn subscribe(&self) -> watch::Receiver<Epoch> {
        self.epochs.subscribe()
    }

    /// What we hold durably, of our own and of others: what a peer needs to know to go on.
    pub fn positions(&self, feed: Feed) -> Positions {
        match feed {
            Feed::Counters => Positions {
                watermarks: self.watermarks(),
                ..Positions::default()
            },
            Feed::Logs => Positions {
                logs: self.logs().into_iter().collect(),
                ..Positions::default()
            },
        }
    }

    fn watermarks(&self) -> BTreeMap<Origin, Epoch> {
        let state = self.state.lock();
        let watermarks = state.completeness(Show::Durable).into_iter();
        let trusted = |(origin, _): &(OriginId, Epoch)| *origin != OriginId::OWN || !state.doubtful;
        let named = |(origin, epoch)| (state.origins.origin(origin).clone(), epoch);
        watermarks.filter(trusted).map(named).collect()
    }

    /// What `peer` is told of that. Until it was heard once after a start it is to tell all that it holds of
    /// ours since the last time: our journal may have lost some of it.
    pub fn positions_for(&self, peer: &SiteName, feed: Feed) -> Positions {
        let mut positions = self.positions(feed);
        let state = self.state.lock();
        let claim = state.runs.claim_to(peer);
        if let Some(epoch) = claim.filter(|_| feed == Feed::Counters) {
            let own = state.origins.origin(OriginId::OWN).clone();
            positions.watermarks.insert(own, epoch);
        }
        positions
    }

    /// Whether somebody at `theirs` holds counters of ours that our journal lost. They are to be heard
    /// before they are sent any of ours, which would take the place of what they hold.
    pub fn lacks_own(&self, theirs: &Positions) -> bool {
        let state = self.state.lock();
        let own = state.origins.origin(OriginId::OWN);
        state.lost(theirs.watermark(own).0)
    }

    /// `peer` has told all of `feed` that it holds of what it was told that we lack, and that is merged.
    pub fn heard(&self, peer: &SiteName, feed: Feed) {
        self.state.lock().heard(peer, feed);
    }

    /// What of a peer's positions is about origins and logs that are known here.
    pub fn known_of(&self, mut theirs: Positions) -> Positions {
        let state = self.state.lock();
        theirs.logs.retain(|log, _| state.log_ids.contains_key(log));
        theirs
            .watermarks
            .retain(|origin, _| state.origins.find(origin).is_some());
        theirs
    }

    /// The last flush that had something for peers, as it moves.
    pub fn subscribe_flushes(&self) -> watch::Receiver<FlushNumber> {
        self.flushes.subscribe()
    }

    /// One of the recent flushes; none when it is too old (then scan) or has not happened yet.
    pub fn flushed(&self, feed: Feed, number: FlushNumber) -> Option<Arc<Flushed>> {
        self.state.lock().recall(feed, number)
    }

    /// The last flush, and up to where everything of ours is durable with it.
    pub fn flushed_to(&self) -> (FlushNumber, Epoch) {
        let state = self.state.lock();
        (state.flush_number, state.durable_epoch)
    }

    /// Starts a scan of all that somebody who holds `have` lacks of the counters.
    pub fn scan_counters(self: &Arc<Self>, have: &Positions) -> CounterScan {
        let state = self.state.lock();
        let held = have.watermarks.iter();
        let held = held.filter_map(|(origin, epoch)| Some((state.origins.find(origin)?, *epoch)));
        CounterScan {
            grid: self.clone(),
            number: state.flush_number,
            epoch: state.durable_epoch,
            have: Have(held.collect()),
            complete: state.completeness(Show::Durable),
            cursor: CounterCursor::default(),
            ended: false,
            is_whole: false,
        }
    }

    /// The same of all that is held, for a peer to sweep what it is not told: see [`Grid::end_sweep`].
    pub fn scan_whole(self: &Arc<Self>) -> CounterScan {
        let mut scan = self.scan_counters(&Positions::default());
        scan.cursor.names_all = true;
        scan.is_whole = true;
        scan
    }

    /// All logs, our own and others', with what of them is durable here. Clients' commands run in
    /// between, so it is not all of one moment.
    pub fn logs(&self) -> Vec<(LogName, LogPosition)> {
        let mut logs = Vec::new();
        self.each_log(|_, log| logs.push((log.name.clone(), log.durable)));
        logs
    }

    /// Our own logs that keep trimmed entries until peers have them, and what of them is durable.
    pub fn logs_kept_for_peers(&self) -> Vec<(LogName, EntryId)> {
        let mut kept = Vec::new();
        self.each_log(|_, log| {
            if log.name.site == self.config.site && log.keeps_trimmed() {
                kept.push((log.name.clone(), log.durable.last));
            }
        });
        kept
    }

    /// The record that trims what somebody at `have` holds of `log`, ahead of entries that may need its
    /// room there, and what they hold with it; none when it trims nothing.
    pub fn trim_after(&self, log: &LogName, have: LogPosition) -> Option<(Bytes, LogPosition)> {
        let id = self.log_id(log)?;
        self.state.lock().log(id).trim_section(have)
    }

    /// The next record of `log` for somebody who holds it up to `have`, and what they hold with
    /// it; none when they lack nothing, or when it cannot be read. May wait for the disk: not for
    /// tokio's threads.
    pub fn log_after(
        &self,
        log: &LogName,
        have: LogPosition,
        bytes_max: usize,
    ) -> Option<(Bytes, LogPosition)> {
        let id = self.log_id(log)?;
        let absent = {
            let state = self.state.lock();
            let log = state.log(id);
            match log.section_after(have, log.durable, bytes_max) {
                Ok(section) => return section,
                Err(absent) => absent,
            }
        };
        match self.load(id, &absent) {
            Ok(loaded) => {
                let state = self.state.lock();
                let log = state.log(id);
                log.section_of(&loaded, have, log.durable, bytes_max)
            }
            Err(error) => {
                if self.state.lock().logs[id.0].name_held_up(absent.first) {
                    tracing::error!(%log, %error, "a peer cannot be sent all of a log");
                }
                None
            }
        }
    }

    /// Every peer holds `log` up to `id`: what was trimmed up to there may go.
    pub fn set_log_floor(&self, log: &LogName, id: EntryId) {
        let mut state = self.state.lock();
        if let Some(id_here) = state.log_ids.get(log).copied() {
            state.rehouse_log(id_here, |log| log.set_floor(id));
        }
    }

    /// Merges a record that the peer `from` sent into memory. If it was news it is queued for
    /// the journal, and for other peers.
    pub fn apply(
        &self,
        from: &SiteName,
        record: impl Into<Unpacked>,
    ) -> Result<Applied, ApplyError> {
        self.apply_from(from, record, Source::Told)
    }

    /// The same of a record that comes in whatever way.
    pub(super) fn apply_from(
        &self,
        from: &SiteName,
        record: impl Into<Unpacked>,
        source: Source,
    ) -> Result<Applied, ApplyError> {
        let unpacked = record.into();
        let record = unpacked.record.clone();
        let (kind, body) = kind_of(&record).map_err(|error| ApplyError::Malformed(error.0))?;
        let malformed = |error: super::record::Malformed| ApplyError::Malformed(error.0);
        let (applied, waiting) = match kind {
            Kind::Counters => {
                self.check_takes(Some(Feed::Counters))?;
                self.apply_counters((from, source), &unpacked, body)?
            }
            Kind::Log => {
                let section = decode_log(body).map_err(malformed)?;
                // A trim makes room, so it needs none.
                self.check_takes((!section.entries.is_empty()).then_some(Feed::Logs))?;
                self.apply_section(from, (&section, record.clone()))?
            }
            Kind::PackedCounters
            | Kind::PackedLog
            | Kind::Runs
            | Kind::Renewed
            | Kind::Doubts
            | Kind::Forgotten => {
                return Err(ApplyError::Malformed("it is of another kind"));
            }
        };
        if waiting > QUEUE_BYTES_HURRY {
            self.flush_soon();
        }
        Ok(applied)
    }

    /// Whether what a peer sends can be taken now; if it needs room, in which feed.
    fn check_takes(&self, needs_room: Option<Feed>) -> Result<(), ApplyError> {
        let state = self.state.lock();
        let room = needs_room.map_or(Ok(()), |feed| state.check_room_for_peer(feed));
        let checked = state.check_not_refused().and(room);
        checked.map_err(|error| ApplyError::Refused(error.to_string()))
    }

    fn apply_counters(
        &self,
        (from, source): (&SiteName, Source),
        Unpacked {
            record,
            places,
            promises,
            forgotten,
        }: &Unpacked,
        body: &[u8],
    ) -> Result<(Applied, usize), ApplyError> {
        let mut updates = decode_counters(body).map_err(|error| ApplyError::Malformed(error.0))?;
        let full = |_| ApplyError::Refused("too many origins or names".to_owned());
        let mut in_part = !promises && !updates.complete.is_empty();
        if in_part {
            updates.complete.clear();
        }
        let numbers = {
            let (mut state, now_ms) = (self.state.lock(), now_ms());
            state.check_clocks(&updates, now_ms)?;
            let numbers = state.intern(&updates).map_err(full)?;
            in_part |= state.check_own(from, &mut updates, &numbers, now_ms);
            numbers
        };
        let mut news = Vec::with_capacity(updates.rows.len());
        let conflicts = self.state.lock().tally.conflicts;
        let mut places = places.chunks(MERGE_SLICE);
        for rows in updates.rows.chunks(MERGE_SLICE) {
            let places = places.next().unwrap_or_default();
            let mut state = self.state.lock();
            let is_there = state.keys.forgotten == *forgotten;
            let places = if is_there { places } else { &[][..] };
            let merged = state.merge_rows(&updates, rows, places, (&numbers, source));
            news.extend(merged.map_err(full)?);
        }
        let mut state = self.state.lock();
        state.note_told(from, &updates, &numbers.origins);
        let conflicts = state.tally.conflicts - conflicts;
        if conflicts > 0 {
            tracing::error!(
                counters = conflicts,
                "a peer holds other sums of the same versions of counters"
            );
        }
        let is_news = state.complete(&updates, &numbers) || news.contains(&true);
        let sites = updates.origins.iter().map(|o| o.site.clone()).collect();
        let counters = updates.rows.len() as u64;
        // What was no news here may be of a life of the counter that is over, and forgotten elsewhere.
        in_part |= news.contains(&false) && !Rule::TellOnlyNews.is_broken();
        let taken = (in_part && is_news).then(|| {
            let mut news = news.iter();
            updates.rows.retain(|_| news.next() == Some(&true));
            let (rows, complete) = updates.into_rows(&numbers);
            rows.encode(&state.origins, &complete)
        });
        let merged = Merged {
            news: is_news,
            taken,
            sites,
            counters,
            entries: 0,
        };
        Ok(state.enqueue_merged((from, record.clone()), merged))
    }

    fn apply_section(
        &self,
        from: &SiteName,
        (section, record): (&LogSection<'_>, Bytes),
    ) -> Result<(Applied, usize), ApplyError> {
        let full = |_| ApplyError::Refused("too many sites or names".to_owned());
        let mut state = self.state.lock();
        if state.is_false_log(from, section) {
            return Ok(state.enqueue_merged((from, record), Merged::default()));
        }
        let before = state.log_position(&section.head.log);
        let entries = loop {
            match state.merge_section(section).map_err(full)? {
                Ok(entries) => break entries,
                Err(NotMerged::Gap { have }) => {
                    state.tally.gaps += 1;
                    let log = section.head.log.clone();
                    return Err(ApplyError::Gap { log, have });
                }
                Err(NotMerged::OnDisk(id, absent)) => {
                    drop(state);
                    let thawed = self.thaw(id, &absent);
                    thawed.map_err(|error| ApplyError::Refused(error.to_string()))?;
                    state = self.state.lock();
                }
            }
        };
        let log = &section.head.log;
        let now = state.log_position(log);
        if log.site == self.config.site && now.last > before.last {
            state.resume_log(log);
        }
        let merged = Merged {
            news: now != before,
            taken: None,
            sites: BTreeSet::from([section.head.log.site.clone()]),
            counters: 0,
            entries,
        };
        Ok(state.enqueue_merged((from, record), merged))
    }

    /// Waits until what `ticket` stands for is fsynced, however long the disk refuses.
    pub async fn durable(&self, ticket: Ticket) {
        let mut progress = self.progress.subscribe();
        // An error would mean that the grid is gone, and with it whoever waits.
        if progress
            .wait_for(|progress| progress.done >= ticket)
            .await
            .is_err()
        {
            tracing::debug!("the grid closed while a peer waited for it");
        }
    }

    /// Has what `ticket` stands for fsynced soon, together with what others write meanwhile, and
    /// waits for that: the epoch that is durable then. An error if the disk refuses.
    pub(crate) async fn commit(&self, ticket: Ticket) -> Result<Epoch, FlushError> {
        let mut progress = self.progress.subscribe();
        self.flush_soon();
        let over = |progress: &Progress| progress.done >= ticket || progress.failed >= ticket;
        let ended = progress.wait_for(over).await.map(|progress| *progress);
        match ended {
            Ok(progress) if progress.done >= ticket => Ok(*self.epochs.borrow()),
            Ok(_) | Err(_) => Err(FlushError {
                reason: "a write or fsync failed".to_owned(),
            }),
        }
    }
}
