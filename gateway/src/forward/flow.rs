//! One flow, as both the tasks that move its bytes and the link's events see it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use super::figures::FlowReport;
use super::inlet::{Arrival, Inlet, Next, Violation};
use super::message::Refusal;
use super::window::{WINDOW_INITIAL, Window, WindowPool};
use crate::streams::FlowId;

/// Who talks to whom.
#[derive(Clone, Debug)]
pub(super) struct Ends {
    pub(super) client: SocketAddr,
    pub(super) target: String,
}

#[derive(Debug)]
pub(super) struct Flow {
    pub(super) id: FlowId,
    ends: Ends,
    since: Instant,
    incoming: Mutex<Incoming>,
    arrived: Notify,
    /// Bytes that may be sent in all.
    credit: watch::Sender<u64>,
    over: watch::Sender<Option<Refusal>>,
    sent_bytes: AtomicU64,
    received_bytes: AtomicU64,
    bulk: AtomicBool,
}

#[derive(Debug)]
struct Incoming {
    inlet: Inlet,
    window: Window,
}

impl Flow {
    pub(super) fn new(id: FlowId, ends: Ends, pool: WindowPool) -> Self {
        let incoming = Incoming {
            inlet: Inlet::default(),
            window: Window::new(pool, Instant::now()),
        };
        Self {
            id,
            ends,
            since: Instant::now(),
            incoming: Mutex::new(incoming),
            arrived: Notify::new(),
            credit: watch::Sender::new(WINDOW_INITIAL),
            over: watch::Sender::new(None),
            sent_bytes: AtomicU64::new(0),
            received_bytes: AtomicU64::new(0),
            bulk: AtomicBool::new(false),
        }
    }

    /// Takes a batch from the peer. True: the peer aborts the flow.
    pub(super) fn handle_batch(&self, arrival: Arrival) -> Result<bool, Violation> {
        let mut incoming = self.incoming.lock();
        let granted = incoming.window.granted();
        let aborted = incoming.inlet.handle(arrival, granted)?;
        let arrived = incoming.inlet.arrived();
        incoming.window.handle_arrived(arrived, Instant::now());
        drop(incoming);
        self.arrived.notify_one();
        Ok(aborted)
    }

    pub(super) fn handle_credit(&self, bytes: u64) {
        self.credit.send_if_modified(|credit| {
            let more = bytes > *credit;
            *credit = bytes.max(*credit);
            more
        });
    }

    /// The flow is over; the first reason counts.
    pub(super) fn end(&self, refusal: Refusal) {
        self.over.send_if_modified(|over| {
            let first = over.is_none();
            over.get_or_insert(refusal);
            first
        });
    }

    /// Returns when the flow is over.
    pub(super) async fn over(&self) -> Refusal {
        let mut over = self.over.subscribe();
        // The sender lives as long as this flow.
        let over = over.wait_for(Option::is_some).await;
        over.ok()
            .and_then(|over| over.clone())
            .unwrap_or(Refusal::SessionReset)
    }

    /// How many bytes may be sent beyond `sent`: waits until there are some.
    pub(super) async fn credit_beyond(&self, sent: u64) -> u64 {
        let mut credit = self.credit.subscribe();
        let granted = credit.wait_for(|&credit| credit > sent).await;
        granted.map_or(0, |granted| *granted - sent)
    }

    /// The next bytes from the peer; `None` at the end.
    pub(super) async fn next(&self) -> Option<bytes::Bytes> {
        loop {
            let next = self.incoming.lock().inlet.next();
            match next {
                Next::Bytes(bytes) => return Some(bytes),
                Next::End => return None,
                // A permit is kept if the notification came in between.
                Next::Wait => self.arrived.notified().await,
            }
        }
    }

    /// The reader took so many bytes; the credit to tell the peer, if any.
    pub(super) fn consumed(&self, bytes: usize, rtt: impl FnOnce() -> Duration) -> Option<u64> {
        let bytes = bytes as u64;
        self.received_bytes.fetch_add(bytes, Ordering::Relaxed);
        let window = &mut self.incoming.lock().window;
        window.handle_consumed(bytes, Instant::now(), rtt)
    }

    pub(super) fn sent(&self, bytes: u64, bulk: bool) {
        self.sent_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.bulk.store(bulk, Ordering::Relaxed);
    }

    pub(super) fn report(&self, peer: &str) -> FlowReport {
        let bulk = self.bulk.load(Ordering::Relaxed);
        FlowReport {
            peer: peer.to_owned(),
            client: self.ends.client.to_string(),
            target: self.ends.target.clone(),
            age_s: self.since.elapsed().as_secs_f64(),
            class: if bulk { "bulk" } else { "interactive" }.to_owned(),
            sent_bytes: self.sent_bytes.load(Ordering::Relaxed),
            received_bytes: self.received_bytes.load(Ordering::Relaxed),
        }
    }
}
