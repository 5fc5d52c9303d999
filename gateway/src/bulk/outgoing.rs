//! Sending one file: a header, its bytes within the receiver's credit, a trailer,
//! and the receiver's verdict.

use std::sync::Arc;

use bytes::Bytes;
use strait_transport::{Class, LinkHandle, OutStream};

use super::control::Progress;
use super::failure::Failure;
use super::limit::Limiter;
use super::message::{self, Cost, Ending, Header};
use super::session::{Answers, Session};
use super::store::Trailer;
use crate::streams::{StreamOpen, TransferId};

/// Batches of a file's stream that may be sent before the receiver grants more.
pub(super) const CREDIT_INITIAL: u64 = 4;

/// A file on its way to the peer. End it with [`Outgoing::send_trailer`] or
/// [`Outgoing::abort`]: the peer waits for one or the other.
#[derive(Debug)]
pub(super) struct Outgoing {
    session: Arc<Session>,
    transfer: TransferId,
    stream: OutStream,
    answers: Answers,
    batches_sent: u64,
    limiter: Option<Arc<Limiter>>,
}

impl Outgoing {
    /// Opens the stream and sends its header.
    pub(super) async fn start(
        session: Arc<Session>,
        link: &LinkHandle,
        transfer: TransferId,
        header: &Header,
        limiter: Option<Arc<Limiter>>,
    ) -> Result<Self, Failure> {
        let stream = link.open(Class::Bulk, StreamOpen::BulkData { transfer }.encode())?;
        let answers = session.add_outgoing(transfer, CREDIT_INITIAL);
        let mut outgoing = Self {
            session,
            transfer,
            stream,
            answers,
            batches_sent: 0,
            limiter,
        };
        outgoing.send_batch(message::encode(header)).await?;
        Ok(outgoing)
    }

    /// Sends bytes of the file, at most a batch of them, once the receiver, the link and the limit
    /// have room for it. Fails early if the receiver says that the file cannot be kept.
    pub(super) async fn send(&mut self, mut bytes: Bytes) -> Result<(), Failure> {
        let piece = self.limiter.as_ref().map(|limiter| limiter.piece_bytes());
        while let Some(piece) = piece.filter(|piece| *piece < bytes.len()) {
            self.send_batch(bytes.split_to(piece)).await?;
        }
        self.send_batch(bytes).await
    }

    async fn send_batch(&mut self, batch: Bytes) -> Result<(), Failure> {
        let number = self.batches_sent;
        let sending = async {
            let allowed = self
                .answers
                .credit
                .wait_for(|credit| *credit > number)
                .await;
            allowed.map_err(|_| Failure::SessionReset)?;
            let Some(limiter) = &self.limiter else {
                self.stream.send(batch, false).await?;
                return Ok(());
            };
            let turn = limiter.turn().await;
            let before = self.stream.ledger().wire_bytes;
            self.stream.send(batch, false).await?;
            turn.spend(self.stream.wire_bytes_beyond(before).await? - before);
            Ok(())
        };
        tokio::select! {
            biased;
            verdict = &mut self.answers.verdict => Err(premature(verdict.ok())),
            sent = sending => match sent {
                Ok(()) => {
                    self.batches_sent += 1;
                    Ok(())
                }
                Err(failure) => Err(self.told(failure).await),
            }
        }
    }

    /// A stream may know that the session is over before the room does: whoever hears of it and
    /// tries again is to find the next session.
    async fn told(&mut self, failure: Failure) -> Failure {
        if failure == Failure::SessionReset {
            return self.refused().await;
        }
        failure
    }

    /// Returns when the receiver has said, early, that it will not keep the file.
    /// Once it has returned, all that is left to do is [`Outgoing::abort`].
    pub(super) async fn refused(&mut self) -> Failure {
        premature((&mut self.answers.verdict).await.ok())
    }

    /// Says that the file is complete.
    pub(super) async fn send_trailer(&mut self, trailer: &Trailer) -> Result<(), Failure> {
        let ending = Ending::Whole {
            length: trailer.length,
            digest: *trailer.digest.as_bytes(),
            cost: self.progress().cost,
        };
        match self.stream.send(message::encode(&ending), true).await {
            Ok(_) => Ok(()),
            Err(error) => Err(self.told(error.into()).await),
        }
    }

    /// After the trailer: waits until the file is durable at the peer.
    pub(super) async fn verdict(&mut self) -> Result<(), Failure> {
        match (&mut self.answers.verdict).await {
            Ok(verdict) => verdict,
            Err(_) => Err(Failure::SessionReset),
        }
    }

    /// Waits until the receiver takes one more batch. Fails early if it says that the file cannot
    /// be kept.
    pub(super) async fn credit(&mut self) -> Result<(), Failure> {
        let number = self.batches_sent;
        let allowed = async {
            let credit = &mut self.answers.credit;
            let allowed = credit.wait_for(|credit| *credit > number).await;
            allowed.map(drop).map_err(|_| Failure::SessionReset)
        };
        let allowed = tokio::select! {
            biased;
            verdict = &mut self.answers.verdict => return Err(premature(verdict.ok())),
            allowed = allowed => allowed,
        };
        match allowed {
            Ok(()) => Ok(()),
            Err(failure) => Err(self.told(failure).await),
        }
    }

    /// Says that there is no rest, unless the trailer was sent. Does not wait for the link.
    pub(super) fn abort(self, failure: Failure) {
        self.session.remove_outgoing(self.transfer);
        self.session.end_stream(self.stream, failure);
    }

    /// How far it is.
    pub(super) fn progress(&self) -> Progress {
        let ledger = self.stream.ledger();
        let encoded_bytes = ledger.logical_bytes.saturating_sub(ledger.queued_bytes);
        Progress {
            arrived_bytes: encoded_bytes.saturating_sub(ledger.unacked_bytes),
            cost: Cost {
                logical_bytes: encoded_bytes,
                wire_bytes: ledger.wire_bytes,
            },
        }
    }
}

/// The verdict that came before the trailer.
fn premature(verdict: Option<Result<(), Failure>>) -> Failure {
    match verdict {
        Some(Err(failure)) => failure,
        Some(Ok(())) => Failure::protocol("it confirmed a file that it has only part of"),
        None => Failure::SessionReset,
    }
}
