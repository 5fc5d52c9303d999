use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;

use crate::class::Class;
use crate::error::SendError;
use crate::identity::PublicKey;
use crate::ids::{Seq, SiteName};
use crate::status::{ClassStatus, Ledger, LinkStatus, Phase};

/// A link, to send on and to ask about. Cheap to clone.
#[derive(Clone, Debug)]
pub struct LinkHandle {
    peer: Arc<(SiteName, PublicKey)>,
}

impl LinkHandle {
    pub(crate) fn new(site: SiteName, key: PublicKey) -> Self {
        Self {
            peer: Arc::new((site, key)),
        }
    }

    /// The peer's site.
    pub fn site(&self) -> &SiteName {
        &self.peer.0
    }

    /// The peer's pinned key.
    pub fn key(&self) -> PublicKey {
        self.peer.1
    }

    /// Opens a stream in the session whose [`LinkEvent::Up`](crate::LinkEvent::Up) was
    /// last read from [`LinkEvents`](crate::LinkEvents). `open` (at most
    /// [`OPEN_BYTES_MAX`](crate::OPEN_BYTES_MAX)) reaches the peer with the first batch.
    pub fn open(&self, _class: Class, _open: Bytes) -> Result<OutStream, SendError> {
        Err(SendError::SessionReset)
    }

    /// The link at this moment.
    pub fn status(&self) -> LinkStatus {
        let classes = Class::ALL.map(|class| ClassStatus {
            class,
            ledger: Ledger::default(),
            received_batches: 0,
            received_bytes: 0,
        });
        LinkStatus {
            phase: Phase::Connecting,
            since: SystemTime::now(),
            peer_address: None,
            peer_incarnation: None,
            rtt: None,
            lost_percent: 0.0,
            window_bytes: 0,
            in_flight_bytes: 0,
            rate_bytes_s: None,
            udp_sent_bytes: 0,
            udp_received_bytes: 0,
            udp_sent_packets: 0,
            udp_received_packets: 0,
            reconnects: 0,
            last_error: None,
            ledger: Ledger::default(),
            classes,
        }
    }

    /// Drops the connection and stops dialing and answering until [`LinkHandle::resume`].
    /// The session survives.
    pub fn pause(&self) {}

    /// Undoes [`LinkHandle::pause`].
    pub fn resume(&self) {}
}

/// One outgoing ordered stream of batches. Dropping it without a last batch leaves the
/// peer waiting until the session ends.
#[derive(Debug)]
pub struct OutStream {
    class: Class,
}

impl OutStream {
    /// How urgent it is.
    pub fn class(&self) -> Class {
        self.class
    }

    /// Queues one batch of at most [`BATCH_BYTES_MAX`](crate::BATCH_BYTES_MAX) bytes, or
    /// none at all. Waits while the class's queue is full, however long the peer is away.
    /// `last` ends the stream.
    pub async fn send(&mut self, _batch: Bytes, _last: bool) -> Result<Seq, SendError> {
        Err(SendError::SessionReset)
    }

    /// Waits until the peer has acknowledged this batch and all before it.
    pub async fn acked(&self, _seq: Seq) -> Result<(), SendError> {
        Err(SendError::SessionReset)
    }

    /// Waits until everything that was sent is acknowledged.
    pub async fn all_acked(&self) -> Result<(), SendError> {
        Err(SendError::SessionReset)
    }

    /// This stream's bytes at each step.
    pub fn ledger(&self) -> Ledger {
        Ledger::default()
    }
}
