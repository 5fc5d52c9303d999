//! Sends a peer what it lacks of one feed: first by a scan, then flush by flush.

mod attend;
mod floor;
mod pace;
mod statements;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use strait_transport::{Class, LinkHandle, LogPace, OutStream, SendError, Seq, SiteName};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tracing::{Instrument, debug, error, info, warn};

use super::Rooms;
use super::floors::Floors;
use super::message::{self, RecordPacker};
use super::neighbours::Neighbours;
use super::progress::{FeedProgress, Progress};
use super::receive::Signal;
use super::refusals::Refusal;
use crate::grid::{
    Epoch, Feed, FlushNumber, Flushed, Grid, LogName, LogPosition, Positions, RECORD_BYTES_MAX,
    Relayed, Sent,
};
use crate::streams::StreamOpen;
use floor::Floor;
use pace::Pace;
use statements::Statements;

/// Flushes on their way to the peer. While it is slow, or away, further ones wait and
/// then go together: fewer, larger batches compress better and cost less to encode.
const UNACKED_MAX: usize = 16;
/// How long to wait before a catch-up is tried again that our own disk held up.
const RETRY: Duration = Duration::from_millis(500);

/// Starts shipping in a new session; it ends with the session.
pub(super) fn start(
    rooms: &Rooms,
    (link, is_told): (LinkHandle, bool),
    (feed, progress): (Feed, Arc<Progress>),
    signals: mpsc::UnboundedReceiver<Signal>,
) -> JoinHandle<()> {
    let rooms = rooms.clone();
    let task = async move {
        let open = StreamOpen::Grid { feed };
        let ended = match link.open(Class::Interactive, open.encode()) {
            Ok(out) => {
                let mut shipper = Shipper::new(rooms, (link, out), (feed, progress), signals);
                shipper.says_begin = is_told;
                shipper.statements = Statements::new(is_told && feed == Feed::Counters);
                shipper.run().await
            }
            Err(error) => Err(error),
        };
        if let Err(error) = ended {
            debug!(%error, feed = feed.name(), "shipping ends");
        }
    };
    tokio::spawn(task.in_current_span())
}

struct Shipper {
    feed: Feed,
    grid: Arc<Grid>,
    floors: Arc<Floors>,
    link: LinkHandle,
    out: OutStream,
    progress: Arc<Progress>,
    signals: mpsc::UnboundedReceiver<Signal>,
    flushes: watch::Receiver<FlushNumber>,
    neighbours: Arc<Neighbours>,
    /// Our neighbours, as they come and go.
    known: watch::Receiver<BTreeSet<SiteName>>,
    /// The sites that the peer last heard we have links to, itself left out.
    told: BTreeSet<SiteName>,
    /// The sites that the peer has links to.
    linked: BTreeSet<SiteName>,
    /// What the peer said last that it holds, if that is still to be heeded.
    theirs: Option<Positions>,
    /// The peer has told all that we lacked when the session began.
    heard_all: bool,
    /// Logs of which the peer could not be sent all: some of it is lost here.
    held_up: u64,
    /// Moves when something that was lost is here again.
    mended: watch::Receiver<u64>,
    packer: RecordPacker,
    pace: Pace,
    /// What the peer was told since it last said what it holds.
    sent: Sent,
    /// Batches that complete a flush, until they are acknowledged.
    unacked: VecDeque<(Seq, Mark)>,
    floor: Floor,
    /// The peer understands where a catch-up begins.
    says_begin: bool,
    /// The batch with which the last one began.
    begun: Seq,
    /// The peer did not take something since: nothing more counts as held there until the next.
    is_refused: bool,
    lines: LogPace,
    /// When the peer is told again what we hold.
    retell: Option<Instant>,
    statements: Statements,
}

/// Up to where the peer then holds everything.
#[derive(Clone, Copy)]
struct Mark {
    flush: FlushNumber,
    epoch: Epoch,
}

