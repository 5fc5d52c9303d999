//! From QUIC to the link's state.

use bytes::{Buf, BytesMut};
use quinn::{Connection, RecvStream};
use tokio::sync::mpsc::Sender;
use tokio::task::JoinSet;

use super::carry::Carrier;
use super::decoder::{Arrived, DecoderJob};
use crate::session::Arrival;
use crate::wire::control::Message;
use crate::wire::frame::Header;
use crate::wire::{Malformed, ParseError};

const CHUNK_BYTES: usize = 64 << 10;

/// Reads the peer's batches, each from its own QUIC stream. Ends with the reason.
pub(super) async fn batches(
    carrier: Carrier,
    connection: Connection,
    fault: Sender<String>,
) -> String {
    // How many there are at a time is bounded by QUIC's stream limit.
    let mut readers = JoinSet::new();
    loop {
        tokio::select! {
            stream = connection.accept_uni() => match stream {
                Ok(stream) => {
                    readers.spawn(batch(carrier.clone(), stream, fault.clone()));
                }
                Err(error) => return error.to_string(),
            },
            Some(read) = readers.join_next() => match read {
                Ok(Ok(())) => {}
                Ok(Err(reason)) => return reason,
                Err(error) => return error.to_string(),
            },
        }
    }
}

async fn batch(
    carrier: Carrier,
    mut stream: RecvStream,
    fault: Sender<String>,
) -> Result<(), String> {
    let mut buffer = BytesMut::new();
    let header = read_header(&mut stream, &mut buffer).await?;
    let arrival = carrier
        .link
        .lock()
        .handle_header(carrier.generation, &header);
    if arrival.map_err(|violation| violation.to_string())? == Arrival::Duplicate {
        // It may be finished already, and then there is nothing to stop.
        drop(stream.stop(0u8.into()));
        return Ok(());
    }
    buffer.reserve(header.wire_len.saturating_sub(buffer.len()));
    while read_more(&mut stream, &mut buffer).await? {
        if buffer.len() > header.wire_len {
            return Err(Malformed("batch: longer than announced").to_string());
        }
    }
    if buffer.len() != header.wire_len {
        return Err(Malformed("batch: not as long as announced").to_string());
    }
    let arrived = Arrived {
        generation: carrier.generation,
        header,
        wire: buffer.freeze(),
        fault,
    };
    let sent = carrier.decoder.send(DecoderJob::Decode(arrived));
    sent.map_err(|_| "the decoder has stopped".into())
}

/// Leaves what follows the header in the buffer.
async fn read_header(stream: &mut RecvStream, buffer: &mut BytesMut) -> Result<Header, String> {
    loop {
        match Header::decode(buffer) {
            Ok((header, len)) => {
                buffer.advance(len);
                return Ok(header);
            }
            Err(ParseError::Incomplete) if buffer.len() < Header::BYTES_MAX => {}
            Err(error) => return Err(error.of_whole("frame header").to_string()),
        }
        if !read_more(stream, buffer).await? {
            return Err(Malformed("frame header").to_string());
        }
    }
}

/// False at the end.
async fn read_more(stream: &mut RecvStream, buffer: &mut BytesMut) -> Result<bool, String> {
    let chunk = stream.read_chunk(CHUNK_BYTES, true).await;
    let chunk = chunk.map_err(|error| error.to_string())?;
    if let Some(chunk) = &chunk {
        buffer.extend_from_slice(&chunk.bytes);
    }
    Ok(chunk.is_some())
}

/// Reads acknowledgements and requests. Ends with the reason.
pub(super) async fn messages(carrier: Carrier, mut stream: RecvStream) -> String {
    let mut buffer = BytesMut::new();
    loop {
        match Message::decode(&buffer) {
            Ok((message, len)) => {
                buffer.advance(len);
                if let Err(reason) = handle_message(&carrier, &message) {
                    return reason;
                }
            }
            Err(ParseError::Incomplete) if buffer.len() < Message::BYTES_MAX => {
                match read_more(&mut stream, &mut buffer).await {
                    Ok(true) => {}
                    Ok(false) => return "the peer ended the control stream".into(),
                    Err(reason) => return reason,
                }
            }
            Err(error) => return error.of_whole("message").to_string(),
        }
    }
}

fn handle_message(carrier: &Carrier, message: &Message) -> Result<(), String> {
    let link = &carrier.link;
    let handled = link.lock().handle_message(carrier.generation, message);
    handled.map_err(|violation| violation.to_string())?;
    link.acked.notify_waiters();
    link.encode.notify_one();
    Ok(())
}
