//! Applies what a peer sends of one feed, on a thread of its own, and acknowledges each batch
//! once it is durable here.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use strait_transport::{Received, Seq, SiteName, UNACKED_BATCHES_MAX};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tracing::{debug, error, warn};

use super::lines::About;
use super::message::Message;
use super::progress::{FeedProgress, Progress};
use super::refusals::{Again, Refusal, Teller};
use super::signals::{Signal, Signals};
use crate::grid::{
    Applied, ApplyError, Feed, Grid, Heard, LogName, LogPosition, Positions, Ticket, UnpackError,
    Unpacked,
};

/// How long to wait before a record is tried again that our own disk or memory refused.
const RETRY: Duration = Duration::from_millis(500);

/// A batch that is applied, on its way to being durable.
struct Pending {
    ticket: Option<Ticket>,
    received: Received,
    /// What of it was not taken, if the peer is to hear of that first.
    refusal: Option<Refusal>,
    /// Never acknowledged: something was not taken, and the peer cannot be told.
    withheld: bool,
}

/// The way to the thread of a session that applies one feed. What waits is a peer's unacknowledged
/// batches, in bytes and in number as many as the transport takes of them.
pub(super) struct Incoming {
    batches: mpsc::Sender<Received>,
    is_over: Arc<AtomicBool>,
    acknowledging: JoinHandle<()>,
}

impl Incoming {
    /// Never waits.
    pub(super) fn send(&self, received: Received) {
        // There is room for all that can be unacknowledged; the thread ends only with the session.
        drop(self.batches.try_send(received));
    }
}

impl Drop for Incoming {
    /// The thread ends with the record at hand. What waits, for the disk too, was not acknowledged: it
    /// comes again.
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        self.acknowledging.abort();
    }
}

/// Starts the thread of one session; it ends when what is returned is dropped. With a `teller` the
/// peer is told what is not taken.
pub(super) fn start(
    grid: Arc<Grid>,
    site: &SiteName,
    (feed, progress): (Feed, Arc<Progress>),
    (signals, teller): (Arc<Signals>, Option<Teller>),
) -> Incoming {
    let (batches, mut incoming) = mpsc::channel(UNACKED_BATCHES_MAX);
    let (pending, acks) = mpsc::channel(UNACKED_BATCHES_MAX);
    let is_over = Arc::<AtomicBool>::default();
    let mut applier = Applier {
        grid: grid.clone(),
        site: site.clone(),
        feed,
        progress,
        signals,
        pending,
        is_over: is_over.clone(),
        heard: Heard::default(),
        theirs: Positions::default(),
        is_told: teller.is_some(),
        in_doubt: false,
        refusal: None,
        again: Again::default(),
    };
    let acknowledging = tokio::spawn(acknowledge(grid, acks, teller));
    let span = tracing::Span::current();
    let spawned = thread::Builder::new()
        .name(format!("{}-{site}", feed.name()))
        .spawn(move || {
            let _span = span.entered();
            while let Some(received) = incoming.blocking_recv()
                && !applier.is_over()
            {
                applier.handle(received);
            }
        });
    if let Err(error) = spawned {
        error!(%error, "no thread for the peer's records: nothing is applied until it reconnects");
    }
    Incoming {
        batches,
        is_over,
        acknowledging,
    }
}

struct Applier {
    grid: Arc<Grid>,
    /// The peer.
    site: SiteName,
    feed: Feed,
    progress: Arc<Progress>,
    signals: Arc<Signals>,
    pending: mpsc::Sender<Pending>,
    /// The session has ended.
    is_over: Arc<AtomicBool>,
    /// What the peer said in this session.
    heard: Heard,
    /// What the peer said so far of its positions: at most as much as is held here.
    theirs: Positions,
    /// The peer understands what it is told of what is not taken.
    is_told: bool,
    /// Something was not taken since the peer last began from our positions.
    in_doubt: bool,
    /// What of the batch at hand is to be told.
    refusal: Option<Refusal>,
    again: Again,
}

