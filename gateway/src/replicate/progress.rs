//! How far the replication with one peer has come.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::grid::{FlushNumber, Relayed};

/// What a record holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Counters,
    Logs,
}

impl Kind {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Counters, Self::Logs];

    /// What a record of another site holds.
    pub(super) fn of(relayed: &Relayed) -> Self {
        if relayed.is_log() {
            Self::Logs
        } else {
            Self::Counters
        }
    }

    /// As status and metrics call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Counters => "counters",
            Self::Logs => "logs",
        }
    }
}

/// Figures of one link, kept across its sessions.
#[derive(Debug, Default)]
pub struct Progress {
    shipped: AtomicU64,
    acked: AtomicU64,
    catching_up: AtomicBool,
    heard_all: AtomicBool,
    catch_ups: AtomicU64,
    gaps: AtomicU64,
    sent: [AtomicU64; 2],
    applied: [AtomicU64; 2],
    refused: AtomicU64,
}

/// [`Progress`] at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProgressFigures {
    /// Our last flush that was sent.
    pub shipped: FlushNumber,
    /// Our last flush that the peer holds durably.
    pub acked: FlushNumber,
    /// A scan of what the peer lacks is going on.
    pub catching_up: bool,
    /// Everything that the peer held when the session began is here.
    pub heard_all: bool,
    /// Scans since the gateway started.
    pub catch_ups: u64,
    /// Times that entries of the peer's logs were missing and were asked for again.
    pub gaps: u64,
    /// Records sent, by [`Kind`].
    pub sent: [u64; 2],
    /// The peer's records that were applied, by [`Kind`].
    pub applied: [u64; 2],
    /// The peer's records that could not be read: must stay 0.
    pub refused: u64,
}

impl Progress {
    pub fn figures(&self) -> ProgressFigures {
        let read = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        ProgressFigures {
            shipped: FlushNumber(read(&self.shipped)),
            acked: FlushNumber(read(&self.acked)),
            catching_up: self.catching_up.load(Ordering::Relaxed),
            heard_all: self.heard_all.load(Ordering::Relaxed),
            catch_ups: read(&self.catch_ups),
            gaps: read(&self.gaps),
            sent: self.sent.each_ref().map(read),
            applied: self.applied.each_ref().map(read),
            refused: read(&self.refused),
        }
    }

    pub(super) fn shipped(&self, flush: FlushNumber) {
        self.shipped.store(flush.0, Ordering::Relaxed);
    }

    pub(super) fn acked(&self, flush: FlushNumber) {
        self.acked.store(flush.0, Ordering::Relaxed);
    }

    pub(super) fn catching_up(&self, on: bool) {
        self.catching_up.store(on, Ordering::Relaxed);
        self.catch_ups.fetch_add(u64::from(on), Ordering::Relaxed);
    }

    pub(super) fn heard_all(&self, all: bool) {
        self.heard_all.store(all, Ordering::Relaxed);
    }

    pub(super) fn record_sent(&self, kind: Kind) {
        self.sent[kind as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn record_applied(&self, kind: Kind) {
        self.applied[kind as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn record_refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn gap(&self) {
        self.gaps.fetch_add(1, Ordering::Relaxed);
    }
}
