//! Flows, for status and metrics.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

/// Flows that one status document shows, the longest-lived first.
pub(super) const FLOWS_SHOWN_MAX: usize = 200;

/// Forwards and their flows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ForwardsReport {
    /// Each listener here, and, for each peer, what was connected here for its forwards.
    pub forwards: Vec<ForwardReport>,
    /// Flows that are open; at most 200 of them.
    pub flows: Vec<FlowReport>,
}

/// One forward.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ForwardReport {
    /// Where clients connect; empty for flows that come from the peer.
    pub listen: String,
    /// The peer.
    pub peer: String,
    /// What the peer connects to; empty if each flow says.
    pub target: String,
    /// Flows open now.
    pub open: u64,
    /// Flows since the start.
    pub opened: u64,
    /// Of these, those that were refused or reset, whoever did it.
    pub reset: u64,
    /// Connections that went straight to the target because the peer was away.
    pub bypassed: u64,
    /// Bytes to the peer.
    pub sent_bytes: u64,
    /// Bytes from the peer.
    pub received_bytes: u64,
}

/// One flow that is open.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FlowReport {
    pub peer: String,
    pub client: String,
    pub target: String,
    pub age_s: f64,
    /// How its last bytes were sent.
    pub class: String,
    /// Bytes to the peer.
    pub sent_bytes: u64,
    /// Bytes from the peer.
    pub received_bytes: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) open: AtomicU64,
    pub(super) opened: AtomicU64,
    pub(super) reset: AtomicU64,
    pub(super) bypassed: AtomicU64,
    pub(super) sent_bytes: AtomicU64,
    pub(super) received_bytes: AtomicU64,
}

impl Counters {
    pub(super) fn add(counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Ordering::Relaxed);
    }

    /// One more flow, for as long as what is returned lives.
    pub(super) fn open(&self) -> Open<'_> {
        Self::add(&self.opened, 1);
        Self::add(&self.open, 1);
        Open(self)
    }

    pub(super) fn report(&self, listen: String, peer: String, target: String) -> ForwardReport {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ForwardReport {
            listen,
            peer,
            target,
            open: read(&self.open),
            opened: read(&self.opened),
            reset: read(&self.reset),
            bypassed: read(&self.bypassed),
            sent_bytes: read(&self.sent_bytes),
            received_bytes: read(&self.received_bytes),
        }
    }
}

/// Counts a flow as open.
#[derive(Debug)]
pub(super) struct Open<'a>(&'a Counters);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}
