//! Sends a peer what it lacks: first by a scan, then flush by flush.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use strait_transport::{Class, LinkHandle, OutStream, SendError, Seq, SiteName};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::{Instrument, debug, info, warn};

use super::Rooms;
use super::floors::Floors;
use super::message::{self, RecordPacker};
use super::neighbours::Neighbours;
use super::progress::{Kind, Progress};
use super::receive::Signal;
use crate::grid::{
    EntryId, Epoch, FlushNumber, Flushed, Grid, LogName, LogPosition, Positions, RECORD_BYTES_MAX,
    Relayed, Sent,
};
use crate::streams::StreamOpen;

/// Flushes on their way to the peer. While it is slow, or away, further ones wait and
/// then go together: fewer, larger batches compress better and cost less to encode.
const UNACKED_MAX: usize = 16;
/// How often what the peer holds is noted, so that trimmed entries may be forgotten.
const FLOOR_EVERY: Duration = Duration::from_secs(1);
/// How long to wait before a catch-up is tried again that our own disk held up.
const RETRY: Duration = Duration::from_millis(500);

/// Starts shipping in a new session; it ends with the session.
pub(super) fn start(
    rooms: &Rooms,
    link: LinkHandle,
    progress: Arc<Progress>,
    signals: mpsc::UnboundedReceiver<Signal>,
) -> JoinHandle<()> {
    let rooms = rooms.clone();
    let task = async move {
        let ended = match link.open(Class::Interactive, StreamOpen::Grid.encode()) {
            Ok(out) => {
                Shipper::new(rooms, link, out, progress, signals)
                    .run()
                    .await
            }
            Err(error) => Err(error),
        };
        if let Err(error) = ended {
            debug!(%error, "shipping ends");
        }
    };
    tokio::spawn(task.in_current_span())
}

struct Shipper {
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
    packer: RecordPacker,
    /// What the peer was told since it last said what it holds.
    sent: Sent,
    /// Batches that complete a flush, until they are acknowledged.
    unacked: VecDeque<(Seq, Mark)>,
    floor: Floor,
}

/// Up to where the peer then holds everything.
#[derive(Clone, Copy)]
struct Mark {
    flush: FlushNumber,
    epoch: Epoch,
}

/// What the peer will hold of our logs once it has acknowledged a flush.
struct Floor {
    next: Option<(FlushNumber, Vec<(LogName, EntryId)>)>,
    taken: Instant,
}

impl Shipper {
    fn new(
        rooms: Rooms,
        link: LinkHandle,
        out: OutStream,
        progress: Arc<Progress>,
        signals: mpsc::UnboundedReceiver<Signal>,
    ) -> Self {
        let Rooms {
            grid,
            floors,
            neighbours,
            ..
        } = rooms;
        Self {
            flushes: grid.subscribe_flushes(),
            known: neighbours.subscribe(),
            neighbours,
            told: BTreeSet::new(),
            linked: BTreeSet::new(),
            grid,
            floors,
            link,
            out,
            progress,
            signals,
            packer: RecordPacker::default(),
            sent: Sent::default(),
            unacked: VecDeque::new(),
            floor: Floor {
                next: None,
                taken: Instant::now(),
            },
        }
    }

    async fn run(mut self) -> Result<(), SendError> {
        self.told = self.neighbours_now();
        self.out.send(message::linked(&self.told), false).await?;
        self.tell_positions().await?;
        let theirs = self.their_positions().await?;
        let mut theirs = self.hear_out(theirs).await?;
        loop {
            let shipped = self.catch_up(theirs).await?;
            theirs = match self.follow(shipped).await? {
                Some(theirs) => theirs,
                None => {
                    info!("too far behind for single flushes: asking what the peer holds");
                    self.out.send(message::ask(), false).await?;
                    self.their_positions().await?
                }
            };
        }
    }

    async fn tell_positions(&mut self) -> Result<(), SendError> {
        let pieces = self.grid.positions_for(self.link.site()).encode();
        let last = pieces.len().saturating_sub(1);
        for (index, piece) in pieces.iter().enumerate() {
            let batch = message::positions(piece, index == last);
            self.out.send(batch, false).await?;
        }
        Ok(())
    }

    /// The sites that we have links to, but the peer.
    fn neighbours_now(&mut self) -> BTreeSet<SiteName> {
        let mut known = self.known.borrow_and_update().clone();
        known.remove(self.link.site());
        known
    }

