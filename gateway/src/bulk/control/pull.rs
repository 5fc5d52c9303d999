//! A peer's file, from the link to the control socket.

use tokio::sync::oneshot;

use super::protocol::Reply;
use super::server::{Asked, Client};
use crate::bulk::failure::Failure;
use crate::bulk::figures::{Counted, Direction};
use crate::bulk::incoming::{Incoming, Piece};
use crate::bulk::limit::Limit;
use crate::bulk::message::{Ending, Message};
use crate::bulk::path::SitePath;
use crate::bulk::store::Trailer;
use crate::streams::TransferId;

pub(super) async fn pull(
    client: &mut Client,
    asked: &Asked<'_>,
    limit: Option<Limit>,
) -> Result<(), Failure> {
    let path: SitePath = asked.path.parse()?;
    path.split_last()?;
    let site = asked.site;
    let _permit = site.transfers.acquire().await.map_err(|_| Failure::Busy)?;
    let session = site.session(asked.wait).await?;
    let counted = asked.room.counters.begin(Direction::In);
    let transfer = TransferId(rand::random());
    let answered = session.add_pull(transfer);
    let path = path.into();
    let pull = Message::Pull {
        transfer,
        path,
        limit,
    };
    let began = async {
        session.send(pull).await?;
        begin(client, answered).await
    };
    let began = tokio::select! {
        began = began => began,
        // The link was down when this began, and nobody knew.
        failure = site.down_for(asked.wait) => Err(failure),
    };
    // If the file is still to come, nobody will be there for it.
    session.take_pull(transfer);
    let mut incoming = match began {
        Err(Failure::NotFound) => {
            counted.absent();
            return Err(Failure::NotFound);
        }
        began => began?,
    };
    let received = tokio::select! {
        received = forward(client, &mut incoming, &counted) => received,
        failure = site.down_for(asked.patience) => Err(failure),
    };
    incoming.answer(received.clone()).await;
    if received.is_ok() {
        counted.succeeded();
    }
    received
}

async fn begin(
    client: &mut Client,
    answered: oneshot::Receiver<Result<Incoming, Failure>>,
) -> Result<Incoming, Failure> {
    tokio::select! {
        answer = answered => answer.map_err(|_| Failure::SessionReset)?,
        failure = client.left() => Err(failure),
    }
}

async fn forward(
    client: &mut Client,
    incoming: &mut Incoming,
    counted: &Counted<'_>,
) -> Result<(), Failure> {
    let length = incoming.length.unwrap_or(0);
    let meta = incoming.meta;
    client.reply(&Reply::File { length, meta }).await?;
    loop {
        let piece = tokio::select! {
            piece = incoming.next() => piece?,
            failure = client.left() => return Err(failure),
        };
        match piece {
            Piece::Bytes(part) => {
                counted.moved(part.bytes.len());
                client.send_data(part.bytes).await?;
            }
            Piece::End(Ending::Whole {
                length,
                digest,
                cost,
            }) => {
                let digest = blake3::Hash::from_bytes(digest);
                let sum = Trailer { length, digest }.into();
                return client.reply(&Reply::Whole { sum, cost }).await;
            }
            Piece::End(Ending::Aborted(failure)) => return Err(failure),
        }
    }
}
