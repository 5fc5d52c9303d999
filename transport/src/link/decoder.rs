//! The decoder's thread.

use std::sync::{Arc, mpsc};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::core::Generation;
use super::shared::Shared;
use crate::codec::{Decode, Decoding};
use crate::wire::frame::Header;

/// A batch that was read in full.
#[derive(Debug)]
pub(super) struct Arrived {
    pub(super) generation: Generation,
    pub(super) header: Header,
    pub(super) wire: Bytes,
    /// Where to complain if it is no good.
    pub(super) fault: tokio::sync::mpsc::Sender<String>,
}

/// What the decoder thread does. What queues here is bounded by the session's window.
#[derive(Debug)]
pub(super) enum DecoderJob {
    Decode(Arrived),
    /// Forget what waits; what do you hold?
    Hello(oneshot::Sender<Bytes>),
}

/// Runs until all senders of jobs are gone.
pub(super) fn run(
    link: &Arc<Shared>,
    mut decoder: Box<dyn Decode>,
    jobs: &mpsc::Receiver<DecoderJob>,
) {
    let mut waiting = Vec::new();
    while let Ok(job) = jobs.recv() {
        match job {
            DecoderJob::Hello(reply) => {
                waiting.clear();
                drop(reply.send(decoder.hello()));
            }
            DecoderJob::Decode(arrived) if link.lock().is_current(arrived.generation) => {
                decode_with_waiting(link, &mut *decoder, arrived, &mut waiting);
            }
            DecoderJob::Decode(_) => {}
        }
    }
}

/// Decodes a batch, and then those that waited for it.
fn decode_with_waiting(
    link: &Shared,
    decoder: &mut dyn Decode,
    arrived: Arrived,
    waiting: &mut Vec<Arrived>,
) {
    let mut candidates = vec![arrived];
    while let Some(arrived) = candidates.pop() {
        match decoder.decode(arrived.wire.clone()) {
            Decoding::Waiting => waiting.push(arrived),
            Decoding::Ready(raw) => {
                handle_ready(link, &arrived, raw);
                candidates.append(waiting);
            }
            Decoding::Missing if arrived.header.literal => {
                complain(&arrived, "a batch that refers to nothing lacks something");
            }
            Decoding::Missing => {
                link.lock()
                    .handle_missing(arrived.generation, &arrived.header);
                link.tell.notify_one();
            }
            Decoding::Corrupt(reason) => complain(&arrived, &reason),
        }
    }
}

fn handle_ready(link: &Shared, arrived: &Arrived, raw: Bytes) {
    let result = link
        .lock()
        .handle_decoded(arrived.generation, &arrived.header, raw);
    match result {
        Ok(()) => link.event.notify_one(),
        Err(violation) => complain(arrived, &violation.to_string()),
    }
}

/// The first complaint ends the connection; more are not needed.
fn complain(arrived: &Arrived, reason: &str) {
    let header = &arrived.header;
    let reason = format!("batch {} of stream {}: {reason}", header.seq, header.stream);
    drop(arrived.fault.try_send(reason));
}