    /// Tells the peer which links we have. What a link that is gone would have carried comes
    /// from the peer instead, from where we are.
    async fn tell_neighbours(&mut self) -> Result<(), SendError> {
        let known = self.neighbours_now();
        if known == self.told {
            return Ok(());
        }
        let lost = !self.told.is_subset(&known);
        self.out.send(message::linked(&known), false).await?;
        self.told = known;
        if lost {
            self.tell_positions().await?;
        }
        Ok(())
    }

    /// Waits until the peer says what it holds.
    async fn their_positions(&mut self) -> Result<Positions, SendError> {
        loop {
            match self.signals.recv().await {
                Some(Signal::Theirs(theirs)) => return Ok(theirs),
                Some(Signal::TellOurs) => self.tell_positions().await?,
                Some(Signal::Linked(sites)) => self.linked = sites,
                Some(Signal::HeardAll) => {}
                None => return Err(SendError::Closed),
            }
        }
    }

    /// Waits until a peer that holds counters of ours which our journal lost has told them: what we
    /// counted since would take their place there. What the peer holds then.
    async fn hear_out(&mut self, mut theirs: Positions) -> Result<Positions, SendError> {
        if !self.grid.lacks_own(&theirs) {
            return Ok(theirs);
        }
        warn!(
            "our journal lost counters that the peer holds: it is heard before it is told of ours"
        );
        // It does not wait for us likewise: it heard what we lost before it wrote what it may have lost.
        loop {
            match self.signals.recv().await {
                Some(Signal::Theirs(newer)) => theirs = newer,
                Some(Signal::TellOurs) => self.tell_positions().await?,
                Some(Signal::Linked(sites)) => self.linked = sites,
                Some(Signal::HeardAll) => return Ok(theirs),
                None => return Err(SendError::Closed),
            }
        }
    }

    /// Sends everything that somebody at `theirs` lacks; returns the flush that is
    /// complete with it.
    async fn catch_up(&mut self, theirs: Positions) -> Result<FlushNumber, SendError> {
        self.progress.catching_up(true);
        self.grid.set_peer_holds(self.link.site(), &theirs);
        self.sent = Sent::default();
        let mark = self.scan_counters(&theirs).await?;
        for (log, position) in self.grid.logs() {
            self.catch_up_log(&log, theirs.log(&log), position).await?;
        }
        self.finish_batch(mark).await?;
        self.out.send(message::caught_up(), false).await?;
        self.progress.catching_up(false);
        debug!(flush = %mark.flush, "the peer was sent what it lacked");
        Ok(mark.flush)
    }

    async fn scan_counters(&mut self, theirs: &Positions) -> Result<Mark, SendError> {
        let mut scan = self.grid.scan_counters(theirs);
        loop {
            let step;
            (scan, step) = blocking(move || {
                let step = scan.next(RECORD_BYTES_MAX);
                (scan, step)
            })
            .await?;
            match step {
                Ok(Some(record)) => self.push(Kind::Counters, &record).await?,
                Ok(None) => {
                    let (flush, epoch) = scan.complete_to();
                    return Ok(Mark { flush, epoch });
                }
                Err(error) => {
                    warn!(%error, "catching up waits");
                    tokio::time::sleep(RETRY).await;
                    scan = self.grid.scan_counters(theirs);
                }
            }
        }
    }

    async fn catch_up_log(
        &mut self,
        log: &LogName,
        mut have: LogPosition,
        until: LogPosition,
    ) -> Result<(), SendError> {
        while !have.covers(&until) {
            let (grid, name) = (self.grid.clone(), log.clone());
            let next = blocking(move || grid.log_after(&name, have, RECORD_BYTES_MAX)).await?;
            let Some((record, now)) = next else { break };
            self.push(Kind::Logs, &record).await?;
            have = now;
        }
        Ok(())
    }

