//! Everything that the grid's lock protects.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;
use strait_transport::SiteName;

use super::claims::ClaimLines;
use super::clock::{HybridClock, next_ms};
use super::cold::Absent;
use super::counter::{OriginId, allocation_bytes, flag};
use super::doubts::Doubts;
use super::forget::{Forgetting, Members, Sweeps};
use super::keyspace::{CounterRef, Keyspace};
use super::log::Log;
use super::origins::Origins;
use super::recent::Recent;
use super::runs::Runs;
use super::unwritten::Unwritten;
use super::watches::Watches;
use super::{EntryId, Epoch, Feed, FlushNumber, LogName, LogPosition, Origin, Relayed, Ticket};

/// Place of a log in [`State::logs`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct LogId(pub(super) usize);

/// What clients see behind a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Counter,
    Hash,
    Log(LogId),
}

/// Why a command was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OpError {
    #[error("WRONGTYPE Operation against a key holding the wrong kind of value")]
    WrongType,
    #[error("ERR increment or decrement would overflow")]
    Overflow,
    #[error("OOM command not allowed when used memory > 'memory_bytes_max'.")]
    OutOfMemory,
    #[error("OOM command not allowed when logs use > 3/4 of 'memory_bytes_max'.")]
    LogsOutOfMemory,
    #[error("MISCONF strait cannot write its journal and refuses writes until it can: {0}")]
    Refused(Arc<str>),
    #[error("ERR names longer than 65535 bytes are not supported")]
    NameTooLong,
    #[error("READONLY the log belongs to site {0}: add to it there")]
    OthersLog(String),
    #[error("ERR the name starts with that of site {0}: it is kept for its logs")]
    OthersName(String),
    #[error("ERR The ID specified in XADD is equal or smaller than the target stream top item")]
    IdTooSmall,
    #[error("ERR The stream has exhausted the last possible ID, unable to add more items")]
    IdsExhausted,
    #[error("ERR logs do not expire: trim them with MAXLEN or MINID")]
    LogDeadline,
    #[error("ERR entries longer than 786432 bytes are not supported")]
    EntryTooLong,
    /// Nothing was done: [`State::wanted`] is to be thawed first.
    #[error("ERR the entries are on disk, and cannot be read within this transaction")]
    OnDisk,
}

/// Figures that the lock protects.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// By [`Feed`](super::Feed).
    pub(super) writes: [u64; 2],
    pub(super) applied: u64,
    pub(super) gaps: u64,
    /// Keys whose deadline had passed.
    pub(super) expired: u64,
    /// Records by which a peer showed that it holds counters of ours that our journal lost.
    pub(super) own_from_peers: u64,
    /// Records by which a peer told counters or entries of ours that we have not written.
    pub(super) false_claims: u64,
    /// Records of peers with a clock too far ahead of ours.
    pub(super) clocks_refused: u64,
    /// Components and entries of peers that contradict what we hold.
    pub(super) conflicts: u64,
    /// Counters of which comparing with peers showed that something was lost or damaged.
    pub(super) differences: u64,
    /// Bytes of entries that were let go before every peer had them.
    pub(super) shed_bytes: u64,
    /// Blocks of entries that were damaged on disk.
    pub(super) lost_blocks: u64,
    /// Blocks that were read to see whether they still can be.
    pub(super) scrubbed_blocks: u64,
    /// Entries of logs that came back from peers.
    pub(super) mended_entries: u64,
}

