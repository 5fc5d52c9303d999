//! A client's file, from the control socket onto the link.

use std::time::Duration;

use tokio::time::{Interval, MissedTickBehavior};

use super::frame::Frame;
use super::protocol::{self, Begin, Ending, Reply};
use super::server::{Asked, Client};
use crate::bulk::failure::Failure;
use crate::bulk::figures::{Counted, Direction};
use crate::bulk::limit::Limit;
use crate::bulk::message::{Answer, Cost, Header, NO_REPLACE, Pushed, Question};
use crate::bulk::outgoing::Outgoing;
use crate::bulk::path::SitePath;
use crate::bulk::session::Session;
use crate::bulk::store::{RESUMED_BYTES_MIN, Trailer};
use crate::streams::TransferId;

/// How often a client hears of its progress.
const PROGRESS_EVERY: Duration = Duration::from_millis(200);

/// What the client wants to push.
#[derive(Debug)]
pub(super) struct Push {
    pub(super) file: Pushed,
    pub(super) resume: bool,
    pub(super) no_replace: bool,
    pub(super) limit: Option<Limit>,
}

pub(super) async fn push(
    client: &mut Client,
    asked: &Asked<'_>,
    push: Push,
) -> Result<(), Failure> {
    let Push {
        file,
        resume,
        no_replace,
        limit,
    } = push;
    let path: SitePath = file.path.parse()?;
    path.split_last()?;
    let site = asked.site;
    let _permit = site.transfers.acquire().await.map_err(|_| Failure::Busy)?;
    let session = site.session(asked.wait).await?;
    let offset = tokio::select! {
        offset = offset(client, (asked, &session), &file, resume) => offset?,
        failure = site.down_for(asked.patience) => return Err(failure),
    };
    let counted = asked.room.counters.begin(Direction::Out);
    let transfer = TransferId(rand::random());
    // A peer that cannot be told replaces what came there since the client looked.
    let header = match no_replace && session.speaks(NO_REPLACE) {
        true => Header::PushNew { file, offset },
        false => Header::Push { file, offset },
    };
    let limiter = limit.map(|limit| asked.room.limits.of(limit));
    let mut outgoing = Outgoing::start(session, site.link(), transfer, &header, limiter).await?;
    let sent = tokio::select! {
        sent = send(client, &mut outgoing, &counted) => sent,
        failure = site.down_for(asked.patience) => Err(failure),
    };
    match sent {
        Ok(cost) => {
            counted.succeeded();
            client.reply(&Reply::Done { cost }).await
        }
        Err(failure) => {
            outgoing.abort(failure.clone());
            Err(failure)
        }
    }
}

/// Where to begin: the client compares what the peer has kept with what it has itself.
async fn offset(
    client: &mut Client,
    (asked, session): (&Asked<'_>, &Session),
    file: &Pushed,
    resume: bool,
) -> Result<u64, Failure> {
    let worth_asking = resume
        && file
            .length
            .is_some_and(|length| length >= RESUMED_BYTES_MIN);
    let kept = match worth_asking {
        true => asked.ask(session, Question::Kept(file.clone())).await?,
        false => Answer::Kept(None),
    };
    let Answer::Kept(kept) = kept else {
        return Err(Failure::protocol("an answer to another question"));
    };
    let kept = kept.map(|(length, digest)| {
        let digest = blake3::Hash::from_bytes(digest);
        Trailer { length, digest }.into()
    });
    client.reply(&Reply::Ready { kept }).await?;
    let begin: Option<Begin> = protocol::decode(&client.next().await?);
    let begin = begin.ok_or_else(|| Failure::protocol("a beginning that is none"))?;
    Ok(begin.offset)
}

async fn send(
    client: &mut Client,
    outgoing: &mut Outgoing,
    counted: &Counted<'_>,
) -> Result<Cost, Failure> {
    let mut ticks = tokio::time::interval(PROGRESS_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let trailer = send_bytes(client, outgoing, counted, &mut ticks).await?;
    outgoing.send_trailer(&trailer).await?;
    loop {
        tokio::select! {
            verdict = outgoing.verdict() => {
                verdict?;
                return Ok(outgoing.progress().cost);
            }
            // The file is complete: a client that leaves now does not stop it.
            _ = ticks.tick() => drop(client.reply(&Reply::Progress(outgoing.progress())).await),
        }
    }
}

async fn send_bytes(
    client: &mut Client,
    outgoing: &mut Outgoing,
    counted: &Counted<'_>,
    ticks: &mut Interval,
) -> Result<Trailer, Failure> {
    loop {
        let frame = tokio::select! {
            frame = client.next() => frame?,
            failure = outgoing.refused() => return Err(failure),
            _ = ticks.tick() => {
                client.reply(&Reply::Progress(outgoing.progress())).await?;
                continue;
            }
        };
        match frame {
            Frame::Data(bytes) => {
                counted.moved(bytes.len());
                outgoing.send(bytes).await?;
            }
            Frame::Message(_) => return end(&frame),
        }
    }
}

fn end(frame: &Frame) -> Result<Trailer, Failure> {
    match protocol::decode(frame) {
        Some(Ending::Whole(sum)) => sum
            .trailer()
            .ok_or_else(|| Failure::protocol("a digest that is none")),
        Some(Ending::Aborted(reason)) => Err(Failure::aborted(&reason)),
        None => Err(Failure::protocol("an ending that is none")),
    }
}