impl Shipper {
    fn new(
        rooms: Rooms,
        (link, out): (LinkHandle, OutStream),
        (feed, progress): (Feed, Arc<Progress>),
        signals: mpsc::UnboundedReceiver<Signal>,
    ) -> Self {
        let Rooms {
            grid,
            floors,
            neighbours,
            ..
        } = rooms;
        Self {
            feed,
            flushes: grid.subscribe_flushes(),
            known: neighbours.subscribe(),
            neighbours,
            told: BTreeSet::new(),
            linked: BTreeSet::new(),
            theirs: None,
            heard_all: false,
            held_up: 0,
            mended: grid.subscribe_mended(),
            grid,
            floors,
            link,
            out,
            progress,
            signals,
            packer: RecordPacker::default(),
            pace: Pace::default(),
            sent: Sent::default(),
            unacked: VecDeque::new(),
            floor: Floor::default(),
            says_begin: false,
            begun: Seq(0),
            is_refused: false,
            lines: LogPace::default(),
            retell: None,
            statements: Statements::new(false),
        }
    }

    fn progress(&self) -> &FeedProgress {
        self.progress.of(self.feed)
    }

    async fn run(mut self) -> Result<(), SendError> {
        self.told = self.neighbours_now();
        self.out.send(message::linked(&self.told), false).await?;
        self.tell_positions().await?;
        let theirs = self.their_positions().await?;
        let site = self.link.site();
        self.grid.set_peer_holds(site, self.feed, &theirs);
        let mut theirs = self.hear_out(theirs).await?;
        loop {
            if let Some(shipped) = self.catch_up(&theirs).await? {
                self.follow(shipped).await?;
            }
            theirs = self.their_positions().await?;
        }
    }

    /// Sends everything that somebody at `theirs` lacks; returns the flush that is complete with it.
    /// None if the peer says meanwhile what else it holds of logs: what goes on then may be of no use.
    async fn catch_up(&mut self, theirs: &Positions) -> Result<Option<FlushNumber>, SendError> {
        self.progress().catching_up(true);
        self.sent = Sent::default();
        self.packer = RecordPacker::default();
        if self.says_begin {
            self.begun = self.out.send(message::begin(), false).await?;
            self.is_refused = false;
        }
        self.statements.begin_anew();
        (self.held_up, _) = (0, self.mended.borrow_and_update());
        let mark = match self.feed {
            Feed::Counters => Some(self.scan_counters(theirs).await?),
            Feed::Logs => self.scan_logs(theirs).await?,
        };
        let Some(mark) = mark else { return Ok(None) };
        self.finish_batch(mark).await?;
        self.out.send(message::caught_up(), false).await?;
        self.progress().catching_up(false);
        debug!(flush = %mark.flush, "the peer was sent what it lacked");
        Ok(Some(mark.flush))
    }

    async fn scan_counters(&mut self, theirs: &Positions) -> Result<Mark, SendError> {
        let mut scan = self.begin_scan(theirs).await?;
        loop {
            let step;
            (scan, step) = blocking(move || {
                let step = scan.next(RECORD_BYTES_MAX);
                (scan, step)
            })
            .await?;
            match step {
                Ok(Some(record)) => self.push(&record).await?,
                Ok(None) => {
                    self.end_scan(&scan).await?;
                    let (flush, epoch) = scan.complete_to();
                    return Ok(Mark { flush, epoch });
                }
                Err(error) => {
                    warn!(%error, "catching up waits");
                    tokio::time::sleep(RETRY).await;
                    self.attend().await?;
                    scan = self.begin_scan(theirs).await?;
                }
            }
        }
    }

