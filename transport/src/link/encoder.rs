//! The encoder's thread.

use std::sync::Arc;
use std::time::Instant;

use super::core::EncoderJob;
use super::shared::Shared;
use crate::codec::{BatchRef, Encode};

/// Runs until the link is closed.
pub(super) fn run(link: &Arc<Shared>, mut encoder: Box<dyn Encode>) {
    while let Some(job) = next_job(link) {
        match job {
            EncoderJob::Acked(acked) => encoder.handle_acked(acked.stream, acked.seq),
            EncoderJob::Drain(rate) => encoder.handle_drain(rate),
            EncoderJob::Hello { codec, reply } => {
                // Nobody waits any more if the connection is gone.
                drop(reply.send(encoder.handle_hello(&codec)));
            }
            EncoderJob::Encode {
                generation,
                batch,
                hurried,
            } => {
                let encoded = encoder.encode(BatchRef {
                    stream: batch.stream,
                    seq: batch.seq,
                    class: batch.class,
                    literal: batch.literal,
                    hurried,
                    raw: &batch.raw,
                });
                let class = batch.class;
                link.lock()
                    .put_encoded(Instant::now(), generation, batch, encoded);
                link.outgoing[class.index()].notify_one();
                link.room[class.index()].notify_waiters();
            }
        }
    }
}

fn next_job(link: &Shared) -> Option<EncoderJob> {
    let mut core = link.lock();
    loop {
        if core.closed {
            return None;
        }
        let now = Instant::now();
        if let Some(job) = core.next_job(now) {
            return Some(job);
        }
        let until = core.opens_at(now);
        link.wait_encode(&mut core, until);
    }
}
