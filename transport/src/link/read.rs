//! From a link's connections to its state.

use bytes::{Buf, BytesMut};
use tokio::sync::mpsc::Sender;
use tokio::task::JoinSet;

use super::decoder::{Arrived, DecoderJob};
use super::pair::Carrier;
use crate::line::{Connection, Source};
use crate::session::Arrival;
use crate::wire::control::Message;
use crate::wire::frame::Header;
use crate::wire::{Malformed, ParseError};

/// Reads the peer's streams of frames. Ends with the reason.
pub(super) async fn batches(
    carrier: Carrier,
    connection: Connection,
    fault: Sender<String>,
) -> String {
    // How many there are at a time is bounded by QUIC's stream limit.
    let mut readers = JoinSet::new();
    loop {
        tokio::select! {
            stream = connection.accept() => match stream {
                Ok(stream) => {
                    readers.spawn(frames(carrier.clone(), stream, fault.clone()));
                }
                Err(error) => return error,
            },
            Some(read) = readers.join_next() => match read {
                Ok(Ok(())) => {}
                Ok(Err(reason)) => return reason,
                Err(error) => return error.to_string(),
            },
        }
    }
}

/// One frame after the other, to the stream's end.
async fn frames(carrier: Carrier, mut stream: Source, fault: Sender<String>) -> Result<(), String> {
    let mut buffer = BytesMut::new();
    while let Some(header) = read_header(&mut stream, &mut buffer).await? {
        let arrival = carrier
            .link
            .lock()
            .handle_header(carrier.generation, &header);
        match arrival.map_err(|violation| violation.to_string())? {
            Arrival::New => {
                stream.fill(&mut buffer, header.wire_len).await?;
                let wire = buffer.split_to(header.wire_len).freeze();
                carrier.drain.handle_read();
                let arrived = Arrived {
                    generation: carrier.generation,
                    header,
                    wire,
                    fault: fault.clone(),
                };
                let sent = carrier.decoder.send(DecoderJob::Decode(arrived));
                sent.map_err(|_| "the decoder has stopped".to_owned())?;
            }
            // The peer's window counts a batch once: nothing of a second copy may wait here.
            Arrival::Duplicate => {
                stream.skip(&mut buffer, header.wire_len).await?;
                carrier.drain.handle_read();
            }
        }
    }
    Ok(())
}

/// Leaves what follows the header in the buffer. `None` at the stream's end.
async fn read_header(stream: &mut Source, buffer: &mut BytesMut) -> Result<Option<Header>, String> {
    loop {
        match Header::decode(buffer) {
            Ok((header, len)) => {
                buffer.advance(len);
                return Ok(Some(header));
            }
            Err(ParseError::Incomplete) if buffer.len() < Header::BYTES_MAX => {}
            Err(error) => return Err(error.of_whole("frame header").to_string()),
        }
        if !stream.more(buffer).await? {
            return match buffer.is_empty() {
                true => Ok(None),
                false => Err(Malformed("frame header").to_string()),
            };
        }
    }
}

/// Reads acknowledgements and requests. Ends with the reason.
pub(super) async fn messages(carrier: Carrier, mut stream: Source) -> String {
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
                match stream.more(&mut buffer).await {
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
    let (link, generation) = (&carrier.link, carrier.generation);
    let handled = match message {
        Message::Acks { class, runs } => link.lock().handle_acks(generation, *class, runs),
        Message::Missing { class, number } => {
            link.lock().handle_wanted(generation, *class, *number);
            Ok(())
        }
        Message::Renew => {
            // The peer has nothing to wish for where it dialed itself.
            if carrier.dialed {
                link.renew.notify_one();
            }
            Ok(())
        }
        Message::Last { batches } => carrier.drain.handle_last(*batches),
        Message::Drained => carrier.drain.handle_drained(),
    };
    handled.map_err(|violation| violation.to_string())?;
    link.acked.notify_waiters();
    link.encode.notify_one();
    Ok(())
}
