//! A file that a peer pulls: from the disk onto the link, as the peer grants credit for it.

use std::fs::File;
use std::sync::Arc;

use bytes::Bytes;
use strait_transport::SiteName;
use tokio::sync::OwnedSemaphorePermit;

use super::failure::Failure;
use super::figures::{Counted, Direction};
use super::limit::Limit;
use super::message::{Header, Message};
use super::outgoing::Outgoing;
use super::read::{BatchReader, Snapshot};
use super::room::{Room, Site};
use super::session::{Place, Session};
use super::store::{Source, Trailer};
use crate::streams::TransferId;

/// A file that the peer pulls.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) session: Arc<Session>,
    pub(super) transfer: TransferId,
    pub(super) path: String,
    pub(super) limit: Option<Limit>,
    /// Kept until the answer is on its way.
    pub(super) place: Place,
}

/// Sends it.
pub(super) async fn serve_pull(room: Arc<Room>, name: SiteName, asked: Asked) {
    let Ok(site) = room.site(&name) else {
        return;
    };
    match send_file(&room, site, &asked).await {
        Ok(length) => tracing::info!(site = %name, length, "sent a file"),
        Err(failure) => {
            match failure == Failure::NotFound {
                // An answer like others: the peer may ask in order to learn it.
                true => tracing::debug!(site = %name, "the peer asked for a file that is not here"),
                false => {
                    if let Some(more) = site.is_line_due(|lines| &mut lines.not_sent) {
                        tracing::warn!(
                            site = %name, %failure, more,
                            "a file that the peer asked for was not sent"
                        );
                    }
                }
            }
            let transfer = asked.transfer;
            let failed = Message::Failed { transfer, failure };
            asked.session.send(failed).await.ok();
        }
    }
    tracing::debug!(site = %name, path = asked.path, "path of the file above");
    drop(asked.place);
}

async fn send_file(room: &Room, site: &Site, asked: &Asked) -> Result<u64, Failure> {
    let counted = room.counters.begin(Direction::Out);
    let (path, store) = (asked.path.parse()?, site.store()?.clone());
    let limiter = asked.limit.map(|limit| room.limits.of(limit));
    let piece_bytes = limiter.as_ref().map(|limiter| limiter.piece_bytes());
    let batch_room = asked.session.batch_room().await;
    let opened = site.steps.run(move || {
        let mut reading = Reading::open(store.open_file(&path)?, piece_bytes)?;
        Ok((reading.next()?, reading))
    });
    let (first, reading) = match opened.await? {
        Err(Failure::NotFound) => {
            counted.absent();
            return Err(Failure::NotFound);
        }
        opened => opened?,
    };
    let header = reading.header();
    let (session, transfer) = (asked.session.clone(), asked.transfer);
    let mut outgoing = Outgoing::start(session, site.link(), transfer, &header, limiter).await?;
    let file = Sending {
        site,
        session: &asked.session,
        counted: &counted,
    };
    match file
        .send_whole(&mut outgoing, reading, (first, batch_room))
        .await
    {
        Ok(length) => {
            counted.succeeded();
            Ok(length)
        }
        Err(failure) => {
            outgoing.abort(failure.clone());
            Err(failure)
        }
    }
}

/// What a file needs on its way.
#[derive(Debug)]
struct Sending<'a> {
    site: &'a Site,
    session: &'a Session,
    counted: &'a Counted<'a>,
}

impl Sending<'_> {
    /// What the peer does, unless it takes long.
    async fn soon(&self, done: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
        tokio::select! {
            done = done => done,
            () = self.site.up_for_idle_max() => {
                Err(Failure::aborted("nothing of the file was taken for long"))
            }
        }
    }

    async fn send_whole(
        &self,
        outgoing: &mut Outgoing,
        mut reading: Reading,
        (mut read, mut room): (Read, Option<OwnedSemaphorePermit>),
    ) -> Result<u64, Failure> {
        let trailer = loop {
            if !read.batch.is_empty() {
                self.counted.moved(read.batch.len());
                self.soon(outgoing.send(read.batch)).await?;
            }
            drop(room.take());
            if let Some(trailer) = read.trailer {
                break trailer;
            }
            // A peer that takes nothing is to cost no memory.
            self.soon(outgoing.credit()).await?;
            room = self.session.batch_room().await;
            let step = move || (reading.next(), reading);
            let next;
            (next, reading) = self.site.steps.run(step).await?;
            read = next?;
        };
        self.soon(outgoing.send_trailer(&trailer)).await?;
        self.soon(outgoing.verdict()).await?;
        Ok(trailer.length)
    }
}

/// A file that is read batch by batch.
#[derive(Debug)]
struct Reading {
    source: Source,
    snapshot: Snapshot,
    reader: BatchReader<File>,
}

/// A batch, and what follows the last one.
#[derive(Debug)]
struct Read {
    batch: Bytes,
    trailer: Option<Trailer>,
}

impl Reading {
    fn open(source: Source, piece_bytes: Option<usize>) -> Result<Self, Failure> {
        let snapshot = Snapshot::of(&source.file).map_err(Failure::io)?;
        let file = source.file.try_clone().map_err(Failure::io)?;
        let reader = BatchReader::new(file);
        Ok(Self {
            source,
            snapshot,
            reader: match piece_bytes {
                Some(bytes) => reader.with_batches_of(bytes),
                None => reader,
            },
        })
    }

    fn header(&self) -> Header {
        Header::Pull {
            length: self.source.length,
            meta: self.source.meta,
        }
    }

    /// The next batch; an error behind the last one if the file has changed. Blocks.
    fn next(&mut self) -> Result<Read, Failure> {
        let batch = self.reader.next_batch().map_err(Failure::io)?;
        let batch = batch.unwrap_or_default();
        let grown = self.reader.length() > self.snapshot.length();
        if !grown && !self.reader.is_last(&batch) {
            let trailer = None;
            return Ok(Read { batch, trailer });
        }
        let trailer = self.reader.trailer();
        self.snapshot.check(&self.source.file, &trailer)?;
        Ok(Read {
            batch,
            trailer: Some(trailer),
        })
    }
}