/// The grid in memory.
#[derive(Debug)]
pub(crate) struct State {
    pub(super) keys: Keyspace,
    pub(super) origins: Arc<Origins>,
    pub(super) logs: Vec<Log>,
    pub(super) log_ids: HashMap<LogName, LogId>,
    /// Logs by the place of the name under which clients see them here.
    pub(super) logs_by_name: HashMap<u32, LogId>,
    pub(super) dirty: Vec<CounterRef>,
    pub(super) unwritten: Unwritten,
    pub(super) watches: Watches,
    /// Keys that expire, the next one first: when, and the key's place.
    pub(super) deadlines: BTreeSet<(u64, u32)>,
    /// The wall clock when the lock was last taken for clients.
    pub(super) now_ms: u64,
    pub(super) dirty_logs: Vec<LogId>,
    /// Records of peers that the journal does not hold yet.
    pub(super) queue: Vec<Relayed>,
    pub(super) queue_bytes: usize,
    pub(super) watermarks: HashMap<OriginId, Epoch>,
    pub(super) durable_watermarks: HashMap<OriginId, Epoch>,
    /// The last epoch that was given to counters.
    pub(super) epoch: Epoch,
    pub(super) runs: Runs,
    /// Peers that have not told since the start what they hold of our logs.
    pub(super) unheard_of_logs: BTreeSet<SiteName>,
    pub(super) claim_lines: ClaimLines,
    /// No entry gets an id before this one: see [`State::resume_ids`].
    pub(super) ids_from: EntryId,
    pub(super) doubts: Doubts,
    pub(super) members: Members,
    pub(super) forgetting: Forgetting,
    /// What peers have told that tell all they hold.
    pub(super) sweeps: Sweeps,
    /// The last epoch on disk.
    pub(super) durable_epoch: Epoch,
    /// By [`Feed`](super::Feed).
    pub(super) recent: [Recent; 2],
    /// The last flush that had something for peers.
    pub(super) flush_number: FlushNumber,
    /// Stands for the next flush to begin.
    pub(super) ticket: Ticket,
    pub(super) clock: HybridClock,
    /// Names that clients see.
    pub(super) visible: u64,
    /// The journal is read: nothing here is newer than what it says.
    pub(super) replaying: bool,
    /// The journal was damaged: nobody knows of what we do not hold everything.
    pub(super) doubtful: bool,
    /// Why writes are refused.
    pub(super) refused: Option<Arc<str>>,
    pub(super) memory_bytes_max: usize,
    pub(super) log_bytes: usize,
    /// Memory of the names of logs.
    log_name_bytes: usize,
    /// Trimmed entries of new logs stay until every peer has them.
    pub(super) keep_trimmed: bool,
    /// A block that the command which ran last has to look into.
    pub(super) wanted: Option<(LogId, Absent)>,
    pub(super) tally: Tally,
}

impl State {
    pub(super) fn new(own: Origin, memory_bytes_max: usize, keep_trimmed: bool) -> Self {
        Self {
            keys: Keyspace::new(),
            origins: Arc::new(Origins::new(own)),
            logs: Vec::new(),
            log_ids: HashMap::new(),
            logs_by_name: HashMap::new(),
            dirty: Vec::new(),
            unwritten: Unwritten::new(Duration::MAX),
            watches: Watches::default(),
            deadlines: BTreeSet::new(),
            now_ms: 0,
            dirty_logs: Vec::new(),
            queue: Vec::new(),
            queue_bytes: 0,
            watermarks: HashMap::new(),
            durable_watermarks: HashMap::new(),
            epoch: Epoch(0),
            runs: Runs::default(),
            unheard_of_logs: BTreeSet::new(),
            claim_lines: ClaimLines::default(),
            ids_from: EntryId::MIN,
            doubts: Doubts::default(),
            members: Members::default(),
            forgetting: Forgetting::default(),
            sweeps: Sweeps::default(),
            durable_epoch: Epoch(0),
            recent: Default::default(),
            flush_number: FlushNumber(0),
            ticket: Ticket(1),
            clock: HybridClock::default(),
            visible: 0,
            replaying: false,
            doubtful: false,
            refused: None,
            memory_bytes_max,
            log_bytes: 0,
            log_name_bytes: 0,
            keep_trimmed,
            wanted: None,
            tally: Tally::default(),
        }
    }

    /// Our own.
    pub(super) fn incarnation(&self) -> u64 {
        self.origins.origin(OriginId::OWN).incarnation
    }

    /// Goes on under epochs that no run of this site has used; see [`Runs`].
    pub(super) fn begin_run(&mut self, peers: BTreeSet<SiteName>) {
        // Nothing is written under the run's first epoch: a scan that leaves out what was written next
        // promises all up to it.
        self.unheard_of_logs = peers.clone();
        self.epoch = self.runs.begin(self.epoch, next_ms(), peers);
    }

    /// Memory taken by data and its indexes.
    pub(crate) fn bytes(&self) -> usize {
        self.counter_bytes() + self.all_log_bytes() + self.flush_bytes()
    }

    /// Memory of counters and of what leads to them.
    pub(super) fn counter_bytes(&self) -> usize {
        let deadlines = self.deadlines.len() * 2 * size_of::<(u64, u32)>();
        self.keys.bytes() + deadlines + self.runs.bytes() + self.sweeps.bytes()
    }

