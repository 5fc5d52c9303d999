//! Keeps one peer in step: what to send since when, and applying what arrives.
//!
//! Each end tells the other its *positions*: how far it durably holds every origin's
//! counters and every log. From there the other sends what is missing (a scan), and
//! then each flush of its grid as it becomes durable. Records are idempotent, so
//! whenever anything is in doubt the answer is to tell positions again.
//!
//! What came from one peer is passed on to the others, save to those that hear it
//! themselves: each end says to which sites it has links that are up. So a mesh passes
//! nothing on, a hub everything, and a mesh with a broken link what that link would
//! have carried.

pub mod compare;
mod floors;
mod lag;
mod message;
mod neighbours;
mod progress;
mod receive;
mod refusals;
mod ship;

use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use strait_transport::{
    LinkEvent, LinkEvents, LinkHandle, LogPace, Received, SiteName, WireVersion,
};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tracing::{info, warn};

use crate::bulk::Bulk;
use crate::forward::Forwards;
use crate::grid::{Feed, Grid};
use crate::streams::StreamOpen;

use compare::Comparer;
pub use floors::Floors;
pub use lag::{FlushClock, Lag};
pub use neighbours::Neighbours;
pub use progress::{NotTaken, Progress, ProgressFigures};
use receive::Signal;
use refusals::{Refusal, Teller};

/// What the links of a gateway share.
#[derive(Clone, Debug)]
pub struct Rooms {
    pub grid: Arc<Grid>,
    pub bulk: Arc<Bulk>,
    pub forwards: Arc<Forwards>,
    pub floors: Arc<Floors>,
    pub neighbours: Arc<Neighbours>,
}

impl Rooms {
    fn handle_down(&self, site: &SiteName) {
        self.bulk.handle_down(site);
        self.forwards.handle_down(site);
        self.neighbours.handle_down(site);
    }
}

/// The replication of one session: ends when it is dropped.
struct Session {
    /// By [`Feed`].
    feeds: [FeedSession; 2],
    comparing: compare::Roles,
    /// About streams and refusals that this release does not know.
    lines: Mutex<LogPace>,
}

/// One feed of a session, both ways.
struct FeedSession {
    incoming: mpsc::UnboundedSender<Received>,
    signals: mpsc::UnboundedSender<Signal>,
    shipper: JoinHandle<()>,
}

impl Session {
    fn start(
        rooms: &Rooms,
        (link, version): (&LinkHandle, WireVersion),
        (progress, comparer): (&Arc<Progress>, &Arc<Comparer>),
    ) -> Self {
        progress.begin();
        rooms.grid.abandon_sweep(link.site());
        let link_to = (link, version >= refusals::TOLD_SINCE);
        let feeds = Feed::ALL.map(|feed| FeedSession::start(rooms, link_to, (feed, progress)));
        let comparing = compare::Roles::start(&rooms.grid, (link, version), (progress, comparer));
        Self {
            feeds,
            comparing,
            lines: Mutex::default(),
        }
    }

    /// The peer says what it does not take. What cannot be read of that is not acknowledged, so the peer
    /// confirms nothing from there on.
    fn not_taken(&self, received: Received) {
        if let Some(refusal) = Refusal::decode(&received.bytes) {
            let signals = &self.feeds[refusal.feed as usize].signals;
            drop(signals.send(Signal::NotTaken(refusal, received)));
        } else if let Some(more) = self.lines.lock().is_due(Instant::now()) {
            warn!(
                more,
                "the peer told in no known way what it does not take: nothing more counts as confirmed"
            );
        }
    }
}

impl FeedSession {
    /// `is_told`: the peer understands what it is told of what is not taken.
    fn start(
        rooms: &Rooms,
        (link, is_told): (&LinkHandle, bool),
        (feed, progress): (Feed, &Arc<Progress>),
    ) -> Self {
        let (signals, signalled) = mpsc::unbounded_channel();
        let of_feed = || (feed, progress.clone());
        let teller = is_told.then(|| Teller::new(link));
        let told = (signals.clone(), teller);
        let incoming = receive::start(rooms.grid.clone(), link.site(), of_feed(), told);
        let shipper = ship::start(rooms, (link.clone(), is_told), of_feed(), signalled);
        Self {
            incoming,
            signals,
            shipper,
        }
    }
}

impl Drop for FeedSession {
    fn drop(&mut self) {
        self.shipper.abort();
    }
}

/// Serves one link until it is closed, with its node or because its peer was removed.
#[tracing::instrument(name = "link", skip_all, fields(peer = %link.site()))]
pub async fn run(
    rooms: Rooms,
    link: LinkHandle,
    mut events: LinkEvents,
    (progress, comparer): (Arc<Progress>, Arc<Comparer>),
) {
    let mut session = None;
    while let Some(event) = events.next().await {
        match event {
            LinkEvent::Up { peer, fresh } => {
                info!(address = %peer.address, fresh, "link is up");
                rooms.bulk.handle_up(link.site(), fresh, peer.wire_version);
                rooms.forwards.handle_up(link.site(), fresh);
                rooms.neighbours.handle_up(link.site());
                if fresh {
                    let link = (&link, peer.wire_version);
                    session = Some(Session::start(&rooms, link, (&progress, &comparer)));
                }
            }
            LinkEvent::Down { reason, is_meant } => {
                match is_meant {
                    true => info!(reason, "link is down"),
                    false => warn!(reason, "link is down"),
                }
                rooms.handle_down(link.site());
            }
            LinkEvent::Batch(received) => dispatch(&rooms, &link, session.as_ref(), received),
        }
    }
    rooms.handle_down(link.site());
    rooms.floors.forget(link.site());
    rooms.grid.abandon_sweep(link.site());
    info!("link is closed");
}

/// Hands a batch to the room that its stream belongs to.
fn dispatch(rooms: &Rooms, link: &LinkHandle, session: Option<&Session>, received: Received) {
    match StreamOpen::decode(&received.open) {
        Ok(StreamOpen::Grid { feed }) => {
            if let Some(session) = session {
                // Its thread is gone only when the session is about to be.
                drop(session.feeds[feed as usize].incoming.send(received));
            }
        }
        Ok(StreamOpen::Refusals) => {
            if let Some(session) = session {
                session.not_taken(received);
            }
        }
        Ok(open @ (StreamOpen::CompareAsk | StreamOpen::CompareAnswer)) => {
            if let Some(session) = session {
                session.comparing.handle(&open, received);
            }
        }
        Ok(open @ (StreamOpen::BulkMessages | StreamOpen::BulkData { .. })) => {
            rooms.bulk.handle_batch(link.site(), &open, received);
        }
        Ok(
            open @ (StreamOpen::FlowMessages
            | StreamOpen::FlowOpen(_)
            | StreamOpen::FlowData { .. }),
        ) => rooms.forwards.handle_batch(link.site(), open, received),
        // A later release opens it only to peers that understand it. Whoever does all the same is not
        // told that something became of it.
        Err(error) => {
            if let Some(more) =
                session.and_then(|session| session.lines.lock().is_due(Instant::now()))
            {
                warn!(stream = %received.stream, %error, more, "batch put aside");
            }
        }
    }
}

#[cfg(test)]
mod tests;
