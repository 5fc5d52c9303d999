use std::sync::Arc;

use bytes::Bytes;

use super::core::Core;
use super::shared::Shared;
use crate::class::Class;
use crate::error::SendError;
use crate::identity::PublicKey;
use crate::ids::{Seq, SiteName, StreamId};
use crate::status::{ClassStatus, Ledger, LinkStatus};
use crate::{BATCH_BYTES_MAX, OPEN_BYTES_MAX};

/// A link, to send on and to ask about. Cheap to clone.
#[derive(Clone, Debug)]
pub struct LinkHandle {
    link: Arc<Shared>,
}

impl LinkHandle {
    pub(super) fn new(link: Arc<Shared>) -> Self {
        Self { link }
    }

    /// The peer's site.
    pub fn site(&self) -> &SiteName {
        &self.link.site
    }

    /// The peer's pinned key.
    pub fn key(&self) -> PublicKey {
        self.link.settings().key
    }

    /// Opens a stream in the session whose [`LinkEvent::Up`](crate::LinkEvent::Up) was
    /// last read from [`LinkEvents`](crate::LinkEvents). `open` (at most
    /// [`OPEN_BYTES_MAX`]) reaches the peer with the first batch.
    pub fn open(&self, class: Class, open: Bytes) -> Result<OutStream, SendError> {
        if open.len() > OPEN_BYTES_MAX {
            return Err(SendError::TooLarge);
        }
        let stream = self.link.lock().open(class, open)?;
        Ok(OutStream {
            class,
            stream,
            link: Arc::clone(&self.link),
        })
    }

    /// The link at this moment.
    pub fn status(&self) -> LinkStatus {
        status(&self.link.lock())
    }

    /// Waits until the peer refuses this gateway as a copy of the one that it is linked with.
    pub async fn refused_as_copy(&self) {
        let mut refused = self.link.refused.subscribe();
        // The link is gone: nobody will say so any more.
        if refused.wait_for(|refused| *refused).await.is_err() {
            std::future::pending().await
        }
    }

    /// Lets no more than so many bits a second of a class's encoded batches go, on average; 0:
    /// none. `None`, as at first: as many as the link carries.
    pub fn set_class_rate(&self, class: Class, bits_s: Option<u64>) {
        self.link.lock().set_allowance(class, bits_s);
        self.link.encode.notify_one();
    }

    /// Drops the connection and stops dialing and answering until [`LinkHandle::resume`].
    /// The session survives.
    pub fn pause(&self) {
        self.link.set_paused(true);
    }

    /// Undoes [`LinkHandle::pause`].
    pub fn resume(&self) {
        self.link.set_paused(false);
    }
}

fn status(core: &Core) -> LinkStatus {
    let telemetry = &core.telemetry;
    let classes = Class::ALL.map(|class| {
        let received = telemetry.received[class.index()];
        ClassStatus {
            class,
            ledger: core.class_ledger(class),
            level: core.level(class),
            received_batches: received.batches,
            received_bytes: received.bytes,
        }
    });
    let mut ledger = Ledger::default();
    for class in &classes {
        ledger.add(&class.ledger);
    }
    let sample = telemetry.sample();
    let bulk = sample.map(|sample| sample.bulk).unwrap_or_default();
    let peer = telemetry.peer.as_ref();
    let traffic = telemetry.traffic();
    LinkStatus {
        phase: telemetry.phase,
        since: telemetry.since,
        peer_address: sample.map(|sample| sample.address),
        transport: sample.map(|sample| sample.transport),
        peer_incarnation: peer.map(|p| p.incarnation),
        rtt: sample.and_then(|sample| sample.control.rtt),
        lost_percent: telemetry.lost_percent(),
        window_bytes: bulk.window_bytes,
        in_flight_bytes: sample.map_or(0, |sample| sample.in_flight_bytes),
        memory_bytes: core.batch_bytes()
            + sample.map_or(0, |sample| sample.in_flight_bytes + sample.socket_bytes),
        rate_bytes_s: bulk.rate_bytes_s,
        udp_sent_bytes: traffic.udp_sent_bytes,
        udp_received_bytes: traffic.udp_received_bytes,
        udp_sent_packets: traffic.udp_sent_packets,
        udp_received_packets: traffic.udp_received_packets,
        tcp_sent_bytes: traffic.tcp_sent_bytes,
        tcp_received_bytes: traffic.tcp_received_bytes,
        reconnects: telemetry.ups.saturating_sub(1),
        handovers: telemetry.handovers,
        stalls: telemetry.stalls,
        copies: telemetry.copies,
        refused_as_copy: telemetry.refused_as_copy.clone(),
        last_error: telemetry.last_error.clone(),
        ledger,
        classes,
    }
}

/// One outgoing ordered stream of batches. Dropping it without a last batch leaves the
/// peer waiting until the session ends.
#[derive(Debug)]
pub struct OutStream {
    class: Class,
    stream: StreamId,
    link: Arc<Shared>,
}

impl OutStream {
    /// How urgent it is.
    pub fn class(&self) -> Class {
        self.class
    }

    /// Its number, as the peer sees it, too.
    pub fn id(&self) -> StreamId {
        self.stream
    }

    /// Queues one batch of at most [`BATCH_BYTES_MAX`] bytes, or none at all. Waits while
    /// the class's queue is full, however long the peer is away. `last` ends the stream.
    /// Cancelled, it has queued nothing.
    pub async fn send(&mut self, batch: Bytes, last: bool) -> Result<Seq, SendError> {
        if batch.len() > BATCH_BYTES_MAX {
            return Err(SendError::TooLarge);
        }
        let room = &self.link.room[self.class.index()];
        loop {
            let notified = room.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            let queued = self
                .link
                .lock()
                .push(self.class, self.stream, &batch, last)?;
            match queued {
                Some(seq) => {
                    self.link.encode.notify_one();
                    return Ok(seq);
                }
                None => notified.await,
            }
        }
    }

    /// Waits until the peer has acknowledged this batch and all before it.
    pub async fn acked(&self, seq: Seq) -> Result<(), SendError> {
        loop {
            let notified = self.link.acked.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            if self.is_acked(seq)? {
                return Ok(());
            }
            notified.await;
        }
    }

    /// Whether the peer has acknowledged this batch and all before it.
    pub fn is_acked(&self, seq: Seq) -> Result<bool, SendError> {
        self.link.lock().is_acked(self.stream, seq)
    }

    /// Waits until everything that was sent is acknowledged.
    pub async fn all_acked(&self) -> Result<(), SendError> {
        let next = self.link.lock().next_seq(self.stream)?;
        match next.0.checked_sub(1) {
            Some(last) => self.acked(Seq(last)).await,
            None => Ok(()),
        }
    }

    /// Waits until what was sent has cost more than `wire_bytes` on the wire; what it has cost then.
    pub async fn wire_bytes_beyond(&self, wire_bytes: u64) -> Result<u64, SendError> {
        loop {
            // Rung whenever a batch of the class is encoded.
            let notified = self.link.room[self.class.index()].notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            {
                let core = self.link.lock();
                core.next_seq(self.stream)?;
                let cost = core.stream_ledger_of(self.stream).wire_bytes;
                if cost > wire_bytes {
                    return Ok(cost);
                }
            }
            notified.await;
        }
    }

    /// This stream's bytes at each step, in this session.
    pub fn ledger(&self) -> Ledger {
        self.link.lock().stream_ledger_of(self.stream)
    }
}

impl Drop for OutStream {
    fn drop(&mut self) {
        self.link.lock().detach(self.stream);
    }
}
