//! One peer: its link, and the flows of the present session.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use strait_transport::{Class, LinkHandle, LogPace, SendError};
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep_until, timeout};

use super::admission::Admission;
use super::figures::Counters;
use super::flow::{Ends, Flow};
use super::inlet::Arrival;
use super::message::{Message, MessageBatch, Refusal};
use super::window::WindowPool;
use crate::streams::{FlowId, StreamOpen};

/// Flows of one link at a time, whoever opened them. A flow has up to two streams under
/// way in each direction; a link has room for 4096.
pub(super) const FLOWS_MAX: usize = 1536;
/// Messages that may wait for the link before whoever has more waits.
const MESSAGES_QUEUED_MAX: usize = 4096;
/// Assumed where nothing was measured yet.
const RTT_UNKNOWN: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(super) struct Peer {
    pub(super) link: LinkHandle,
    session: Mutex<Option<Arc<Session>>>,
    state: watch::Sender<State>,
    /// Flows that we connected for it.
    pub(super) served: Counters,
    /// Of those, the ones that were refused, in the log.
    pub(super) refusals: Mutex<LogPace>,
    /// Messages of it that could not be read, in the log.
    pub(super) unreadable: Mutex<LogPace>,
    /// Clients of the forwards that go there.
    pub(super) admission: Admission,
}

/// Whether the link is up, and since when.
#[derive(Clone, Copy, Debug)]
struct State {
    up: bool,
    since: Instant,
}

impl State {
    fn now(up: bool) -> Self {
        let since = Instant::now();
        Self { up, since }
    }
}

impl Peer {
    pub(super) fn new(link: LinkHandle) -> Self {
        Self {
            link,
            session: Mutex::new(None),
            state: watch::Sender::new(State::now(false)),
            served: Counters::default(),
            refusals: Mutex::default(),
            unreadable: Mutex::default(),
            admission: Admission::default(),
        }
    }

    pub(super) fn handle_up(&self, fresh: bool, pool: &WindowPool) {
        if fresh {
            let session = Session::start(&self.link, pool.clone());
            let old = self.session.lock().replace(Arc::new(session));
            if let Some(old) = old {
                old.end();
            }
        }
        self.state.send_replace(State::now(true));
    }

    pub(super) fn handle_down(&self) {
        self.state.send_replace(State::now(false));
    }

    /// Ends all flows; none begins any more until the next session.
    pub(super) fn close(&self) {
        if let Some(session) = self.session.lock().take() {
            session.end();
        }
    }

    /// The session as it is, even if the link is down.
    pub(super) fn session(&self) -> Option<Arc<Session>> {
        self.session.lock().clone()
    }

    /// The session, once the link is up; `None` when it has been down for `patience`.
    pub(super) async fn session_within(&self, patience: Duration) -> Option<Arc<Session>> {
        let mut state = self.state.subscribe();
        let seen = *state.borrow();
        let left = patience.saturating_sub(seen.since.elapsed());
        // The sender lives as long as this peer.
        let up = timeout(left, state.wait_for(|state| state.up)).await;
        up.is_ok().then(|| self.session()).flatten()
    }

    /// Returns when the link has been down for `patience`.
    pub(super) async fn away_for(&self, patience: Duration) {
        let mut state = self.state.subscribe();
        loop {
            let down = match state.wait_for(|state| !state.up).await {
                Ok(down) => *down,
                Err(_) => return,
            };
            let deadline = tokio::time::Instant::from_std(down.since + patience);
            tokio::select! {
                biased;
                up = state.wait_for(|state| state.up) => if up.is_err() { return },
                () = sleep_until(deadline) => return,
            }
        }
    }

    pub(super) fn rtt(&self) -> Duration {
        self.link.status().rtt.unwrap_or(RTT_UNKNOWN)
    }
}

