//! From the link's state to QUIC.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use quinn::{Connection, SendStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::carry::Carrier;
use super::core::Outgoing;
use crate::class::Class;

/// Acknowledgements go before everything else.
const MESSAGES_PRIORITY: i32 = 100;
/// Unit of what a class may have in QUIC's hands.
const PERMIT_BYTES: usize = 1 << 10;

/// Bytes of a class that QUIC may hold. Control and interactive share a connection and its
/// send window: neither may fill it.
const fn in_quic_bytes_max(class: Class) -> usize {
    match class {
        Class::Control => 4 << 20,
        Class::Interactive => 8 << 20,
        Class::Bulk => 1 << 30,
    }
}

const fn priority(class: Class) -> i32 {
    match class {
        Class::Control => 2,
        Class::Interactive => 1,
        Class::Bulk => 0,
    }
}

/// Writes the batches of one class, one QUIC stream each. Ends with the reason.
pub(super) async fn batches(carrier: Carrier, connection: Connection, class: Class) -> String {
    let permits = Arc::new(Semaphore::new(in_quic_bytes_max(class) / PERMIT_BYTES));
    loop {
        let outgoing = next_outgoing(&carrier, class).await;
        // There is room for another batch to be encoded.
        carrier.link.encode.notify_one();
        let wanted = outgoing.len().div_ceil(PERMIT_BYTES);
        let wanted = u32::try_from(wanted).unwrap_or(u32::MAX);
        let Ok(permit) = Arc::clone(&permits).acquire_many_owned(wanted).await else {
            return "the writer stopped".into();
        };
        match write(&carrier, &connection, class, &outgoing).await {
            Ok(stream) => until_acked(&carrier, stream, outgoing.len() as u64, permit),
            Err(error) => return error,
        }
    }
}

async fn next_outgoing(carrier: &Carrier, class: Class) -> Outgoing {
    loop {
        let taken = carrier.link.lock().take_outgoing(carrier.generation, class);
        if let Some(outgoing) = taken {
            return outgoing;
        }
        carrier.link.outgoing[class.index()].notified().await;
    }
}

/// In pieces: QUIC frees what is acknowledged piece by piece, and between them another class may
/// go first.
async fn write(
    carrier: &Carrier,
    connection: &Connection,
    class: Class,
    outgoing: &Outgoing,
) -> Result<SendStream, String> {
    let stream = connection.open_uni().await;
    let mut stream = stream.map_err(|error| error.to_string())?;
    let closed = "the stream was closed";
    stream
        .set_priority(priority(class))
        .map_err(|_| closed.to_owned())?;
    let mut payload = outgoing.payload.clone();
    let mut header = outgoing.header.clone();
    while !payload.is_empty() || !header.is_empty() {
        let piece = payload.split_to(payload.len().min(carrier.shaper.piece_bytes()));
        let bytes = header.len() + piece.len();
        carrier.shaper.take(class, bytes).await;
        let mut pieces = [std::mem::take(&mut header), piece];
        // A peer that has the batch already stops its stream: that is fine.
        match stream.write_all_chunks(&mut pieces).await {
            Ok(()) => {}
            Err(quinn::WriteError::Stopped(_)) => return Ok(stream),
            Err(error) => return Err(error.to_string()),
        }
    }
    stream.finish().map_err(|_| closed.to_owned())?;
    Ok(stream)
}

/// Counts a batch as in flight until QUIC has it acknowledged.
fn until_acked(carrier: &Carrier, stream: SendStream, len: u64, permit: OwnedSemaphorePermit) {
    let in_flight = Arc::clone(&carrier.in_flight);
    in_flight.fetch_add(len, Ordering::Relaxed);
    let acked = stream.stopped();
    tokio::spawn(async move {
        // The connection's end is seen elsewhere.
        drop(acked.await);
        in_flight.fetch_sub(len, Ordering::Relaxed);
        drop(permit);
    });
}

/// Writes acknowledgements and requests as they come. Ends with the reason.
pub(super) async fn messages(carrier: Carrier, mut send: SendStream) -> String {
    if send.set_priority(MESSAGES_PRIORITY).is_err() {
        return "the control stream was closed".into();
    }
    loop {
        let messages = carrier.link.lock().take_messages(carrier.generation);
        if messages.is_empty() {
            carrier.link.tell.notified().await;
            continue;
        }
        if let Err(error) = send.write_chunk(Bytes::from(messages)).await {
            return error.to_string();
        }
    }
}