    /// Memory of logs: of their entries, and of the logs themselves.
    pub(super) fn all_log_bytes(&self) -> usize {
        self.log_bytes
            + self.logs.capacity() * size_of::<Log>()
            + self.logs.len() * Log::SPARE_BYTES
            + self.log_ids.allocation_size()
            + self.logs_by_name.allocation_size()
            + self.log_name_bytes
    }

    /// Memory of what waits for the next flush, and of flushes that are kept for peers.
    pub(super) fn flush_bytes(&self) -> usize {
        self.queue_bytes + self.recent_bytes() + self.dirty.capacity() * size_of::<CounterRef>()
    }

    /// Stands for the flush that will hold what was written just now.
    pub(crate) fn ticket(&self) -> Ticket {
        self.ticket
    }

    /// Writes by clients since the start, by [`Feed`](super::Feed).
    pub(crate) fn writes(&self) -> [u64; 2] {
        self.tally.writes
    }

    /// Whether the disk is so far behind that what is written now must wait for it.
    pub(crate) fn is_disk_late(&self) -> bool {
        self.unwritten.is_late()
    }

    /// Cap on [`State::bytes`].
    pub(crate) fn memory_bytes_max(&self) -> usize {
        self.memory_bytes_max
    }

    /// Cap on [`State::log_bytes`]: what is left is for counters, however many logs there are.
    pub(super) fn log_bytes_max(&self) -> usize {
        self.memory_bytes_max / 4 * 3
    }

    /// Whether a client may write to `feed` now.
    pub(crate) fn check_writable(&self, feed: Feed) -> Result<(), OpError> {
        self.check_not_refused()?;
        self.check_room(feed)
    }

    /// Whether there is memory for more of `feed`. Where there is for logs, there is for counters.
    pub(crate) fn check_room(&self, feed: Feed) -> Result<(), OpError> {
        self.check_room_within(feed, self.log_bytes_max())
    }

    /// Likewise for what a peer sends. Its entries find room for a little longer than those of clients:
    /// two sites that are full would otherwise wait for each other, with the trims behind the entries.
    pub(super) fn check_room_for_peer(&self, feed: Feed) -> Result<(), OpError> {
        self.check_room_within(feed, self.log_bytes_max() + self.memory_bytes_max / 16)
    }

    fn check_room_within(&self, feed: Feed, log_bytes_max: usize) -> Result<(), OpError> {
        let logs_over = self.log_bytes.saturating_sub(self.log_bytes_max());
        if self.bytes() - logs_over > self.memory_bytes_max {
            return Err(OpError::OutOfMemory);
        }
        match feed {
            Feed::Logs if self.log_bytes > log_bytes_max => Err(OpError::LogsOutOfMemory),
            Feed::Counters | Feed::Logs => Ok(()),
        }
    }

    /// What clients see behind the name at `place`.
    pub(crate) fn kind_at(&self, place: u32) -> Option<Kind> {
        let counter = self.keys.names.at(place);
        if counter.has(flag::MORE) && self.is_due(place) {
            return None;
        }
        if counter.has(flag::PRESENT) {
            return Some(Kind::Counter);
        }
        if counter.has(flag::HASH) && self.keys.hashes.get(&place).is_some_and(|h| h.live > 0) {
            return Some(Kind::Hash);
        }
        if !counter.has(flag::LOG) {
            return None;
        }
        let id = *self.logs_by_name.get(&place)?;
        self.logs[id.0].exists().then_some(Kind::Log(id))
    }

    /// A block that the command which ran last has to look into: it is to be thawed, and the
    /// command to run again.
    pub(crate) fn take_wanted(&mut self) -> Option<(LogId, Absent)> {
        self.wanted.take()
    }

    /// What clients see behind `key`.
    pub(crate) fn kind(&self, key: &[u8]) -> Option<Kind> {
        self.kind_at(self.keys.find(key)?)
    }

