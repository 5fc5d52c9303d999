use std::net::SocketAddr;

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::class::Class;
use crate::ids::{Seq, SiteName, StreamId};

/// The peer, as it introduced itself.
#[derive(Clone, Debug)]
pub struct PeerInfo {
    /// Its site.
    pub site: SiteName,
    /// Its data directory's number: another one means a rebuilt site.
    pub incarnation: u64,
    /// Where it is.
    pub address: SocketAddr,
}

/// What happens on a link.
#[derive(Debug)]
pub enum LinkEvent {
    /// The link is usable.
    Up {
        /// Who is there.
        peer: PeerInfo,
        /// A new session: every earlier stream, both ways, is gone. Otherwise the old
        /// session goes on with nothing lost or doubled.
        fresh: bool,
    },
    /// The connection is gone; the link tries to come back by itself.
    Down {
        /// Why, for a person.
        reason: String,
    },
    /// The next batch of one of the peer's streams: in order, once each.
    Batch(Received),
}

/// One batch of a peer's stream.
#[derive(Debug)]
pub struct Received {
    /// The peer's number of the stream.
    pub stream: StreamId,
    /// How urgent.
    pub class: Class,
    /// The descriptor that opened the stream; the same on each of its batches.
    pub open: Bytes,
    /// Place in the stream.
    pub seq: Seq,
    /// The stream ends with this batch.
    pub last: bool,
    /// The batch.
    pub bytes: Bytes,
}

impl Received {
    /// The batch has been applied (and is durable, where that matters): only now is the
    /// peer told. Batches may be acknowledged in any order. One that is dropped without
    /// stays unacknowledged and keeps its share of the peer's window until the session ends.
    pub fn ack(self) {}
}

/// The events of one link, in order. What waits here is bounded by what a peer may have
/// unacknowledged, so reading slowly slows the peer and never loses anything.
#[derive(Debug)]
pub struct LinkEvents {
    events: mpsc::Receiver<LinkEvent>,
}

impl LinkEvents {
    /// The next event; `None` once the node is closed.
    pub async fn next(&mut self) -> Option<LinkEvent> {
        self.events.recv().await
    }
}

pub(crate) fn channel() -> (mpsc::Sender<LinkEvent>, LinkEvents) {
    let (sender, events) = mpsc::channel(1);
    (sender, LinkEvents { events })
}
