//! A file that a peer pushes: from its batches to its place, step by step.

use std::sync::Arc;

use strait_transport::SiteName;

use super::failure::Failure;
use super::figures::Direction;
use super::incoming::{Incoming, Part, Piece};
use super::message::{Ending, Pushed};
use super::room::{Room, Site};
use super::store::{NewFile, Partial, Store, Trailer};
use crate::streams::TransferId;

/// Batches that are written in one step, so that others have their turn.
const STEP_BATCHES_MAX: usize = 8;

/// A file that the peer pushes.
#[derive(Debug)]
pub(super) struct Push {
    pub(super) file: Pushed,
    /// What is before is here.
    pub(super) offset: u64,
    pub(super) no_replace: bool,
}

/// Takes it. No thread waits for what is still to come.
pub(super) async fn receive_push(room: Arc<Room>, name: SiteName, push: Push, incoming: Incoming) {
    let Ok(site) = room.site(&name) else {
        return;
    };
    let new = new_file(&push.file, incoming.transfer).map(|new| NewFile {
        offset: push.offset,
        no_replace: push.no_replace,
        ..new
    });
    let (outcome, incoming) = match new.and_then(|new| Ok((site.store()?.clone(), new))) {
        Err(failure) => (Err(failure), incoming),
        Ok(new) => match receive_file(&room, site, new, incoming).await {
            Ok(received) => received,
            // Its thread broke down, and with it what would tell the sender.
            Err(_) => return,
        },
    };
    match &outcome {
        Ok(length) => {
            tracing::info!(site = %name, length, offset = push.offset, "received a file");
        }
        Err(failure) => {
            if let Some(more) = site.is_line_due(|lines| &mut lines.not_received) {
                tracing::warn!(site = %name, %failure, more, "a file from the peer was not received");
            }
        }
    }
    tracing::debug!(site = %name, path = push.file.path, "path of the file above");
    incoming.answer(outcome.map(|_| ())).await;
}

/// How it ended, and what tells the sender; an error if a thread broke down.
async fn receive_file(
    room: &Room,
    site: &Site,
    new: (Store, NewFile),
    incoming: Incoming,
) -> Result<(Result<u64, Failure>, Incoming), Failure> {
    let counted = room.counters.begin(Direction::In);
    let receipt = Receipt {
        stage: Stage::Beginning(new.0, new.1),
        incoming,
        bytes: 0,
        given_up: false,
    };
    let (outcome, receipt) = receipt.receive(site, |bytes| counted.moved(bytes)).await?;
    if outcome.is_ok() {
        counted.succeeded();
    }
    Ok((outcome, receipt.incoming))
}

pub(super) fn new_file(file: &Pushed, transfer: TransferId) -> Result<NewFile, Failure> {
    Ok(NewFile {
        transfer,
        target: file.path.parse()?,
        meta: file.meta,
        length: file.length,
        offset: 0,
        no_replace: false,
    })
}

/// A file while it comes.
#[derive(Debug)]
struct Receipt {
    stage: Stage,
    incoming: Incoming,
    /// Bytes that the last step has taken.
    bytes: usize,
    /// Nothing has come for long.
    given_up: bool,
}

#[derive(Debug)]
enum Stage {
    Beginning(Store, NewFile),
    /// What an earlier push left is read again.
    CatchingUp(Partial),
    Growing(Partial),
    Over,
}

/// After a step.
#[derive(Debug)]
enum Progress {
    /// There is more to do at once.
    Busy,
    /// All that is here is taken.
    Waiting,
    Over(Result<u64, Failure>),
}

impl Receipt {
    /// Up to the end, in steps; `moved` hears of the bytes of each. An error if a thread broke down.
    async fn receive(
        self,
        site: &Site,
        moved: impl Fn(usize),
    ) -> Result<(Result<u64, Failure>, Self), Failure> {
        let (mut receipt, mut part) = (self, None);
        loop {
            let step = move || (receipt.step(part), receipt);
            let progress;
            (progress, receipt) = site.steps.run(step).await?;
            moved(std::mem::take(&mut receipt.bytes));
            let granted = receipt.incoming.grant().await;
            part = match (progress, granted) {
                (Progress::Over(outcome), _) => return Ok((outcome, receipt)),
                // With the session the file ends.
                (_, Err(_)) => Some(None),
                (Progress::Busy, Ok(())) => None,
                (Progress::Waiting, Ok(())) => tokio::select! {
                    part = receipt.incoming.arrived() => Some(part),
                    () = site.up_for_idle_max() => {
                        receipt.given_up = true;
                        None
                    }
                },
            };
        }
    }

    /// Takes what has come: `part`, if it was waited for, and what is behind it. Blocks, and never
    /// for the peer.
    fn step(&mut self, part: Option<Option<Part>>) -> Progress {
        let stepped = self
            .try_step(part)
            .unwrap_or_else(|failure| Progress::Over(Err(failure)));
        if let Progress::Over(_) = stepped {
            // Whatever is left of it is put in order here, where that may block.
            self.stage = Stage::Over;
        }
        stepped
    }

    fn try_step(&mut self, part: Option<Option<Part>>) -> Result<Progress, Failure> {
        if self.given_up {
            return Err(Failure::aborted("nothing of the file came for long"));
        }
        match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::Beginning(store, new) => self.catch_up(store.create(new)?),
            Stage::CatchingUp(partial) => self.catch_up(partial),
            Stage::Growing(partial) => self.grow(partial, part),
            Stage::Over => Err(Failure::SessionReset),
        }
    }

    fn catch_up(&mut self, mut partial: Partial) -> Result<Progress, Failure> {
        if partial.catch_up()? {
            return self.grow(partial, None);
        }
        self.stage = Stage::CatchingUp(partial);
        Ok(Progress::Busy)
    }

    fn grow(
        &mut self,
        mut partial: Partial,
        part: Option<Option<Part>>,
    ) -> Result<Progress, Failure> {
        let mut piece = part.map(|part| self.incoming.take(part));
        for _ in 0..STEP_BATCHES_MAX {
            match piece.take().or_else(|| self.incoming.next_here()) {
                None => {
                    self.stage = Stage::Growing(partial);
                    return Ok(Progress::Waiting);
                }
                Some(Ok(Piece::Bytes(part))) => {
                    self.bytes += part.bytes.len();
                    partial.write(&part.bytes)?;
                }
                Some(Ok(Piece::End(ending))) => {
                    return Ok(Progress::Over(finish(partial, ending)));
                }
                Some(Err(failure)) => return Err(failure),
            }
        }
        self.stage = Stage::Growing(partial);
        Ok(Progress::Busy)
    }
}

fn finish(partial: Partial, ending: Ending) -> Result<u64, Failure> {
    match ending {
        Ending::Whole { length, digest, .. } => {
            let digest = blake3::Hash::from_bytes(digest);
            partial.commit(&Trailer { length, digest })?;
            Ok(length)
        }
        Ending::Aborted(failure) => Err(failure),
    }
}
