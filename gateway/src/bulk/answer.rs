//! Answers to the questions of a peer.

use std::sync::Arc;

use strait_transport::SiteName;

use super::describe;
use super::failure::Failure;
use super::message::{Answer, Message, Pushed, Question, RequestId};
use super::receive::new_file;
use super::room::{Room, Site};
use super::session::{Place, Session};
use super::store::Store;
use crate::streams::TransferId;

/// Answers one; `place` is kept until the answer is on its way.
pub(super) async fn serve_question(
    (room, name): (Arc<Room>, SiteName),
    session: Arc<Session>,
    (request, question): (RequestId, Question),
    place: Place,
) {
    let Ok(site) = room.site(&name) else {
        return;
    };
    let prepared = match site.store() {
        Ok(store) => prepare(site, store, question)
            .await
            .map(|work| (work, store.clone())),
        Err(failure) => Err(failure),
    };
    // What a peer does not take is to cost little memory.
    let answer_room = session.answer_room().await;
    let outcome = match prepared {
        Ok((work, store)) => {
            let answered = site.steps.run(move || work.answer(&store)).await;
            answered.and_then(|answered| answered)
        }
        Err(failure) => Err(failure),
    };
    let outcome = outcome.map_err(|failure| failure.for_peer(session.version()));
    let answer = Message::Answer { request, outcome };
    // With the session the peer's interest has ended, too.
    session.send_in(answer, answer_room).await.ok();
    drop(place);
}

/// What is left to be done in one step, once all that takes long has been read.
enum Work {
    Question(Question),
    Described(Vec<String>, Vec<describe::Digested>),
    Kept(Answer),
}

async fn prepare(site: &Site, store: &Store, question: Question) -> Result<Work, Failure> {
    match question {
        Question::Describe {
            paths,
            digests: true,
        } => {
            let digests = describe::digests(&site.steps, store, &paths).await?;
            Ok(Work::Described(paths, digests))
        }
        Question::Kept(file) => Ok(Work::Kept(kept(site, store, &file).await?)),
        question @ (Question::Describe { .. }
        | Question::List { .. }
        | Question::Remove { .. }
        | Question::Link { .. }
        | Question::LinkNew { .. }
        | Question::MakeFolders { .. }
        | Question::Folders { .. }) => Ok(Work::Question(question)),
    }
}

/// Reads what an earlier push of this file has left here.
async fn kept(site: &Site, store: &Store, file: &Pushed) -> Result<Answer, Failure> {
    let (new, store) = (new_file(file, TransferId(0))?, store.clone());
    let Some(mut kept) = site.steps.run(move || store.open_kept(&new)).await?? else {
        return Ok(Answer::Kept(None));
    };
    loop {
        let step = move || (kept.read_on(), kept);
        let read;
        (read, kept) = site.steps.run(step).await?;
        if let Some(kept) = read? {
            let (length, digest) = (kept.length, *kept.digest.as_bytes());
            return Ok(Answer::Kept(Some((length, digest))));
        }
    }
}

impl Work {
    /// Blocks.
    fn answer(self, store: &Store) -> Result<Answer, Failure> {
        match self {
            Self::Question(question) => answer(store, question),
            Self::Described(paths, digests) => Ok(Answer::Described(describe::describe(
                store,
                &paths,
                Some(digests),
            ))),
            Self::Kept(answer) => Ok(answer),
        }
    }
}

fn answer(store: &Store, question: Question) -> Result<Answer, Failure> {
    match question {
        Question::List { path, after } => Ok(Answer::Page(store.list(&path.parse()?, &after)?)),
        Question::Remove { path } => {
            store.remove(&path.parse()?)?;
            Ok(Answer::Removed)
        }
        Question::Describe { paths, .. } => {
            Ok(Answer::Described(describe::describe(store, &paths, None)))
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
            Ok(Answer::FoldersMade(describe::make_folders(store, folders)))
        }
        Question::Folders { paths } => Ok(Answer::Folders(describe::folders(store, &paths))),
        Question::Kept(_) => Err(Failure::protocol("it was read before")),
    }
}
