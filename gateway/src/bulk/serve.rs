//! Answers to what a peer asks: keep this file, send me that one, list this folder.

use std::sync::Arc;

use bytes::Bytes;
use strait_transport::SiteName;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use super::describe::{self, describe};
use super::failure::Failure;
use super::figures::{Counted, Direction};
use super::incoming::{Incoming, Piece};
use super::limit::Limit;
use super::message::{Answer, Ending, Header, Message, Pushed, Question, RequestId};
use super::outgoing::Outgoing;
use super::read::{BatchReader, Snapshot};
use super::room::Room;
use super::session::Session;
use super::store::{NewFile, Partial, Source, Store, Trailer};
use crate::streams::TransferId;

/// Batches read before the link takes them.
const READ_AHEAD_BATCHES: usize = 2;

/// A file that the peer pushes.
#[derive(Debug)]
pub(super) struct Push {
    pub(super) file: Pushed,
    /// What is before is here.
    pub(super) offset: u64,
    pub(super) no_replace: bool,
}

/// Takes it. Blocks.
pub(super) fn receive_push(room: &Room, site: &SiteName, push: &Push, mut incoming: Incoming) {
    let Push {
        file,
        offset,
        no_replace,
    } = push;
    let new = new_file(file, incoming.transfer).map(|new| NewFile {
        offset: *offset,
        no_replace: *no_replace,
        ..new
    });
    let outcome = new.and_then(|new| receive_file(room, new, &mut incoming));
    match &outcome {
        Ok(length) => tracing::info!(%site, length, offset, "received a file"),
        Err(failure) => tracing::warn!(%site, %failure, "a file from the peer was not received"),
    }
    tracing::debug!(%site, path = file.path, "path of the file above");
    incoming.blocking_answer(outcome.map(|_| ()));
}

fn new_file(file: &Pushed, transfer: TransferId) -> Result<NewFile, Failure> {
    Ok(NewFile {
        transfer,
        target: file.path.parse()?,
        meta: file.meta,
        length: file.length,
        offset: 0,
        no_replace: false,
    })
}

fn receive_file(room: &Room, new: NewFile, incoming: &mut Incoming) -> Result<u64, Failure> {
    let counted = room.counters.begin(Direction::In);
    let mut partial = room.store.create(new)?;
    loop {
        match incoming.blocking_next() {
            Ok(Piece::Bytes(bytes)) => {
                counted.moved(bytes.len());
                partial.write(&bytes)?;
            }
            Ok(Piece::End(ending)) => {
                let length = finish_file(partial, ending)?;
                counted.succeeded();
                return Ok(length);
            }
            Err(failure) => {
                partial.keep();
                return Err(failure);
            }
        }
    }
}

fn finish_file(partial: Partial, ending: Ending) -> Result<u64, Failure> {
    match ending {
        Ending::Whole { length, digest, .. } => {
            let digest = blake3::Hash::from_bytes(digest);
            partial.commit(&Trailer { length, digest })?;
            Ok(length)
        }
        Ending::Aborted(failure) => {
            partial.keep();
            Err(failure)
        }
    }
}

/// A file that the peer pulls.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) session: Arc<Session>,
    pub(super) transfer: TransferId,
    pub(super) path: String,
    pub(super) limit: Option<Limit>,
}

/// Sends it.
pub(super) async fn serve_pull(room: Arc<Room>, site: SiteName, asked: Asked) {
    let outcome = async {
        let _permit = room.serving.try_acquire().map_err(|_| Failure::Busy)?;
        send_file(&room, &site, &asked).await
    };
    match outcome.await {
        Ok(length) => tracing::info!(%site, length, "sent a file"),
        Err(failure) => {
            match failure == Failure::NotFound {
                // An answer like others: the peer may ask in order to learn it.
                true => tracing::debug!(%site, "the peer asked for a file that is not here"),
                false => {
                    tracing::warn!(%site, %failure, "a file that the peer asked for was not sent")
                }
            }
            let transfer = asked.transfer;
            let failed = Message::Failed { transfer, failure };
            asked.session.send(failed).await.ok();
        }
    }
    tracing::debug!(%site, path = asked.path, "path of the file above");
}