    /// Sends each flush as it becomes durable. Ends with new positions when the peer
    /// tells them, or with none when it is too far behind for this.
    async fn follow(&mut self, mut shipped: FlushNumber) -> Result<Option<Positions>, SendError> {
        loop {
            let durable = *self.flushes.borrow_and_update();
            if self.unacked.len() < UNACKED_MAX {
                match self.ship_flushes(shipped, durable).await? {
                    Some(flush) => shipped = flush,
                    None => return Ok(None),
                }
            }
            self.take_floor();
            let oldest = self.unacked.front().map(|(seq, _)| *seq);
            tokio::select! {
                changed = self.flushes.changed() => changed.map_err(|_| SendError::Closed)?,
                signal = self.signals.recv() => match signal {
                    Some(Signal::Theirs(theirs)) => return Ok(Some(theirs)),
                    Some(Signal::TellOurs) => self.tell_positions().await?,
                    Some(Signal::Linked(sites)) => self.linked = sites,
                    Some(Signal::HeardAll) => {}
                    None => return Err(SendError::Closed),
                },
                changed = self.known.changed() => {
                    changed.map_err(|_| SendError::Closed)?;
                    self.tell_neighbours().await?;
                }
                acked = acked(&self.out, oldest), if oldest.is_some() => {
                    acked?;
                    self.handle_acked();
                }
            }
        }
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
            let Some(flushed) = self.grid.flushed(flush) else {
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
        let grid = self.grid.clone();
        let (counters, flushes) = blocking(move || (grid.fold(&flushes), flushes)).await?;
        let mut sent = !counters.is_empty();
        for record in &counters {
            self.push(Kind::Counters, record).await?;
        }
        for flushed in flushes {
            for record in &flushed.logs {
                self.push(Kind::Logs, record).await?;
                sent = true;
            }
            for relayed in &flushed.relayed {
                for record in self.relay(relayed) {
                    self.push(Kind::of(relayed), &record).await?;
                    sent = true;
                }
            }
        }
        Ok(sent)
    }

    fn relay(&self, relayed: &Relayed) -> Vec<Bytes> {
        if !self.neighbours.relays() {
            return Vec::new();
        }
        self.grid.relay(relayed, self.link.site(), &self.linked)
    }

    async fn push(&mut self, kind: Kind, record: &Bytes) -> Result<(), SendError> {
        self.progress.record_sent(kind);
        let (grid, record) = (self.grid.clone(), record.clone());
        let mut sent = std::mem::take(&mut self.sent);
        let packed;
        (self.sent, packed) = blocking(move || {
            let packed = grid.pack(&mut sent, &record);
            (sent, packed)
        })
        .await?;
        if let Some(batch) = self.packer.push(&packed) {
            self.out.send(batch, false).await?;
        }
        Ok(())
    }

    /// Sends what is left; once it is acknowledged the peer holds everything up to `mark`.
    async fn finish_batch(&mut self, mark: Mark) -> Result<(), SendError> {
        // Without a record the peer held it all already; an empty list carries the mark.
        let batch = self.packer.finish().unwrap_or_else(message::no_records);
        let seq = self.out.send(batch, false).await?;
        self.unacked.push_back((seq, mark));
        self.progress.shipped(mark.flush);
        Ok(())
    }

    /// The peer needs nothing of the flushes up to `mark`.
    fn skip_to(&mut self, mark: Mark) {
        self.progress.shipped(mark.flush);
        match self.unacked.back_mut() {
            Some((_, last)) => *last = mark,
            None => self.note_held(mark),
        }
    }

    fn handle_acked(&mut self) {
        if let Some((_, mark)) = self.unacked.pop_front() {
            self.note_held(mark);
        }
    }

    /// The peer durably holds everything up to `mark`.
    fn note_held(&mut self, Mark { flush, epoch }: Mark) {
        self.progress.acked(flush);
        self.grid.set_peer_acked(self.link.site(), epoch);
        if let Some((_, logs)) = self.floor.next.take_if(|(needed, _)| *needed <= flush) {
            self.floors.raise(self.link.site(), logs);
        }
    }

    /// Notes now and then what our logs hold, to raise the floor when the peer has it.
    fn take_floor(&mut self) {
        if self.floor.next.is_some() || self.floor.taken.elapsed() < FLOOR_EVERY {
            return;
        }
        self.floor.taken = Instant::now();
        let kept = self.grid.logs_kept_for_peers();
        if !kept.is_empty() {
            self.floor.next = Some((*self.flushes.borrow(), kept));
        }
    }
}

/// Waits for an acknowledgement, if there is one to wait for.
async fn acked(out: &OutStream, seq: Option<Seq>) -> Result<(), SendError> {
    match seq {
        Some(seq) => out.acked(seq).await,
        None => std::future::pending().await,
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
