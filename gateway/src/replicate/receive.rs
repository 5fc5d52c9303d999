//! Applies what a peer sends of one feed, on a thread of its own, and acknowledges each batch
//! once it is durable here.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use strait_transport::{LogPace, Received, Seq, SiteName};
use tokio::sync::mpsc;
use tracing::{debug, error, info, warn};

use super::message::Message;
use super::progress::{FeedProgress, Progress};
use super::refusals::{Again, Refusal, Teller};
use crate::grid::{
    Applied, ApplyError, Feed, Grid, Heard, LogName, LogPosition, Positions, Statement, Ticket,
    UnpackError, Unpacked,
};

/// How long to wait before a record is tried again that our own disk or memory refused.
const RETRY: Duration = Duration::from_millis(500);
/// From one telling of positions because of an origin that writes no more to the next.
const ASK_AGAIN: Duration = Duration::from_secs(60);

/// What the receiving half tells the shipping half.
#[derive(Debug)]
pub(super) enum Signal {
    /// The peer holds this: send what it lacks.
    Theirs(Positions),
    /// Tell the peer what we hold, so long from now.
    TellOurs(Duration),
    /// The peer does not take something of ours. Acknowledged when that is heeded.
    NotTaken(Refusal, Received),
    /// The peer has told all that we lacked when it was told so.
    HeardAll,
    /// The peer has links of its own to these sites.
    Linked(BTreeSet<SiteName>),
}

/// A batch that is applied, on its way to being durable.
struct Pending {
    ticket: Option<Ticket>,
    received: Received,
    /// What of it was not taken, if the peer is to hear of that first.
    refusal: Option<Refusal>,
    /// Never acknowledged: something was not taken, and the peer cannot be told.
    withheld: bool,
}

/// Starts the thread of one session; it ends when the returned sender is dropped. With a `teller` the
/// peer is told what is not taken.
/// What waits in the channels is bounded by what a peer may have unacknowledged.
pub(super) fn start(
    grid: Arc<Grid>,
    site: &SiteName,
    (feed, progress): (Feed, Arc<Progress>),
    (signals, teller): (mpsc::UnboundedSender<Signal>, Option<Teller>),
) -> mpsc::UnboundedSender<Received> {
    let (incoming, mut batches) = mpsc::unbounded_channel();
    let (pending, acks) = mpsc::unbounded_channel();
    let mut applier = Applier {
        grid: grid.clone(),
        site: site.clone(),
        feed,
        progress,
        signals,
        pending,
        heard: Heard::default(),
        theirs: Positions::default(),
        is_told: teller.is_some(),
        in_doubt: false,
        refusal: None,
        again: Again::default(),
        swept: false,
        asked: None,
        lines: LogPace::default(),
    };
    tokio::spawn(acknowledge(grid, acks, teller));
    let span = tracing::Span::current();
    let spawned = thread::Builder::new()
        .name(format!("{}-{site}", feed.name()))
        .spawn(move || {
            let _span = span.entered();
            while let Some(received) = batches.blocking_recv() {
                applier.handle(received);
            }
        });
    if let Err(error) = spawned {
        error!(%error, "no thread for the peer's records: nothing is applied until it reconnects");
    }
    incoming
}

struct Applier {
    grid: Arc<Grid>,
    /// The peer.
    site: SiteName,
    feed: Feed,
    progress: Arc<Progress>,
    signals: mpsc::UnboundedSender<Signal>,
    pending: mpsc::UnboundedSender<Pending>,
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
    /// What the peer did not tell was deleted: it is to hear what we hold now.
    swept: bool,
    /// When the peer was last told what we hold because of an origin that writes no more.
    asked: Option<Instant>,
    lines: LogPace,
}

impl Applier {
    fn progress(&self) -> &FeedProgress {
        self.progress.of(self.feed)
    }

