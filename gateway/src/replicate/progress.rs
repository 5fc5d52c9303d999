//! How far the replication with one peer has come.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use super::lines::Lines;
use crate::grid::{Feed, FlushNumber};
use crate::heartbeat::Heartbeat;

/// Figures of one link, kept across its sessions.
#[derive(Debug, Default)]
pub struct Progress {
    feeds: [FeedProgress; 2],
    pub(super) lines: Lines,
}

/// Figures of one feed.
#[derive(Debug, Default)]
pub(super) struct FeedProgress {
    shipped: AtomicU64,
    acked: AtomicU64,
    catching_up: AtomicBool,
    heard_all: AtomicBool,
    held_up: AtomicU64,
    catch_ups: AtomicU64,
    gaps: AtomicU64,
    sent: AtomicU64,
    applied: AtomicU64,
    refused: AtomicU64,
    refusing: Mutex<Option<String>>,
    refused_by_peer: Mutex<Option<String>>,
    /// Memory of what each end knows of what was said in this session: see [`Sent`](crate::grid::Sent).
    sent_bytes: AtomicU64,
    heard_bytes: AtomicU64,
    /// Of the thread that applies what the peer sends.
    pub(super) applying: Heartbeat,
    /// Of the task that sends to it.
    pub(super) shipping: Heartbeat,
}

/// [`Progress`] of one feed at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProgressFigures {
    /// Our last flush that was sent.
    pub shipped: FlushNumber,
    /// Our last flush that the peer holds durably.
    pub acked: FlushNumber,
    /// The peer is being sent what it lacks.
    pub catching_up: bool,
    /// Everything that the peer held when the session began is here.
    pub heard_all: bool,
    /// Times that catching up began since the gateway started.
    pub catch_ups: u64,
    /// Times that entries of the peer's logs were missing and were asked for again.
    pub gaps: u64,
    /// Records sent.
    pub sent: u64,
    /// The peer's records that were applied.
    pub applied: u64,
    /// The peer's records that were not taken: must stay 0.
    pub refused: u64,
    /// Memory of the numbers and words by which both ends know what was said in this session.
    pub known_bytes: u64,
}

/// What one end does not take of a feed, and why; none: it takes all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NotTaken {
    /// What we do not take of what the peer sends.
    pub here: Option<String>,
    /// What the peer does not take of what we send.
    pub there: Option<String>,
}

impl Progress {
    pub(super) fn of(&self, feed: Feed) -> &FeedProgress {
        &self.feeds[feed as usize]
    }

    pub fn figures(&self, feed: Feed) -> ProgressFigures {
        self.of(feed).figures()
    }

    /// What either end does not take of a feed.
    pub fn not_taken(&self, feed: Feed) -> NotTaken {
        let feed = self.of(feed);
        NotTaken {
            here: feed.refusing.lock().clone(),
            there: feed.refused_by_peer.lock().clone(),
        }
    }

    /// Whether the peer durably holds all of our flushes up to this one.
    pub fn is_acked(&self, flush: FlushNumber) -> bool {
        self.feeds.iter().all(|feed| feed.figures().acked >= flush)
    }

    /// Whether everything that the peer held when the session began is here.
    pub fn heard_all(&self) -> bool {
        self.feeds.iter().all(|feed| feed.figures().heard_all)
    }

    /// Whether one of the two sites is being sent what it lacked when the session began.
    pub(super) fn is_catching_up(&self) -> bool {
        let mut feeds = self.feeds.iter().map(FeedProgress::figures);
        feeds.any(|feed| feed.catching_up || !feed.heard_all)
    }

    /// The thread that applies what the peer sends of a feed, and the task that sends to it.
    pub fn heartbeats(&self, feed: Feed) -> [&Heartbeat; 2] {
        let feed = self.of(feed);
        [&feed.applying, &feed.shipping]
    }

    /// Logs of which the peer cannot be sent all, because some of it is lost here.
    pub(super) fn logs_held_up(&self) -> u64 {
        self.of(Feed::Logs).held_up.load(Ordering::Relaxed)
    }

    /// A session begins: until positions were told, neither knows what the other lacks.
    pub(super) fn begin(&self) {
        for feed in &self.feeds {
            feed.heard_all(false);
            feed.held_up(0);
            feed.catching_up.store(true, Ordering::Relaxed);
            feed.refusing(None);
            feed.refused_by_peer(None);
            feed.sent_bytes(0);
            feed.heard_bytes(0);
            feed.applying.rest();
            feed.shipping.rest();
        }
    }
}

impl FeedProgress {
    fn figures(&self) -> ProgressFigures {
        let read = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        ProgressFigures {
            shipped: FlushNumber(read(&self.shipped)),
            acked: FlushNumber(read(&self.acked)),
            catching_up: self.catching_up.load(Ordering::Relaxed),
            heard_all: self.heard_all.load(Ordering::Relaxed),
            catch_ups: read(&self.catch_ups),
            gaps: read(&self.gaps),
            sent: read(&self.sent),
            applied: read(&self.applied),
            refused: read(&self.refused),
            known_bytes: read(&self.sent_bytes) + read(&self.heard_bytes),
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

    /// So many logs cannot be sent as a whole.
    pub(super) fn held_up(&self, logs: u64) {
        self.held_up.store(logs, Ordering::Relaxed);
    }

    pub(super) fn record_sent(&self) {
        self.sent.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn record_applied(&self) {
        self.applied.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn record_refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Why something is not taken of what the peer sends; none: all is again.
    pub(super) fn refusing(&self, why: Option<String>) {
        *self.refusing.lock() = why;
    }

    /// Likewise of what we send, as the peer says.
    pub(super) fn refused_by_peer(&self, why: Option<String>) {
        *self.refused_by_peer.lock() = why;
    }

    pub(super) fn sent_bytes(&self, bytes: usize) {
        self.sent_bytes.store(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn heard_bytes(&self, bytes: usize) {
        self.heard_bytes.store(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn gap(&self) {
        self.gaps.fetch_add(1, Ordering::Relaxed);
    }
}
