//! What is under way with one peer, for as long as a session of the link lasts.
//!
//! When the session ends, [`Session::end`] empties the tables; whoever waits for
//! something from the peer sees its channel close and gives up.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use strait_transport::{Class, LinkHandle, LogPace, OutStream, SendError, StreamId, WireVersion};
use tokio::sync::{mpsc, oneshot, watch};

use super::failure::Failure;
use super::incoming::{Incoming, Part};
use super::message::{self, Answer, Message, Question, RequestId};
use crate::streams::{StreamOpen, TransferId};

/// Messages that may wait for the link before whoever writes more has to wait.
const MESSAGES_QUEUED_MAX: usize = 256;

#[derive(Debug)]
pub(super) struct Session {
    version: WireVersion,
    messages: mpsc::Sender<Message>,
    tables: Mutex<Tables>,
    /// Messages that could not be read, in the log.
    pub(super) unreadable: Mutex<LogPace>,
}

#[derive(Debug, Default)]
struct Tables {
    /// The session has ended: nobody is to wait in them.
    over: bool,
    /// Files on their way to the peer.
    outgoing: HashMap<TransferId, Outlet>,
    /// Files on their way here, each with the queue of the task that takes it.
    incoming: HashMap<StreamId, mpsc::Sender<Part>>,
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

/// The other end of an [`Outlet`].
#[derive(Debug)]
pub(super) struct Answers {
    pub(super) credit: watch::Receiver<u64>,
    pub(super) verdict: oneshot::Receiver<Result<(), Failure>>,
}

impl Session {
    /// Must run inside tokio.
    pub(super) fn start(link: &LinkHandle, version: WireVersion) -> Arc<Self> {
        let (messages, queue) = mpsc::channel(MESSAGES_QUEUED_MAX);
        tokio::spawn(send_messages(link.clone(), queue));
        Arc::new(Self {
            version,
            messages,
            tables: Mutex::default(),
            unreadable: Mutex::default(),
        })
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
    }

    /// The tables, to wait in them.
    fn open_tables(&self) -> Option<MutexGuard<'_, Tables>> {
        let tables = self.tables.lock();
        (!tables.over).then_some(tables)
    }

    /// Waits while many messages wait for the link; an error once the session is over.
    pub(super) async fn send(&self, message: Message) -> Result<(), Failure> {
        self.messages
            .send(message)
            .await
            .map_err(|_| Failure::SessionReset)
    }

    /// [`Session::send`] for threads that may block.
    pub(super) fn blocking_send(&self, message: Message) -> Result<(), Failure> {
        self.messages
            .blocking_send(message)
            .map_err(|_| Failure::SessionReset)
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

    pub(super) fn add_incoming(&self, stream: StreamId, queue: mpsc::Sender<Part>) {
        if let Some(mut tables) = self.open_tables() {
            tables.incoming.insert(stream, queue);
        }
    }

    pub(super) fn incoming_count(&self) -> usize {
        self.tables.lock().incoming.len()
    }

    /// Hands a batch to the task that takes the file. A stream that nobody takes, or
    /// takes no longer, is discarded. So is one whose sender goes beyond its credit.
    pub(super) fn deliver(&self, stream: StreamId, part: Part) {
        let mut tables = self.tables.lock();
        let Some(queue) = tables.incoming.get(&stream) else {
            return;
        };
        let last = part.last;
        if queue.try_send(part).is_err() || last {
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

/// Ends with the session: of the link, when sending fails, or of our own, when
/// nobody holds the queue any more.
async fn send_messages(link: LinkHandle, mut queue: mpsc::Receiver<Message>) {
    let mut stream: Option<OutStream> = None;
    while let Some(message) = queue.recv().await {
        if let Err(error) = send_one(&link, &mut stream, &message).await {
            tracing::debug!(site = %link.site(), %error, "messages about files stop");
            return;
        }
    }
}

async fn send_one(
    link: &LinkHandle,
    stream: &mut Option<OutStream>,
    message: &Message,
) -> Result<(), SendError> {
    let opened = match stream {
        Some(opened) => opened,
        None => stream.insert(link.open(Class::Control, StreamOpen::BulkMessages.encode())?),
    };
    opened.send(message::encode(message), false).await?;
    Ok(())
}