    async fn scan_logs(&mut self, theirs: &Positions) -> Result<Option<Mark>, SendError> {
        let (flush, epoch) = self.grid.flushed_to();
        let mut logs = Vec::new();
        for (log, position) in self.grid.logs() {
            let mut have = theirs.log(&log);
            // Of all logs first, as the peer may need the room for what follows.
            if let Some((trim, reached)) = self.grid.trim_after(&log, have) {
                self.push(&trim).await?;
                have = reached;
            }
            logs.push((log, have, position));
        }
        for (log, have, position) in logs {
            self.catch_up_log(&log, have, position).await?;
        }
        self.progress().held_up(self.held_up);
        Ok(self.theirs.is_none().then_some(Mark { flush, epoch }))
    }

    async fn catch_up_log(
        &mut self,
        log: &LogName,
        mut have: LogPosition,
        until: LogPosition,
    ) -> Result<(), SendError> {
        while self.theirs.is_none() && !have.covers(&until) {
            let (grid, name) = (self.grid.clone(), log.clone());
            let next = blocking(move || grid.log_after(&name, have, RECORD_BYTES_MAX)).await?;
            let Some((record, now)) = next else {
                self.held_up += 1;
                break;
            };
            self.push(&record).await?;
            have = now;
        }
        Ok(())
    }

    /// Sends each flush as it becomes durable, until the peer says what it holds. It is asked to when it
    /// is too far behind for this.
    async fn follow(&mut self, mut shipped: FlushNumber) -> Result<(), SendError> {
        while self.theirs.is_none() {
            self.make_statements(shipped).await?;
            let durable = *self.flushes.borrow_and_update();
            if shipped < durable && self.unacked.len() < UNACKED_MAX {
                let Some(flush) = self.ship_flushes(shipped, durable).await? else {
                    info!(
                        feed = self.feed.name(),
                        "too far behind for single flushes: asking what the peer holds"
                    );
                    self.out.send(message::ask(), false).await?;
                    break;
                };
                shipped = flush;
            } else {
                let event = self.event(None).await?;
                self.handle(event).await?;
            }
        }
        Ok(())
    }

    /// Sends the flushes after `shipped`; none when one of them is not kept any more.
    async fn ship_flushes(
        &mut self,
        shipped: FlushNumber,
        durable: FlushNumber,
    ) -> Result<Option<FlushNumber>, SendError> {
        let mut flushes = Vec::new();
        let mut flush = shipped;
        while flush < durable {
            flush = flush.next();
            let Some(flushed) = self.grid.flushed(self.feed, flush) else {
                return Ok(None);
            };
            flushes.push(flushed);
        }
        if let Some(last) = flushes.last() {
            let epoch = last.epoch;
            let mark = Mark { flush, epoch };
            match self.ship(flushes).await? {
                true => self.finish_batch(mark).await?,
                false => self.skip_to(mark),
            }
        }
        Ok(Some(flush))
    }

    /// Sends what of these flushes the peer needs from us; whether there was anything.
    async fn ship(&mut self, flushes: Vec<Arc<Flushed>>) -> Result<bool, SendError> {
        let (feed, grid) = (self.feed, self.grid.clone());
        let of_ours = move || {
            let records = match feed {
                Feed::Counters => grid.fold(&flushes),
                Feed::Logs => flushes.iter().flat_map(|f| f.records.clone()).collect(),
            };
            (records, flushes)
        };
        let (mut records, flushes) = blocking(of_ours).await?;
        let relayed = flushes.iter().flat_map(|flushed| &flushed.relayed);
        records.extend(relayed.flat_map(|relayed| self.relay(relayed)));
        for record in &records {
            self.push(record).await?;
        }
        Ok(!records.is_empty())
    }

    fn relay(&self, relayed: &Relayed) -> Vec<Bytes> {
        if !self.neighbours.relays() {
            return Vec::new();
        }
        self.grid.relay(relayed, self.link.site(), &self.linked)
    }