    /// Has the processor fetch what commands on these keys will need, up to [`LOOK_AHEAD_MAX`](super::LOOK_AHEAD_MAX).
    pub(crate) fn look_ahead<'a>(&self, keys: impl Iterator<Item = &'a [u8]>) {
        self.keys.look_ahead(keys);
    }

    /// Number of names that clients see.
    pub(crate) fn visible(&self) -> u64 {
        self.visible
    }

    /// Counts the name at `place` in or out after what stands behind it may have come or gone.
    pub(super) fn recount(&mut self, place: u32) {
        let visible = self.kind_at(place).is_some();
        let counter = self.keys.names.at_mut(place);
        if counter.has(flag::VISIBLE) != visible {
            counter.set(flag::VISIBLE, visible);
            self.visible = if visible {
                self.visible + 1
            } else {
                self.visible - 1
            };
        }
    }

    /// How much of a log is here.
    pub(super) fn log_position(&self, name: &LogName) -> LogPosition {
        let id = self.log_ids.get(name);
        id.map_or_else(LogPosition::default, |id| self.logs[id.0].position())
    }

    /// The log at `id`.
    pub(crate) fn log(&self, id: LogId) -> &Log {
        &self.logs[id.0]
    }

    /// The log named `name`, new if need be; none when memory for names is used up.
    pub(super) fn find_or_create_log(&mut self, name: &LogName) -> Option<LogId> {
        if let Some(id) = self.log_ids.get(name) {
            return Some(*id);
        }
        let own = name.site == *self.origins.site(super::counter::SiteId::OWN);
        let place = self.keys.find_or_create(&shown_name(name, own))?;
        Arc::make_mut(&mut self.origins).intern_site(&name.site)?;
        let id = LogId(self.logs.len());
        let floor = if own && self.keep_trimmed {
            EntryId::MIN
        } else {
            EntryId::MAX
        };
        self.logs.push(Log::new(name.clone(), floor));
        self.log_ids.insert(name.clone(), id);
        // The log has one, the table another.
        self.log_name_bytes += 2 * allocation_bytes(name.name.len());
        self.show_log(place, id);
        self.keys.names.at_mut(place).set(flag::LOG, true);
        Some(id)
    }

    /// Lets clients see a new log under the name at `place`, unless one that exists is there.
    fn show_log(&mut self, place: u32, id: LogId) {
        match self.logs_by_name.get(&place).copied() {
            Some(known) if self.logs[known.0].exists() => {}
            known => {
                // Somebody may wait for a log that had this name only by guess.
                let waiters = known.map(|known| self.logs[known.0].take_waiters());
                self.logs[id.0].add_waiters(waiters.unwrap_or_default());
                self.logs_by_name.insert(place, id);
            }
        }
    }

    /// Queues a peer's record, merged in full, for the journal: the flush that will hold it, and
    /// how many bytes wait for that.
    pub(super) fn enqueue(&mut self, relayed: Relayed) -> (Ticket, usize) {
        self.queue_bytes += relayed.record.len();
        self.queue.push(relayed);
        (self.ticket, self.queue_bytes)
    }

    /// Lists a log for the next flush.
    pub(super) fn mark_log(&mut self, id: LogId) {
        let log = &mut self.logs[id.0];
        if !log.dirty {
            log.dirty = true;
            self.dirty_logs.push(id);
            self.unwritten.note_change();
        }
    }

    /// Changes where a log's entries are, and nothing that anybody sees of it.
    pub(super) fn rehouse_log<T>(&mut self, id: LogId, change: impl FnOnce(&mut Log) -> T) -> T {
        let log = &mut self.logs[id.0];
        let bytes = log.bytes();
        let result = change(log);
        self.log_bytes = self.log_bytes + log.bytes() - bytes;
        result
    }

    /// Changes a log and keeps the books: memory, names, the next flush.
    pub(super) fn with_log<T>(&mut self, id: LogId, change: impl FnOnce(&mut Log) -> T) -> T {
        let existed = self.logs[id.0].exists();
        let result = self.rehouse_log(id, change);
        if self.logs[id.0].exists() != existed {
            let name = self.shown_name_of(id);
            if let Some(place) = self.keys.find(&name) {
                self.recount(place);
            }
        }
        self.mark_log(id);
        self.touched_log(id);
        result
    }

    /// What clients call the log here.
    pub(super) fn shown_name_of(&self, id: LogId) -> Vec<u8> {
        let log = &self.logs[id.0].name;
        let own = log.site == *self.origins.site(super::counter::SiteId::OWN);
        shown_name(log, own)
    }
}

/// What clients call a log here.
pub(crate) fn shown_name(log: &LogName, own: bool) -> Vec<u8> {
    if own {
        return log.name.to_vec();
    }
    [log.site.as_ref().as_bytes(), b".", &log.name].concat()
}
