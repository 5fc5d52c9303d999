//! What is under way with one peer, for as long as a session of the link lasts.
//!
//! When the session ends, [`Session::end`] empties the tables; whoever waits for
//! something from the peer sees its channel close and gives up.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, MutexGuard};
use strait_transport::{LinkHandle, OutStream, Seq, StreamId, WireVersion};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::failure::Failure;
use super::incoming::{Incoming, Part, Waiting};
use super::mailbox::{Mailbox, Overfull};
use super::message::{Answer, Message, Question, RequestId};
use crate::streams::TransferId;

/// Files that this gateway's own clients may push to or pull from one site at once;
/// more wait in line.
pub(super) const TRANSFERS_MAX: usize = 192;
/// Files that a peer may be sending us at once: its clients' pushes and our clients'
/// pulls, and some that were given up and are still on their way.
const RECEIVING_MAX: usize = 2 * TRANSFERS_MAX + 32;
/// Pulls and questions that a peer may have under way at once.
const ASKED_MAX: usize = 2 * TRANSFERS_MAX;
/// The encoded bytes of those.
const ASKED_BYTES_MAX: usize = 16 << 20;
/// Long answers for a peer that are in memory at once.
const ANSWERS_MAX: usize = 16;
/// Batches of files for a peer that are in memory at once and not yet the link's.
const BATCHES_READ_MAX: usize = 64;

#[derive(Debug)]
pub(super) struct Session {
    version: WireVersion,
    mailbox: Mailbox,
    tables: Mutex<Tables>,
    over: CancellationToken,
    places: Places,
}

/// What a peer may have under way at once, in whichever session: what is left of an ended one keeps its
/// places until it is over.
#[derive(Clone, Debug)]
pub(super) struct Places {
    receiving: Arc<Semaphore>,
    asked: Arc<Semaphore>,
    asked_bytes: Arc<Semaphore>,
    answers: Arc<Semaphore>,
    batches: Arc<Semaphore>,
}

/// A pull or question of the peer that is under way.
#[derive(Debug)]
pub(super) struct Place {
    _asked: OwnedSemaphorePermit,
    _bytes: OwnedSemaphorePermit,
}

#[derive(Debug, Default)]
struct Tables {
    /// The session has ended: nobody is to wait in them.
    over: bool,
    /// Files on their way to the peer.
    outgoing: HashMap<TransferId, Outlet>,
    /// Files on their way here.
    incoming: HashMap<StreamId, Inlet>,
    /// Files that the peer was asked for and has not begun to send.
    pulls: HashMap<TransferId, oneshot::Sender<Result<Incoming, Failure>>>,
    questions: HashMap<RequestId, oneshot::Sender<Result<Answer, Failure>>>,
}

/// What the peer says about a file that goes there.
#[derive(Debug)]
struct Outlet {
    credit: watch::Sender<u64>,
    verdict: oneshot::Sender<Result<(), Failure>>,
}

/// Where the batches of a file go that comes from the peer.
#[derive(Debug)]
pub(super) struct Inlet {
    /// Of the task that takes it.
    pub(super) queue: mpsc::Sender<Part>,
    /// Batches with a lower number may come.
    pub(super) granted: Arc<AtomicU64>,
    /// Where their memory is counted, if it is.
    pub(super) waiting: Option<Waiting>,
}

/// The other end of an [`Outlet`].
#[derive(Debug)]
pub(super) struct Answers {
    pub(super) credit: watch::Receiver<u64>,
    pub(super) verdict: oneshot::Receiver<Result<(), Failure>>,
}

impl Default for Places {
    fn default() -> Self {
        let semaphore = |permits| Arc::new(Semaphore::new(permits));
        Self {
            receiving: semaphore(RECEIVING_MAX),
            asked: semaphore(ASKED_MAX),
            asked_bytes: semaphore(ASKED_BYTES_MAX),
            answers: semaphore(ANSWERS_MAX),
            batches: semaphore(BATCHES_READ_MAX),
        }
    }
}

impl Session {
    /// Must run inside tokio.
    pub(super) fn start(link: &LinkHandle, version: WireVersion, places: Places) -> Arc<Self> {
        let over = CancellationToken::new();
        Arc::new(Self {
            version,
            mailbox: Mailbox::start(link.clone(), over.clone()),
            tables: Mutex::default(),
            over,
            places,
        })
    }

    /// The version that both ends speak.
    pub(super) fn version(&self) -> WireVersion {
        self.version
    }

    /// Whether both ends understand what came with this version.
    pub(super) fn speaks(&self, version: WireVersion) -> bool {
        self.version >= version
    }

    /// Ends all that is under way. Nothing that comes later finds anyone.
    pub(super) fn end(&self) {
        let over = Tables {
            over: true,
            ..Tables::default()
        };
        let ended = std::mem::replace(&mut *self.tables.lock(), over);
        drop(ended);
        self.over.cancel();
    }

    /// Whether it has ended.
    pub(super) fn is_over(&self) -> bool {
        self.over.is_cancelled()
    }

