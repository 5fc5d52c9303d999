use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;

use super::core::{AckTicket, Epoch};
use super::shared::Shared;
use crate::class::Class;
use crate::ids::{Seq, SiteName, StreamId, WireVersion};
use crate::session::Delivery;

/// The peer, as it introduced itself.
#[derive(Clone, Debug)]
pub struct PeerInfo {
    /// Its site.
    pub site: SiteName,
    /// Its data directory's number: another one means a rebuilt site.
    pub incarnation: u64,
    /// Where it is.
    pub address: SocketAddr,
    /// The newest version of the wire that both ends speak. The same throughout a session.
    pub wire_version: WireVersion,
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
        /// Either end was paused or stopped, and said so.
        is_meant: bool,
    },
    /// The next batch of one of the peer's streams: in order, once each.
    Batch(Received),
}

/// An event as it waits for its reader.
#[derive(Debug)]
pub(super) enum QueuedEvent {
    Up { peer: PeerInfo, fresh: bool },
    Down { reason: String, is_meant: bool },
    Batch(Delivery),
}

impl QueuedEvent {
    pub(super) fn into_link_event(self) -> Result<LinkEvent, Delivery> {
        match self {
            Self::Up { peer, fresh } => Ok(LinkEvent::Up { peer, fresh }),
            Self::Down { reason, is_meant } => Ok(LinkEvent::Down { reason, is_meant }),
            Self::Batch(delivery) => Err(delivery),
        }
    }
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
    ticket: AckTicket,
    link: Arc<Shared>,
}

impl Received {
    /// The batch has been applied (and is durable, where that matters): only now is the
    /// peer told. Batches may be acknowledged in any order. One that is dropped without
    /// stays unacknowledged and keeps its share of the peer's window until the session ends.
    pub fn ack(self) {
        self.link.ack(self.ticket);
    }

    fn new(link: Arc<Shared>, epoch: Epoch, delivery: Delivery) -> Self {
        let ticket = AckTicket {
            epoch,
            class: delivery.class,
            number: delivery.number,
            len: delivery.raw.len(),
        };
        Self {
            stream: delivery.stream,
            class: delivery.class,
            open: delivery.open,
            seq: delivery.seq,
            last: delivery.last,
            bytes: delivery.raw,
            ticket,
            link,
        }
    }
}

/// The events of one link, in order. What waits here is bounded by what a peer may have
/// unacknowledged, so reading slowly slows the peer and never loses anything.
#[derive(Debug)]
pub struct LinkEvents {
    link: Arc<Shared>,
}

impl LinkEvents {
    pub(super) fn new(link: Arc<Shared>) -> Self {
        Self { link }
    }

    /// The next event; `None` once the node is closed. May be cancelled.
    pub async fn next(&mut self) -> Option<LinkEvent> {
        loop {
            let notified = self.link.event.notified();
            let event = {
                let mut core = self.link.lock();
                match core.poll_event() {
                    Some(event) => Some(event),
                    None if core.closed => return None,
                    None => None,
                }
            };
            match event {
                Some((epoch, event)) => {
                    return Some(event.into_link_event().unwrap_or_else(|delivery| {
                        let link = Arc::clone(&self.link);
                        LinkEvent::Batch(Received::new(link, epoch, delivery))
                    }));
                }
                None => notified.await,
            }
        }
    }
}