    async fn push(&mut self, record: &Bytes) -> Result<(), SendError> {
        self.attend().await?;
        self.progress().record_sent();
        let (grid, record) = (self.grid.clone(), record.clone());
        let mut sent = std::mem::take(&mut self.sent);
        let packed;
        (self.sent, packed) = blocking(move || {
            let packed = grid.pack(&mut sent, &record);
            (sent, packed)
        })
        .await?;
        self.progress().sent_bytes(self.sent.bytes());
        if let Some(batch) = self.packer.push(&packed) {
            self.send(batch).await?;
        }
        Ok(())
    }

    /// Sends a batch of records as soon as its turn has come.
    async fn send(&mut self, batch: Bytes) -> Result<Seq, SendError> {
        while let Some(oldest) = self.pace.oldest() {
            if self.out.is_acked(oldest)? {
                self.pace.forget_oldest();
            } else if self.pace.has_room(batch.len()) {
                break;
            } else {
                let event = self.event(Some(oldest)).await?;
                self.handle(event).await?;
            }
        }
        let len = batch.len();
        let seq = self.out.send(batch, false).await?;
        self.pace.sent(seq, len, Instant::now());
        Ok(seq)
    }

    /// Sends what is left; once it is acknowledged the peer holds everything up to `mark`.
    async fn finish_batch(&mut self, mark: Mark) -> Result<(), SendError> {
        // Without a record the peer held it all already; an empty list carries the mark.
        let batch = self.packer.finish().unwrap_or_else(message::no_records);
        let seq = self.send(batch).await?;
        if !self.is_refused {
            self.unacked.push_back((seq, mark));
        }
        self.shipped(mark.flush);
        Ok(())
    }

    fn shipped(&mut self, flush: FlushNumber) {
        self.progress().shipped(flush);
        if self.feed == Feed::Logs {
            self.floor.shipped();
        }
    }

    /// The peer needs nothing of the flushes up to `mark`.
    fn skip_to(&mut self, mark: Mark) {
        self.shipped(mark.flush);
        match self.unacked.back_mut() {
            // What is between an older batch and this was not taken.
            Some(_) | None if self.is_refused => {}
            Some((_, last)) => *last = mark,
            None => self.note_held(mark),
        }
    }

    /// The peer did not take all of a batch: what was sent from there on, until a catch-up begins that
    /// sends it again, does not count as held there.
    fn not_taken(&mut self, refusal: &Refusal) {
        let (seq, begun) = (refusal.seq, self.begun);
        self.unacked
            .retain(|(marked, _)| *marked < seq || (seq < begun && *marked >= begun));
        self.is_refused |= seq >= begun;
        let (feed, reason) = (self.feed.name(), &refusal.reason);
        if refusal.is_gap {
            return info!(feed, reason, "the peer asks for what it lacks");
        }
        self.progress()
            .refused_by_peer(Some(refusal.reason.clone()));
        if let Some(more) = self.lines.is_due(Instant::now()) {
            error!(
                feed,
                reason,
                more,
                "the peer does not take what it is sent: it confirms nothing from there on"
            );
        }
    }

    /// The peer durably holds everything up to `mark`.
    fn note_held(&mut self, Mark { flush, epoch }: Mark) {
        self.progress().acked(flush);
        if !self.is_refused {
            self.progress().refused_by_peer(None);
        }
        let site = self.link.site();
        self.grid.set_peer_acked(site, self.feed, epoch);
        let held = self.floor.acked(flush);
        self.raise_floor(held);
    }

    /// Notes what our logs hold, to raise the floor when the peer has it.
    fn take_floor(&mut self) {
        let kept = self.grid.logs_kept_for_peers();
        // After it: a flush that is counted too early only delays the floor.
        let (flush, _) = self.grid.flushed_to();
        let held = self.floor.take(flush, kept, Instant::now());
        self.raise_floor(held);
    }

    fn raise_floor(&self, held: Option<floor::Held>) {
        if let Some(logs) = held {
            self.floors.raise(self.link.site(), logs);
        }
    }
}

/// Runs what takes long away from tokio's threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, SendError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| SendError::Closed)
}