impl Applier {
    fn progress(&self) -> &FeedProgress {
        self.progress.of(self.feed)
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    fn handle(&mut self, received: Received) {
        self.progress().applying.beat();
        self.take(received);
        self.progress().applying.rest();
    }

    fn take(&mut self, received: Received) {
        let mut ticket = None;
        match Message::decode(received.bytes.clone()) {
            Ok(Message::Positions { piece, end }) => self.positions(&piece, end),
            Ok(Message::Ask) => self.signals.tell(Signal::TellOurs(Instant::now())),
            Ok(Message::Records(records)) => ticket = self.records(received.seq, records),
            Ok(Message::CaughtUp) => self.caught_up(),
            Ok(Message::Begin) => self.in_doubt = false,
            Ok(Message::Linked(sites)) => self.signals.tell(Signal::Linked(sites)),
            Err(error) => self.refuse(received.seq, &error.to_string()),
        }
        self.progress().heard_bytes(self.heard.bytes());
        if self.is_over() {
            return;
        }
        // There is room: no more than this can be unacknowledged.
        drop(self.pending.try_send(Pending {
            ticket,
            received,
            refusal: self.refusal.take().filter(|_| self.is_told),
            withheld: self.in_doubt && !self.is_told,
        }));
    }

    fn positions(&mut self, piece: &Bytes, end: bool) {
        let mut said = Positions::default();
        if let Err(error) = said.extend_from(piece) {
            // It is sent more than it lacks.
            self.progress().record_refused();
            if let Some(more) = self.progress.lines.is_due(About::Positions) {
                error!(%error, more, "the peer's positions are put aside");
            }
        }
        self.theirs.extend(self.grid.known_of(said));
        if end {
            let theirs = std::mem::take(&mut self.theirs);
            self.signals.tell(Signal::Theirs(theirs));
        }
    }

    /// The peer has told all that we lacked by our positions. If something of it was not taken, it has not.
    fn caught_up(&mut self) {
        if self.in_doubt {
            return;
        }
        self.again.reset();
        self.progress().refusing(None);
        self.progress().heard_all(true);
        self.grid.heard(&self.site, self.feed);
        self.signals.tell(Signal::HeardAll);
    }

    /// Applies records in order; returns the ticket of the last.
    fn records(&mut self, seq: Seq, packed: Vec<Bytes>) -> Option<Ticket> {
        let mut last = None;
        for packed in packed {
            for record in self.unpack(seq, packed) {
                let record = match self.in_doubt {
                    true => record.without_promises(),
                    false => record,
                };
                self.progress().applying.beat();
                match self.apply(record) {
                    Ok(applied) => {
                        self.progress().record_applied();
                        last = Some(applied.ticket);
                    }
                    Err(ApplyError::Gap { log, have }) => self.gap(seq, &log, have),
                    Err(error) => self.refuse(seq, &error.to_string()),
                }
            }
        }
        last
    }

    /// Something of a batch is not taken: nothing of the feed counts from there on until the peer begins
    /// anew, which it is asked to.
    fn refuse(&mut self, seq: Seq, why: &str) {
        if self.is_over() {
            // Given up in the middle: it comes again.
            return;
        }
        self.progress().record_refused();
        if let Some(more) = self.progress.lines.is_due(About::Records) {
            error!(
                feed = self.feed.name(),
                reason = why,
                more,
                "what the peer sends is not taken, nor confirmed from there on"
            );
        }
        self.doubt(seq, false, why);
    }

    fn gap(&mut self, seq: Seq, log: &LogName, have: LogPosition) {
        self.progress().gap();
        if self.in_doubt {
            // Most likely because of what was not taken before.
            return;
        }
        if let Some(more) = self.progress.lines.is_due(About::Gap) {
            warn!(%log, have = %have.last, more, "entries are missing; asking for them again");
        }
        match self.is_told {
            true => self.doubt(
                seq,
                true,
                &format!("log {log} has a gap after {}", have.last),
            ),
            // It counts for a moment as held what it is about to send again.
            false => self.signals.tell(Signal::TellOurs(Instant::now())),
        }
    }

    fn doubt(&mut self, seq: Seq, is_gap: bool, reason: &str) {
        if self.in_doubt {
            return;
        }
        self.in_doubt = true;
        self.progress().refusing(Some(reason.to_owned()));
        let at = Instant::now() + self.again.after(is_gap);
        self.signals.tell(Signal::TellOurs(at));
        self.refusal = Some(Refusal {
            feed: self.feed,
            seq,
            is_gap,
            reason: reason.to_owned(),
        });
    }

    /// The records that were sent as `packed`; none if it cannot be read.
    fn unpack(&mut self, seq: Seq, packed: Bytes) -> Vec<Unpacked> {
        loop {
            match self
                .grid
                .unpack(&self.site, &mut self.heard, packed.clone())
            {
                Ok(records) => return records,
                Err(error @ UnpackError::Refused) if !self.is_over() => {
                    self.wait(&error);
                }
                Err(error) => {
                    self.refuse(seq, &error.to_string());
                    return Vec::new();
                }
            }
        }
    }

    /// Applies one record, however often our own disk or memory refuses it: the peer
    /// waits meanwhile, and nothing is lost.
    fn apply(&self, record: Unpacked) -> Result<Applied, ApplyError> {
        loop {
            match self.apply_once(record.clone()) {
                Ok(applied) => {
                    debug!(
                        counters = applied.counters,
                        entries = applied.entries,
                        "applied"
                    );
                    return Ok(applied);
                }
                Err(ApplyError::Refused(reason)) if !self.is_over() => self.wait(&reason),
                Err(error) => return Err(error),
            }
        }
    }

    /// Of a log it may have to read what is on disk.
    fn apply_once(&self, record: Unpacked) -> Result<Applied, ApplyError> {
        let apply = || self.grid.apply(&self.site, record);
        match self.feed {
            Feed::Counters => apply(),
            Feed::Logs => self.progress().applying.on_disk(apply),
        }
    }

    /// Until our own disk or memory may take what it refused.
    fn wait(&self, reason: &dyn std::fmt::Display) {
        if let Some(more) = self.progress.lines.is_due(About::Waiting) {
            warn!(%reason, more, "the peer's records wait");
        }
        thread::sleep(RETRY);
        self.progress().applying.beat();
    }
}

async fn acknowledge(
    grid: Arc<Grid>,
    mut pending: mpsc::Receiver<Pending>,
    mut teller: Option<Teller>,
) {
    let mut withheld = false;
    while let Some(batch) = pending.recv().await {
        withheld |= batch.withheld;
        if withheld {
            continue;
        }
        if let Some(ticket) = batch.ticket {
            grid.durable(ticket).await;
        }
        if let (Some(refusal), Some(teller)) = (&batch.refusal, &mut teller) {
            // Else the peer would take the acknowledgement for a confirmation.
            withheld = !teller.tell(refusal).await;
        }
        if !withheld {
            batch.received.ack();
        }
    }
}