/// The flows of one session of the link.
#[derive(Debug)]
pub(super) struct Session {
    flows: Mutex<HashMap<FlowId, Arc<Flow>>>,
    messages: mpsc::Sender<Message>,
    pool: WindowPool,
}

impl Session {
    /// Must run inside tokio.
    fn start(link: &LinkHandle, pool: WindowPool) -> Self {
        let (messages, queue) = mpsc::channel(MESSAGES_QUEUED_MAX);
        tokio::spawn(send_messages(link.clone(), queue));
        Self {
            flows: Mutex::default(),
            messages,
            pool,
        }
    }

    fn end(&self) {
        for (_, flow) in self.flows.lock().drain() {
            flow.end(Refusal::SessionReset);
        }
    }

    /// A new flow, known to the session until it is removed.
    pub(super) fn add(&self, id: FlowId, ends: Ends) -> Result<Arc<Flow>, Refusal> {
        let mut flows = self.flows.lock();
        if flows.len() >= FLOWS_MAX {
            return Err(Refusal::Busy);
        }
        if flows.contains_key(&id) {
            return Err(Refusal::Protocol);
        }
        let flow = Arc::new(Flow::new(id, ends, self.pool.clone()));
        flows.insert(id, flow.clone());
        Ok(flow)
    }

    pub(super) fn remove(&self, id: FlowId) {
        self.flows.lock().remove(&id);
    }

    pub(super) fn flows(&self) -> Vec<Arc<Flow>> {
        self.flows.lock().values().cloned().collect()
    }

    /// Hands a batch to its flow. Never waits.
    pub(super) fn handle_batch(&self, id: FlowId, arrival: Arrival) {
        let flow = self.flows.lock().get(&id).cloned();
        let last = arrival.last;
        match flow.map(|flow| (flow.handle_batch(arrival), flow)) {
            Some((Ok(false), _)) => {}
            Some((Ok(true), flow)) => flow.end(Refusal::Reset),
            Some((Err(_), flow)) => flow.end(Refusal::Protocol),
            // It was reset here; the peer may not know yet.
            None if !last => self.refuse(id, Refusal::Reset),
            None => {}
        }
    }

    pub(super) fn handle_message(&self, message: Message) {
        let flow = |id| self.flows.lock().get(&id).cloned();
        match message {
            Message::Credit { flow: id, bytes } => {
                if let Some(flow) = flow(id) {
                    flow.handle_credit(bytes);
                }
            }
            Message::Reset { flow: id, refusal } => {
                if let Some(flow) = flow(id) {
                    flow.end(refusal);
                }
            }
        }
    }

    pub(super) async fn send(&self, message: Message) {
        // With the session the peer's interest has ended, too.
        self.messages.send(message).await.ok();
    }

    /// Tells the peer that there is no such flow. When very many messages wait, it is
    /// told at the next batch.
    pub(super) fn refuse(&self, flow: FlowId, refusal: Refusal) {
        self.messages
            .try_send(Message::Reset { flow, refusal })
            .ok();
    }
}

/// Ends with the session: of the link, when sending fails, or of our own, when nobody
/// holds the queue any more.
async fn send_messages(link: LinkHandle, mut queue: mpsc::Receiver<Message>) {
    if let Err(error) = try_send_messages(&link, &mut queue).await {
        tracing::debug!(site = %link.site(), %error, "messages about flows stop");
    }
}

async fn try_send_messages(
    link: &LinkHandle,
    queue: &mut mpsc::Receiver<Message>,
) -> Result<(), SendError> {
    let mut stream = None;
    while let Some(first) = queue.recv().await {
        let mut batch = MessageBatch::new();
        batch.push(&first);
        while !batch.is_full()
            && let Ok(more) = queue.try_recv()
        {
            batch.push(&more);
        }
        let stream = match &mut stream {
            Some(stream) => stream,
            None => stream.insert(link.open(Class::Control, StreamOpen::FlowMessages.encode())?),
        };
        stream.send(batch.into_bytes(), false).await?;
    }
    Ok(())
}
