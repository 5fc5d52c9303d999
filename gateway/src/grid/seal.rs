//! First half of a flush: everything that changed gets its version and becomes records.

use bytes::Bytes;
use hashbrown::HashMap;
use parking_lot::Mutex;

use super::clock::now_ms;
use super::counter::{Component, Extra, OriginId, SiteId, flag};
use super::keyspace::CounterRef;
use super::record::{CounterRows, Part};
use super::state::{LogId, State};
use super::{Epoch, LogPosition, RECORD_BYTES_MAX, Relayed, Ticket};

/// Counters sealed under the lock at a time.
const SLICE: usize = 128;
/// After so many slices clients' threads have a turn. Where cores are few a request would wait for
/// all of the flush, as the scheduler lets go of a thread only after milliseconds; and no more turns,
/// as whoever else keeps the core busy has it that long each time.
const TURNS_MAX: usize = 64;
/// Rows that might take more are encoded before there are further ones: with many changes they
/// would take ten times the memory of their records.
const ROWS_BYTES_MAX: usize = RECORD_BYTES_MAX / 2;
/// Bytes of a log that are copied under the lock at a time.
const LOG_SLICE_BYTES: usize = 256 << 10;

/// What one flush writes, and what is true once it is on disk.
#[derive(Debug, Default)]
pub(super) struct Sealed {
    /// The epoch, if anything of ours changed.
    pub(super) epoch: Option<Epoch>,
    pub(super) ticket: Ticket,
    /// For the journal alone, before all else: see [`Runs`](super::runs::Runs) and
    /// [`Doubts`](super::doubts::Doubts).
    pub(super) runs: Vec<Bytes>,
    /// Records of peers.
    pub(super) queue: Vec<Relayed>,
    pub(super) counters: Vec<Bytes>,
    /// Some of our counters changed. Otherwise `counters` only notes the epoch.
    pub(super) has_counters: bool,
    pub(super) logs: Vec<Bytes>,
    pub(super) positions: Vec<(LogId, LogPosition)>,
    pub(super) watermarks: HashMap<OriginId, Epoch>,
    /// A number in it that a start would not read back.
    pub(super) out_of_range: Option<&'static str>,
}

impl Sealed {
    /// Whether there is nothing to write.
    pub(super) fn is_empty(&self) -> bool {
        self.epoch.is_none() && self.queue.is_empty() && self.runs.is_empty()
    }

    fn note_range(&mut self, rows: &CounterRows) {
        self.out_of_range = self.out_of_range.or(rows.out_of_range());
    }

    /// What goes to the journal.
    pub(super) fn records(&self) -> Vec<Bytes> {
        let queue = self.queue.iter().map(|relayed| &relayed.record);
        let runs = self.runs.iter();
        let records = runs.chain(queue).chain(&self.logs).chain(&self.counters);
        records.cloned().collect()
    }
}

/// What is held at one moment.
#[derive(Debug)]
pub(super) struct Whole {
    epoch: Epoch,
    positions: Vec<(LogId, LogPosition)>,
    watermarks: HashMap<OriginId, Epoch>,
}

/// Everything that changed, as it stood when the flush began.
struct Changes {
    counters: Vec<CounterRef>,
    logs: Vec<(LogId, LogPosition, bool)>,
    hlc: u64,
}

/// Takes everything that changed since the last flush. Only one may run at a time.
pub(super) fn seal(state: &Mutex<State>) -> Sealed {
    let (mut sealed, mut changes) = state.lock().begin_flush();
    // In the order in which they lie in memory: with many changes that is one walk through it.
    changes.counters.sort_unstable();
    let Some(epoch) = sealed.epoch else {
        return sealed;
    };
    let (mut rows, mut bases) = (CounterRows::default(), CounterRows::default());
    for (turn, slice) in changes.counters.chunks(SLICE).enumerate() {
        if rows.bytes_max() > ROWS_BYTES_MAX {
            let origins = state.lock().origins.clone();
            sealed.note_range(&rows);
            let rows = std::mem::take(&mut rows);
            sealed.counters.extend(rows.encode(&origins, &[]));
        }
        let mut state = state.lock();
        for at in slice {
            state.seal_base(*at, &mut bases);
            state.seal_counter(*at, epoch, changes.hlc, &mut rows);
        }
        drop(state);
        if turn < TURNS_MAX {
            std::thread::yield_now();
        }
    }
    for (id, target, own) in changes.logs {
        if own {
            seal_log(state, id, target, &mut sealed.logs);
        }
    }
    let origins = state.lock().origins.clone();
    sealed.note_range(&rows);
    sealed.note_range(&bases);
    sealed.runs.extend(bases.encode_some(&origins));
    let complete = [(OriginId::OWN, epoch)];
    sealed.counters.extend(rows.encode(&origins, &complete));
    sealed
}

/// Copies the new entries of one of our logs.
fn seal_log(state: &Mutex<State>, id: LogId, target: LogPosition, records: &mut Vec<Bytes>) {
    loop {
        let mut state = state.lock();
        let log = &mut state.logs[id.0];
        // Nothing goes to the disk by itself that no flush has taken.
        let next = log.section_after(log.sealed, target, LOG_SLICE_BYTES);
        let Ok(Some((record, reached))) = next else {
            return;
        };
        log.sealed = reached;
        records.push(record);
    }
}