    /// The tables, to wait in them.
    fn open_tables(&self) -> Option<MutexGuard<'_, Tables>> {
        let tables = self.tables.lock();
        (!tables.over).then_some(tables)
    }

    /// A place for a pull or question of so many encoded bytes; `None` if too many are under way.
    pub(super) fn place(&self, bytes: usize) -> Option<Place> {
        let asked = self.places.asked.clone().try_acquire_owned().ok()?;
        let count = u32::try_from(bytes).ok()?;
        let bytes = self
            .places
            .asked_bytes
            .clone()
            .try_acquire_many_owned(count);
        Some(Place {
            _asked: asked,
            _bytes: bytes.ok()?,
        })
    }

    /// A place for a file that comes; `None` if too many do.
    pub(super) fn receiving_place(&self) -> Option<OwnedSemaphorePermit> {
        self.places.receiving.clone().try_acquire_owned().ok()
    }

    /// Room in memory for a long answer.
    pub(super) async fn answer_room(&self) -> Option<OwnedSemaphorePermit> {
        self.places.answers.clone().acquire_owned().await.ok()
    }

    /// Room in memory for a batch of a file.
    pub(super) async fn batch_room(&self) -> Option<OwnedSemaphorePermit> {
        self.places.batches.clone().acquire_owned().await.ok()
    }

    /// Waits while many messages wait for the link; an error once the session is over.
    pub(super) async fn send(&self, message: Message) -> Result<(), Failure> {
        self.mailbox.send(&message, None).await
    }

    /// The same, with the room that the message takes in memory.
    pub(super) async fn send_in(
        &self,
        message: Message,
        room: Option<OwnedSemaphorePermit>,
    ) -> Result<(), Failure> {
        self.mailbox.send(&message, room).await
    }

    /// Says that something is not done. Never waits.
    pub(super) fn refuse(&self, message: &Message) -> Result<(), Overfull> {
        self.mailbox.refuse(message)
    }

    /// Ends the stream of a file that has no rest. Never waits: a peer that leaves too many of
    /// them no way loses the session.
    pub(super) fn end_stream(&self, stream: OutStream, failure: Failure) {
        if let Err(Overfull) = self.mailbox.end(stream, failure) {
            self.end();
        }
    }

    pub(super) fn add_outgoing(&self, transfer: TransferId, credit: u64) -> Answers {
        let (credit, credit_seen) = watch::channel(credit);
        let (verdict, verdict_seen) = oneshot::channel();
        if let Some(mut tables) = self.open_tables() {
            let outlet = Outlet { credit, verdict };
            tables.outgoing.insert(transfer, outlet);
        }
        Answers {
            credit: credit_seen,
            verdict: verdict_seen,
        }
    }

    pub(super) fn remove_outgoing(&self, transfer: TransferId) {
        self.tables.lock().outgoing.remove(&transfer);
    }

    pub(super) fn add_pull(
        &self,
        transfer: TransferId,
    ) -> oneshot::Receiver<Result<Incoming, Failure>> {
        let (answer, answered) = oneshot::channel();
        if let Some(mut tables) = self.open_tables() {
            tables.pulls.insert(transfer, answer);
        }
        answered
    }

    /// `None` if nobody here asked for it, or no longer does.
    pub(super) fn take_pull(
        &self,
        transfer: TransferId,
    ) -> Option<oneshot::Sender<Result<Incoming, Failure>>> {
        self.tables.lock().pulls.remove(&transfer)
    }

    /// Asks the peer, and waits for its answer.
    pub(super) async fn ask(&self, question: Question) -> Result<Answer, Failure> {
        let request = RequestId(rand::random());
        let (answer, answered) = oneshot::channel();
        if let Some(mut tables) = self.open_tables() {
            tables.questions.insert(request, answer);
        }
        self.send(Message::Ask { request, question }).await?;
        answered.await.map_err(|_| Failure::SessionReset)?
    }

    pub(super) fn add_incoming(&self, stream: StreamId, inlet: Inlet) {
        if let Some(mut tables) = self.open_tables() {
            tables.incoming.insert(stream, inlet);
        }
    }

    /// Hands a batch to the task that takes the file. A stream that nobody takes, or
    /// takes no longer, is discarded. So is one whose sender goes beyond its credit.
    pub(super) fn deliver(&self, stream: StreamId, seq: Seq, mut part: Part) {
        let mut tables = self.tables.lock();
        let Some(inlet) = tables.incoming.get(&stream) else {
            return;
        };
        let Inlet { queue, granted, .. } = inlet;
        part.take_room(inlet.waiting.as_ref());
        let last = part.last;
        let may_come = last || seq.0 < granted.load(Ordering::Relaxed);
        if !may_come || queue.try_send(part).is_err() || last {
            tables.incoming.remove(&stream);
        }
    }

    pub(super) fn handle_credit(&self, transfer: TransferId, batches: u64) {
        if let Some(outlet) = self.tables.lock().outgoing.get(&transfer) {
            outlet.credit.send_if_modified(|credit| {
                let more = batches > *credit;
                *credit = batches.max(*credit);
                more
            });
        }
    }

    pub(super) fn handle_verdict(&self, transfer: TransferId, verdict: Result<(), Failure>) {
        let mut tables = self.tables.lock();
        if let Some(outlet) = tables.outgoing.remove(&transfer) {
            // Whoever started it may have gone.
            outlet.verdict.send(verdict).ok();
        } else if let (Some(answer), Err(failure)) = (tables.pulls.remove(&transfer), verdict) {
            answer.send(Err(failure)).ok();
        }
    }

    pub(super) fn handle_answer(&self, request: RequestId, outcome: Result<Answer, Failure>) {
        if let Some(answer) = self.tables.lock().questions.remove(&request) {
            answer.send(outcome).ok();
        }
    }
}
