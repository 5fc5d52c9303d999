//! Applies what a peer sends of one feed, on a thread of its own, and acknowledges each batch
//! once it is durable here.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use strait_transport::{Received, SiteName};
use tokio::sync::mpsc;
use tracing::{debug, error, warn};

use super::message::Message;
use super::progress::{FeedProgress, Progress};
use crate::grid::{
    Applied, ApplyError, Feed, Grid, Heard, Positions, Ticket, UnpackError, Unpacked,
};

/// How long to wait before a record is tried again that our own disk or memory refused.
const RETRY: Duration = Duration::from_millis(500);

/// What the receiving half tells the shipping half.
#[derive(Debug)]
pub(super) enum Signal {
    /// The peer holds this: send what it lacks.
    Theirs(Positions),
    /// Tell the peer what we hold.
    TellOurs,
    /// The peer has told all that we lacked when it was told so.
    HeardAll,
    /// The peer has links of its own to these sites.
    Linked(BTreeSet<SiteName>),
}

/// A batch that is applied, on its way to being durable.
struct Pending {
    ticket: Option<Ticket>,
    received: Received,
}

/// Starts the thread of one session; it ends when the returned sender is dropped.
/// What waits in the channels is bounded by what a peer may have unacknowledged.
pub(super) fn start(
    grid: Arc<Grid>,
    site: &SiteName,
    (feed, progress): (Feed, Arc<Progress>),
    signals: mpsc::UnboundedSender<Signal>,
) -> mpsc::UnboundedSender<Received> {
    let (incoming, mut batches) = mpsc::unbounded_channel();
    let (pending, acks) = mpsc::unbounded_channel();
    tokio::spawn(acknowledge(grid.clone(), acks));
    let mut applier = Applier {
        grid,
        site: site.clone(),
        feed,
        progress,
        signals,
        pending,
        heard: Heard::default(),
        theirs: Positions::default(),
    };
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
}

impl Applier {
    fn progress(&self) -> &FeedProgress {
        self.progress.of(self.feed)
    }

    fn handle(&mut self, received: Received) {
        let ticket = match Message::decode(received.bytes.clone()) {
            Ok(Message::Positions { piece, end }) => {
                self.positions(&piece, end);
                None
            }
            Ok(Message::Ask) => {
                self.signal(Signal::TellOurs);
                None
            }
            Ok(Message::Records(records)) => self.records(records),
            Ok(Message::CaughtUp) => {
                self.progress().heard_all(true);
                self.grid.heard(&self.site, self.feed);
                self.signal(Signal::HeardAll);
                None
            }
            Ok(Message::Linked(sites)) => {
                self.signal(Signal::Linked(sites));
                None
            }
            Err(error) => {
                self.progress().record_refused();
                error!(%error, "batch put aside: are both gateways of the same version?");
                None
            }
        };
        // Closed only when the session ends: the peer then sends it again.
        drop(self.pending.send(Pending { ticket, received }));
    }

    fn positions(&mut self, piece: &Bytes, end: bool) {
        let mut said = Positions::default();
        if let Err(error) = said.extend_from(piece) {
            error!(%error, "the peer's positions are put aside");
        }
        self.theirs.extend(self.grid.known_of(said));
        if end {
            let theirs = std::mem::take(&mut self.theirs);
            self.signal(Signal::Theirs(theirs));
        }
    }

    /// Applies records in order; returns the ticket of the last.
    fn records(&mut self, packed: Vec<Bytes>) -> Option<Ticket> {
        let mut last = None;
        let unpacked = packed.into_iter().flat_map(|packed| self.unpack(packed));
        for record in unpacked.collect::<Vec<_>>() {
            match self.apply(record) {
                Ok(applied) => {
                    self.progress().record_applied();
                    last = Some(applied.ticket);
                }
                Err(ApplyError::Gap { log, have }) => {
                    self.progress().gap();
                    warn!(%log, have = %have.last, "entries are missing; asking for them again");
                    self.signal(Signal::TellOurs);
                }
                Err(error) => {
                    self.progress().record_refused();
                    error!(%error, "record put aside: are both gateways of the same version?");
                }
            }
        }
        last
    }

    /// The records that were sent as `packed`; none if it cannot be read. Then the peer is asked
    /// to begin anew, once.
    fn unpack(&mut self, packed: Bytes) -> Vec<Unpacked> {
        loop {
            match self.grid.unpack(&mut self.heard, packed.clone()) {
                Ok(records) => return records,
                Err(error @ UnpackError::Refused) if !self.pending.is_closed() => {
                    warn!(%error, "the peer's records wait");
                    thread::sleep(RETRY);
                }
                Err(error) => {
                    self.progress().record_refused();
                    error!(%error, "record put aside: are both gateways of the same version?");
                    if let UnpackError::Malformed(_) = error {
                        // Not in a tight circle, should the next one be no better.
                        thread::sleep(RETRY);
                        self.signal(Signal::TellOurs);
                    }
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

async fn acknowledge(grid: Arc<Grid>, mut pending: mpsc::UnboundedReceiver<Pending>) {
    while let Some(Pending { ticket, received }) = pending.recv().await {
        if let Some(ticket) = ticket {
            grid.durable(ticket).await;
        }
        received.ack();
    }
}
