//! From the link's state to its connections.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::sleep;

use super::pair::Carrier;
use crate::class::Class;
use crate::line::{Connection, Sink};
use crate::quic::SEND_WINDOW_BYTES_MAX;
use crate::session::UNACKED_SPAN_MAX;
use crate::status::Transport;

/// A batch that fits into one datagram and is urgent is written a second time, so much later, where
/// packets are lost: to find out that one was takes a round trip and more, and what follows it in
/// its stream waits meanwhile.
const REPEAT_AFTER: Duration = Duration::from_millis(10);
const REPEAT_BYTES_MAX: usize = 1100;
/// Of a class, at a time.
const REPEATS_MAX: usize = 64;
/// Unit of what a class may have in a connection's hands.
const PERMIT_BYTES: usize = 1 << 10;

/// Bytes of a class that a connection may hold. Control and interactive share a connection and its
/// send window: neither may fill it.
const fn in_hands_bytes_max(class: Class) -> usize {
    match class {
        Class::Control => 4 << 20,
        Class::Interactive => 8 << 20,
        Class::Bulk => 1 << 30,
    }
}

/// What a batch takes of them: at least so much that no more of them, and of the tasks that wait for
/// their end, are in a connection's hands than a session has under way.
fn permits_of(class: Class, len: usize) -> u32 {
    let least = in_hands_bytes_max(class) / PERMIT_BYTES / UNACKED_SPAN_MAX as usize;
    let permits = len.div_ceil(PERMIT_BYTES).max(least);
    u32::try_from(permits).unwrap_or(u32::MAX)
}

/// Encoded bytes of all classes that both connections of a pair may hold.
pub(crate) const IN_HANDS_BYTES_MAX: u64 = in_hands_bytes_max(Class::Control) as u64
    + in_hands_bytes_max(Class::Interactive) as u64
    + SEND_WINDOW_BYTES_MAX;

/// A batch as its writer needs it.
#[derive(Clone, Debug)]
pub(super) struct Outgoing {
    pub(super) header: Bytes,
    pub(super) payload: Bytes,
}

impl Outgoing {
    pub(super) fn len(&self) -> usize {
        self.header.len() + self.payload.len()
    }
}

/// Writes the batches of one class, until a newer pair takes over. Ends with the reason.
pub(super) async fn batches(carrier: Carrier, connection: Connection, class: Class) -> String {
    let permits = Arc::new(Semaphore::new(in_hands_bytes_max(class) / PERMIT_BYTES));
    let repeats = Arc::new(Semaphore::new(REPEATS_MAX));
    while let Some(outgoing) = next_outgoing(&carrier, class).await {
        // There is room for another batch to be encoded.
        carrier.link.encode.notify_one();
        let wanted = permits_of(class, outgoing.len());
        let Ok(permit) = Arc::clone(&permits).acquire_many_owned(wanted).await else {
            return "the writer stopped".into();
        };
        match write(&carrier, &connection, class, &outgoing).await {
            Ok(acked) => until_acked(&carrier, acked, outgoing.len() as u64, permit),
            Err(error) => return error,
        }
        carrier.drain.handle_written();
        if is_repeated(&carrier, &connection, class, &outgoing)
            && let Ok(turn) = Arc::clone(&repeats).try_acquire_owned()
        {
            let (drain, connection) = (Arc::clone(&carrier.drain), connection.clone());
            tokio::spawn(async move {
                sleep(REPEAT_AFTER).await;
                if drain.begin_write() {
                    // The connection's end is seen elsewhere.
                    drop(repeat(&connection, class, outgoing).await);
                    drain.handle_written();
                }
                drop(turn);
            });
        }
    }
    std::future::pending().await
}

/// `None`: nothing more goes out over this pair.
async fn next_outgoing(carrier: &Carrier, class: Class) -> Option<Outgoing> {
    loop {
        let taken = {
            let mut core = carrier.link.lock();
            let ready = core.has_outgoing(carrier.generation, class);
            match ready && carrier.drain.begin_write() {
                true => core.take_outgoing(carrier.generation, class),
                false => None,
            }
        };
        if taken.is_some() {
            return taken;
        }
        tokio::select! {
            () = carrier.link.outgoing[class.index()].notified() => {}
            () = carrier.drain.retired() => {
                // Whoever takes over is to hear the bell.
                carrier.link.outgoing[class.index()].notify_one();
                return None;
            }
        }
    }
}

/// In pieces: QUIC frees what is acknowledged piece by piece, and between them another class may
/// go first.
async fn write(
    carrier: &Carrier,
    connection: &Connection,
    class: Class,
    outgoing: &Outgoing,
) -> Result<impl Future<Output = ()> + Send + 'static, String> {
    let mut sink = connection.open(class).await?;
    let mut payload = outgoing.payload.clone();
    let mut header = outgoing.header.clone();
    while !payload.is_empty() || !header.is_empty() {
        let piece = payload.split_to(payload.len().min(carrier.shaper.piece_bytes()));
        let bytes = header.len() + piece.len();
        carrier.shaper.take(class, bytes).await;
        sink.write(&mut [std::mem::take(&mut header), piece])
            .await?;
    }
    sink.finish()
}

fn is_repeated(
    carrier: &Carrier,
    connection: &Connection,
    class: Class,
    outgoing: &Outgoing,
) -> bool {
    class != Class::Bulk
        && outgoing.len() <= REPEAT_BYTES_MAX
        && connection.transport() == Transport::Quic
        && carrier.is_lossy.load(Ordering::Relaxed)
}

/// The peer takes what comes first; nobody waits for this one.
async fn repeat(connection: &Connection, class: Class, outgoing: Outgoing) -> Result<(), String> {
    let mut sink = connection.open(class).await?;
    let mut pieces = [outgoing.header, outgoing.payload];
    sink.write(&mut pieces).await?;
    drop(sink.finish()?);
    Ok(())
}

/// Counts a batch as in flight until the peer's end has acknowledged it.
fn until_acked(
    carrier: &Carrier,
    acked: impl Future<Output = ()> + Send + 'static,
    len: u64,
    permit: OwnedSemaphorePermit,
) {
    let in_flight = Arc::clone(&carrier.in_flight);
    in_flight.fetch_add(len, Ordering::Relaxed);
    tokio::spawn(async move {
        acked.await;
        in_flight.fetch_sub(len, Ordering::Relaxed);
        drop(permit);
    });
}

/// Writes acknowledgements and requests as they come; once a newer pair has taken over, only
/// what the handover needs. Ends with the reason.
pub(super) async fn messages(carrier: Carrier, mut send: Sink) -> String {
    loop {
        let mut messages = Vec::new();
        if !carrier.drain.is_retired() {
            messages = carrier.link.lock().take_messages(carrier.generation);
        }
        while let Some(message) = carrier.drain.poll_message() {
            message.encode(&mut messages);
        }
        if !messages.is_empty() {
            if let Err(error) = send.write(&mut [Bytes::from(messages)]).await {
                return error;
            }
            carrier.drain.ring_if_over();
            continue;
        }
        tokio::select! {
            () = carrier.link.tell.notified(), if !carrier.drain.is_retired() => {
                if carrier.drain.is_retired() {
                    // Whoever takes over is to hear the bell.
                    carrier.link.tell.notify_one();
                }
            }
            () = carrier.drain.tell.notified() => {}
        }
    }
}