    fn handle(&mut self, received: Received) {
        let mut ticket = None;
        match Message::decode(received.bytes.clone()) {
            Ok(Message::Positions { piece, end }) => self.positions(&piece, end),
            Ok(Message::Ask) => self.signal(Signal::TellOurs(Duration::ZERO)),
            Ok(Message::Records(records)) => ticket = self.records(received.seq, records),
            Ok(Message::CaughtUp) => {
                self.caught_up();
                if std::mem::take(&mut self.swept) {
                    self.signal(Signal::TellOurs(Duration::ZERO));
                }
            }
            Ok(Message::Begin) => self.in_doubt = false,
            Ok(Message::Linked(sites)) => self.signal(Signal::Linked(sites)),
            Ok(Message::Statement(said)) => self.statement(&said),
            Ok(Message::WholeBegins) => {
                info!(
                    "the peer tells all that it holds: what it does not tell was deleted meanwhile"
                );
                self.grid.begin_sweep(&self.site);
            }
            Ok(Message::WholeEnds(forgotten)) => self.end_sweep(received.seq, &forgotten),
            Err(error) => self.refuse(received.seq, &error.to_string()),
        }
        self.progress().heard_bytes(self.heard.bytes());
        // Closed only when the session ends: the peer then sends it again.
        drop(self.pending.send(Pending {
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
            if let Some(more) = self.lines.is_due(Instant::now()) {
                error!(%error, more, "the peer's positions are put aside");
            }
        }
        self.theirs.extend(self.grid.known_of(said));
        if end {
            let theirs = std::mem::take(&mut self.theirs);
            if self.is_told && self.feed == Feed::Counters {
                self.note_behind(&theirs);
            }
            self.signal(Signal::Theirs(theirs));
        }
    }

    /// A peer that may hold counters which were deleted and forgotten here is told all that is left, and
    /// nothing of it is taken before it has deleted what it was not told.
    fn note_behind(&mut self, theirs: &Positions) {
        let was_behind = self.grid.is_behind(&self.site);
        let is_behind = self.grid.hear_positions(&self.site, theirs);
        if was_behind && !is_behind {
            self.signal(Signal::TellOurs(Duration::ZERO));
        }
    }

    /// It counts only behind all that the peer sent before.
    fn statement(&mut self, said: &[u8]) {
        if self.in_doubt {
            return;
        }
        match Statement::decode(said) {
            Ok(said) => {
                if self.grid.hear_statement(&self.site, said) {
                    self.ask_for_ended();
                }
            }
            Err(error) => {
                if let Some(more) = self.lines.is_due(Instant::now()) {
                    error!(%error, more, "a statement of the peer is put aside");
                }
            }
        }
    }

    /// The peer holds more than we do of an origin that writes no more: it is told what we hold, now and
    /// then, so that it sends the rest.
    fn ask_for_ended(&mut self) {
        let now = Instant::now();
        if self.asked.is_none_or(|asked| now - asked > ASK_AGAIN) {
            self.asked = Some(now);
            self.signal(Signal::TellOurs(Duration::ZERO));
        }
    }

    /// Deletes what the peer did not tell, however often our own disk refuses that. Then it is told what
    /// we hold now, as it takes nothing of ours before.
    fn end_sweep(&mut self, seq: Seq, forgotten: &[u8]) {
        if self.in_doubt {
            // Something that it told may be missing.
            return self.grid.abandon_sweep(&self.site);
        }
        let mut positions = Positions::default();
        if let Err(error) = positions.extend_from(forgotten) {
            return self.refuse(seq, &error.to_string());
        }
        while let Err(error) = self.grid.end_sweep(&self.site, &positions) {
            if self.pending.is_closed() {
                return;
            }
            warn!(%error, "the peer's records wait");
            thread::sleep(RETRY);
        }
        self.swept = true;
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
        self.signal(Signal::HeardAll);
    }

    /// Applies records in order; returns the ticket of the last.
    fn records(&mut self, seq: Seq, packed: Vec<Bytes>) -> Option<Ticket> {
        if self.feed == Feed::Counters && self.grid.is_behind(&self.site) {
            self.doubt(
                seq,
                true,
                "the peer is first told what was deleted while it was away",
            );
            return None;
        }
        let mut last = None;
        for packed in packed {
            for record in self.unpack(seq, packed) {
                let record = match self.in_doubt {
                    true => record.without_promises(),
                    false => record,
                };
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
        self.progress().record_refused();
        if let Some(more) = self.lines.is_due(Instant::now()) {
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
        if let Some(more) = self.lines.is_due(Instant::now()) {
            warn!(%log, have = %have.last, more, "entries are missing; asking for them again");
        }
        match self.is_told {
            true => self.doubt(
                seq,
                true,
                &format!("log {log} has a gap after {}", have.last),
            ),
            // It counts for a moment as held what it is about to send again.
            false => self.signal(Signal::TellOurs(Duration::ZERO)),
        }
    }

    fn doubt(&mut self, seq: Seq, is_gap: bool, reason: &str) {
        if self.in_doubt {
            return;
        }
        self.in_doubt = true;
        self.progress().refusing(Some(reason.to_owned()));
        let after = self.again.after(is_gap);
        self.signal(Signal::TellOurs(after));
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
            match self.grid.unpack(&mut self.heard, packed.clone()) {
                Ok(records) => return records,
                Err(error @ UnpackError::Refused) if !self.pending.is_closed() => {
                    warn!(%error, "the peer's records wait");
                    thread::sleep(RETRY);
                }
                Err(error @ UnpackError::Forgotten) => {
                    self.doubt(seq, true, &error.to_string());
                    return Vec::new();
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
        let mut warned = false;
        loop {
            match self.grid.apply(&self.site, record.clone()) {
                Ok(applied) => {
                    debug!(
                        counters = applied.counters,
                        entries = applied.entries,
                        "applied"
                    );
                    return Ok(applied);
                }
                Err(ApplyError::Refused(reason)) if !self.pending.is_closed() => {
                    if !warned {
                        warn!(reason, "the peer's records wait");
                        warned = true;
                    }
                    thread::sleep(RETRY);
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn signal(&self, signal: Signal) {
        // Closed only when the session ends.
        drop(self.signals.send(signal));
    }
}

async fn acknowledge(
    grid: Arc<Grid>,
    mut pending: mpsc::UnboundedReceiver<Pending>,
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