impl State {
    fn begin_flush(&mut self) -> (Sealed, Changes) {
        let own_site = self.origins.site(SiteId::OWN).clone();
        let mut logs = Vec::new();
        for id in std::mem::take(&mut self.dirty_logs) {
            let log = &mut self.logs[id.0];
            log.dirty = false;
            logs.push((id, log.position(), log.name.site == own_site));
        }
        self.queue_bytes = 0;
        self.unwritten.take();
        let changes = Changes {
            counters: std::mem::take(&mut self.dirty),
            hlc: self.clock.tick(now_ms()),
            logs,
        };
        let own_logs = changes.logs.iter().any(|(_, _, own)| *own);
        let changed = own_logs || !changes.counters.is_empty();
        if changed {
            self.epoch = self.epoch.next();
        }
        let sealed = Sealed {
            epoch: changed.then_some(self.epoch),
            ticket: self.ticket,
            queue: std::mem::take(&mut self.queue),
            positions: changes.logs.iter().map(|(id, to, _)| (*id, *to)).collect(),
            watermarks: self.watermarks.clone(),
            runs: self.journal_news(changed),
            has_counters: !changes.counters.is_empty(),
            ..Sealed::default()
        };
        self.ticket = Ticket(self.ticket.0 + 1);
        (sealed, changes)
    }

    /// What the journal alone is to know before the rest.
    fn journal_news(&mut self, changed: bool) -> Vec<Bytes> {
        let mut news = self.doubts.take_news();
        if changed || self.runs.is_urgent() {
            news.extend(self.runs.news(self.incarnation()));
        }
        news
    }

    /// What our component holds of runs that were lost: the journal is to know it before the component.
    fn seal_base(&mut self, at: CounterRef, rows: &mut CounterRows) {
        for component in self.runs.take_unwritten(at) {
            self.push_base(at, component, rows);
        }
    }

    fn push_base(&self, at: CounterRef, component: Component, rows: &mut CounterRows) {
        let origin = OriginId::OWN;
        let nothing = (0, SiteId::OWN, false);
        let part = Part { origin, component };
        rows.push(self.keys.key_of(at), nothing, [part], None);
    }

    /// What a journal begins with.
    pub(super) fn journal_head(&self) -> Vec<Bytes> {
        let mut rows = CounterRows::default();
        for (at, component) in self.runs.bases() {
            self.push_base(at, component, &mut rows);
        }
        let bases = rows.encode_some(&self.origins);
        let mut head = vec![self.runs.record(self.incarnation())];
        head.extend(bases);
        if self.doubts.is_open() {
            head.extend(self.doubts.records());
        }
        head
    }

    fn seal_counter(&mut self, at: CounterRef, epoch: Epoch, hlc: u64, rows: &mut CounterRows) {
        self.clear_if_due(at);
        let counter = self.keys.counter_mut(at);
        self.runs.keep(at, counter.own);
        counter.own.version = epoch.0;
        if !counter.has(flag::ENDS) {
            counter.hlc = hlc;
            counter.site = SiteId::OWN;
        }
        counter.set(flag::DIRTY | flag::ENDS, false);
        let own = Part {
            origin: OriginId::OWN,
            component: counter.own,
        };
        let presence = (counter.hlc, counter.site, counter.has(flag::PRESENT));
        if counter.has(flag::MORE) {
            let extra = self.keys.extra_mut(at);
            if extra.changed == Extra::UNSEALED {
                extra.seal(epoch.0, hlc);
            }
        }
        let extra = self.keys.extra(at);
        let extra = extra.filter(|extra| extra.speaks() && extra.changed == epoch.0);
        rows.push(self.keys.key_of(at), presence, [own], extra);
    }

    /// The epoch's flush is on disk.
    pub(super) fn settle(&mut self, sealed: Sealed) -> Epoch {
        self.settle_positions(sealed.positions, sealed.watermarks);
        if let Some(epoch) = sealed.epoch {
            self.durable_epoch = epoch;
        }
        self.runs.settle(sealed.ticket);
        if sealed.epoch.is_some() || !sealed.queue.is_empty() {
            let counters = match sealed.has_counters {
                true => sealed.counters,
                false => Vec::new(),
            };
            let records = (counters, sealed.logs);
            self.remember(self.durable_epoch, records, sealed.queue);
        }
        self.durable_epoch
    }

    fn settle_positions(
        &mut self,
        positions: Vec<(LogId, LogPosition)>,
        watermarks: HashMap<OriginId, Epoch>,
    ) {
        self.durable_watermarks = watermarks;
        self.unwritten.settle();
        for (id, position) in positions {
            self.rehouse_log(id, |log| {
                log.sealed = log.sealed.max_of(&position);
                log.set_durable(position);
            });
        }
    }

    /// Everything as it stands now.
    pub(super) fn whole(&self) -> Whole {
        let logs = self.logs.iter().enumerate();
        Whole {
            epoch: self.epoch,
            positions: logs.map(|(id, log)| (LogId(id), log.position())).collect(),
            watermarks: self.watermarks.clone(),
        }
    }

    /// All that `whole` stands for is on disk: after a replay, or written anew.
    pub(super) fn settle_whole(&mut self, whole: Whole) -> Epoch {
        self.settle_positions(whole.positions, whole.watermarks);
        self.durable_epoch = whole.epoch;
        self.forget_recent();
        self.durable_epoch
    }

    /// Nothing is dirty: what replaying touched came from the disk.
    pub(super) fn settle_replayed(&mut self) {
        let whole = self.whole();
        self.unwritten.take();
        self.settle_whole(whole);
        for id in std::mem::take(&mut self.dirty_logs) {
            self.logs[id.0].dirty = false;
        }
    }
}
