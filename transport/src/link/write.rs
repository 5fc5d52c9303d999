//! From the link's state to its connections.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::core::Outgoing;
use super::pair::Carrier;
use crate::class::Class;
use crate::line::{Connection, Sink};

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

/// Writes the batches of one class, until a newer pair takes over. Ends with the reason.
pub(super) async fn batches(carrier: Carrier, connection: Connection, class: Class) -> String {
    let permits = Arc::new(Semaphore::new(in_hands_bytes_max(class) / PERMIT_BYTES));
    while let Some(outgoing) = next_outgoing(&carrier, class).await {
        // There is room for another batch to be encoded.
        carrier.link.encode.notify_one();
        let wanted = outgoing.len().div_ceil(PERMIT_BYTES);
        let wanted = u32::try_from(wanted).unwrap_or(u32::MAX);
        let Ok(permit) = Arc::clone(&permits).acquire_many_owned(wanted).await else {
            return "the writer stopped".into();
        };
        match write(&carrier, &connection, class, &outgoing).await {
            Ok(acked) => until_acked(&carrier, acked, outgoing.len() as u64, permit),
            Err(error) => return error,
        }
        carrier.drain.handle_written();
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