async fn send_file(room: &Room, site: &SiteName, asked: &Asked) -> Result<u64, Failure> {
    let counted = room.counters.begin(Direction::Out);
    let (path, store) = (asked.path.parse()?, room.store.clone());
    let source = match blocking(move || Ok(store.open_file(&path)?)).await {
        Err(Failure::NotFound) => {
            counted.absent();
            return Err(Failure::NotFound);
        }
        opened => opened?,
    };
    let header = Header::Pull {
        length: source.length,
        meta: source.meta,
    };
    let link = room.site(site)?.link();
    let limiter = asked.limit.map(|limit| room.limits.of(limit));
    let (session, transfer) = (asked.session.clone(), asked.transfer);
    let mut outgoing = Outgoing::start(session, link, transfer, &header, limiter).await?;
    match send_whole(&mut outgoing, source, &counted).await {
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

async fn send_whole(
    outgoing: &mut Outgoing,
    source: Source,
    counted: &Counted<'_>,
) -> Result<u64, Failure> {
    let trailer = send_bytes(outgoing, source, counted).await?;
    outgoing.send_trailer(&trailer).await?;
    outgoing.verdict().await?;
    Ok(trailer.length)
}

async fn send_bytes(
    outgoing: &mut Outgoing,
    source: Source,
    counted: &Counted<'_>,
) -> Result<Trailer, Failure> {
    let (sender, mut batches) = mpsc::channel(READ_AHEAD_BATCHES);
    let reading = blocking(move || read_file(source, &sender));
    let sending = async {
        while let Some(batch) = batches.recv().await {
            counted.moved(batch.len());
            outgoing.send(batch).await?;
        }
        Ok(())
    };
    let (trailer, ()) = tokio::try_join!(reading, sending)?;
    Ok(trailer)
}

/// Reads until the end, or until nobody wants more. Blocks.
fn read_file(source: Source, batches: &mpsc::Sender<Bytes>) -> Result<Trailer, Failure> {
    let snapshot = Snapshot::of(&source.file).map_err(Failure::io)?;
    let mut reader = BatchReader::new(&source.file);
    while let Some(batch) = reader.next_batch().map_err(Failure::io)? {
        let unwanted = batches.blocking_send(batch).is_err();
        if unwanted || reader.length() > snapshot.length() {
            break;
        }
    }
    let trailer = reader.trailer();
    snapshot.check(&source.file, &trailer)?;
    Ok(trailer)
}

/// Answers the peer's question.
pub(super) async fn serve_question(
    room: Arc<Room>,
    session: Arc<Session>,
    request: RequestId,
    question: Question,
) {
    let outcome = async {
        let _permit = room.serving.try_acquire().map_err(|_| Failure::Busy)?;
        let store = room.store.clone();
        blocking(move || answer(&store, question)).await
    };
    let outcome = outcome.await;
    // With the session the peer's interest has ended, too.
    session
        .send(Message::Answer { request, outcome })
        .await
        .ok();
}

/// Blocks.
fn answer(store: &Store, question: Question) -> Result<Answer, Failure> {
    match question {
        Question::List { path, after } => Ok(Answer::Page(store.list(&path.parse()?, &after)?)),
        Question::Remove { path } => {
            store.remove(&path.parse()?)?;
            Ok(Answer::Removed)
        }
        Question::Describe { paths, digests } => {
            Ok(Answer::Described(describe(store, &paths, digests)?))
        }
        Question::Link {
            path,
            target,
            mtime,
        } => {
            store.link(&path.parse()?, &target, mtime)?;
            Ok(Answer::Linked)
        }
        Question::LinkNew {
            path,
            target,
            mtime,
        } => {
            store.link_new(&path.parse()?, &target, mtime)?;
            Ok(Answer::Linked)
        }
        Question::MakeFolders { folders } => {
            Ok(Answer::FoldersMade(describe::make_folders(store, folders)?))
        }
        Question::Folders { paths } => Ok(Answer::Folders(describe::folders(store, &paths)?)),
        Question::Kept(file) => {
            let kept = store.kept(&new_file(&file, TransferId(0))?)?;
            Ok(Answer::Kept(
                kept.map(|kept| (kept.length, *kept.digest.as_bytes())),
            ))
        }
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    spawn_blocking(work).await.map_err(Failure::io)?
}
