//! What is on its way to one peer beside the bytes of files: bounded, whatever the peer takes.

use bytes::Bytes;
use strait_transport::{Class, LinkHandle, OutStream, SendError};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_util::sync::CancellationToken;

use super::failure::Failure;
use super::message::{self, Ending, Message};
use crate::streams::StreamOpen;

/// Messages that may wait for the link before whoever writes more has to wait.
const MESSAGES_QUEUED_MAX: usize = 256;
/// Refusals that may wait for the link: more than an honest peer ever has under way.
const REFUSALS_QUEUED_MAX: usize = 1024;
/// Files broken off whose ends may wait for the link.
const ENDINGS_QUEUED_MAX: usize = 1024;

/// The queues to a peer. They are emptied until `over`.
#[derive(Debug)]
pub(super) struct Mailbox {
    messages: mpsc::Sender<Letter>,
    refusals: mpsc::Sender<Bytes>,
    endings: mpsc::Sender<(OutStream, Bytes)>,
}

/// An encoded message, and the room for it that is free again once the link has it.
#[derive(Debug)]
struct Letter {
    bytes: Bytes,
    _room: Option<OwnedSemaphorePermit>,
}

/// The peer does not take what is for it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Overfull;

impl Mailbox {
    /// Must run inside tokio.
    pub(super) fn start(link: LinkHandle, over: CancellationToken) -> Self {
        let (messages, letters) = mpsc::channel(MESSAGES_QUEUED_MAX);
        let (refusals, urgent) = mpsc::channel(REFUSALS_QUEUED_MAX);
        let (endings, ends) = mpsc::channel(ENDINGS_QUEUED_MAX);
        tokio::spawn(over.clone().run_until_cancelled_owned(end_streams(ends)));
        tokio::spawn(over.run_until_cancelled_owned(send_messages(link, letters, urgent)));
        Self {
            messages,
            refusals,
            endings,
        }
    }

    /// Waits while many messages wait for the link; an error once the session is over.
    pub(super) async fn send(
        &self,
        message: &Message,
        room: Option<OwnedSemaphorePermit>,
    ) -> Result<(), Failure> {
        let letter = Letter {
            bytes: message::encode(message),
            _room: room,
        };
        let sent = self.messages.send(letter).await;
        sent.map_err(|_| Failure::SessionReset)
    }

    /// Never waits. Once the session is over nobody has to be refused anything.
    pub(super) fn refuse(&self, message: &Message) -> Result<(), Overfull> {
        let refused = self.refusals.try_send(message::encode(message));
        overfull(refused.err())
    }

    /// Ends a stream whose file has no rest. Never waits.
    pub(super) fn end(&self, stream: OutStream, failure: Failure) -> Result<(), Overfull> {
        let ending = message::encode(&Ending::Aborted(failure));
        overfull(self.endings.try_send((stream, ending)).err())
    }
}

fn overfull<T>(error: Option<mpsc::error::TrySendError<T>>) -> Result<(), Overfull> {
    match error {
        Some(mpsc::error::TrySendError::Full(_)) => Err(Overfull),
        Some(mpsc::error::TrySendError::Closed(_)) | None => Ok(()),
    }
}

async fn end_streams(mut ends: mpsc::Receiver<(OutStream, Bytes)>) {
    while let Some((mut stream, ending)) = ends.recv().await {
        // A session or stream that is over needs no ending.
        stream.send(ending, true).await.ok();
    }
}

/// Ends with the session: of the link, when sending fails, or of our own, when
/// nobody holds the queues any more.
async fn send_messages(
    link: LinkHandle,
    mut letters: mpsc::Receiver<Letter>,
    mut refusals: mpsc::Receiver<Bytes>,
) {
    let mut stream: Option<OutStream> = None;
    loop {
        let letter = tokio::select! {
            Some(letter) = letters.recv() => letter,
            Some(bytes) = refusals.recv() => Letter { bytes, _room: None },
            else => return,
        };
        if let Err(error) = send_one(&link, &mut stream, letter.bytes).await {
            tracing::debug!(site = %link.site(), %error, "messages about files stop");
            return;
        }
    }
}

async fn send_one(
    link: &LinkHandle,
    stream: &mut Option<OutStream>,
    message: Bytes,
) -> Result<(), SendError> {
    let opened = match stream {
        Some(opened) => opened,
        None => stream.insert(link.open(Class::Control, StreamOpen::BulkMessages.encode())?),
    };
    opened.send(message, false).await?;
    Ok(())
}
