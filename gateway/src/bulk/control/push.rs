//! A client's file, from the control socket onto the link.

use std::time::Duration;

use tokio::time::{Interval, MissedTickBehavior};

use super::frame::Frame;
use super::protocol::{self, Ending, Reply};
use super::server::{Asked, Client};
use crate::bulk::failure::Failure;
use crate::bulk::figures::{Counted, Direction};
use crate::bulk::message::{Cost, Header};
use crate::bulk::outgoing::Outgoing;
use crate::bulk::path::SitePath;
use crate::bulk::store::{FileMeta, Trailer};
use crate::streams::TransferId;

/// How often a client hears of its progress.
const PROGRESS_EVERY: Duration = Duration::from_millis(200);

pub(super) async fn push(
    client: &mut Client,
    asked: &Asked<'_>,
    length: Option<u64>,
    meta: FileMeta,
) -> Result<(), Failure> {
    let path: SitePath = asked.path.parse()?;
    path.split_last()?;
    let header = Header::Push {
        path: path.into(),
        length,
        meta,
    };
    let site = asked.site;
    let _permit = site.transfers.acquire().await.map_err(|_| Failure::Busy)?;
    let session = site.session(asked.wait).await?;
    let counted = asked.room.counters.begin(Direction::Out);
    let transfer = TransferId(rand::random());
    let mut outgoing = Outgoing::start(session, site.link(), transfer, &header).await?;
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

async fn send(
    client: &mut Client,
    outgoing: &mut Outgoing,
    counted: &Counted<'_>,
) -> Result<Cost, Failure> {
    let mut ticks = tokio::time::interval(PROGRESS_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    client.reply(&Reply::Ready).await?;
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
        Some(Ending::Aborted(reason)) => Err(Failure::Aborted(reason)),
        None => Err(Failure::protocol("an ending that is none")),
    }
}
