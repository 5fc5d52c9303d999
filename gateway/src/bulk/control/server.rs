//! The gateway's side of the control socket.

use std::io;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use serde::Serialize;
use strait_transport::SiteName;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_util::codec::{FramedRead, FramedWrite};

use super::frame::{Frame, FrameCodec};
use super::local::{self, Local};
use super::protocol::{self, Opening, Reply, Request, VERSION, What};
use super::socket::Socket;
use super::{pull, push};
use crate::bulk::failure::Failure;
use crate::bulk::message::{Answer, FOLDERS, NO_REPLACE, Pushed, Question};
use crate::bulk::room::{Bulk, Room, Site};
use crate::bulk::session::Session;

/// Commands that may be connected at once; more wait to be accepted.
const CONNECTIONS_MAX: usize = 1024;
/// Places among them for the gateway's own user and root alone.
const OWNERS_PLACES: usize = 256;
/// Commands about files that have their turn at once; more wait in line.
const COMMANDS_MAX: usize = 384;
/// How long a client may take to say what it wants.
const OPENING_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a link may be down in the middle, whatever the client is ready to wait.
const DOWN_PATIENCE: Duration = Duration::from_secs(600);
/// Longest that a client may ask to wait for a link.
const WAIT_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// One connected command.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) frames: FramedRead<OwnedReadHalf, FrameCodec>,
    replies: FramedWrite<OwnedWriteHalf, FrameCodec>,
}

/// A request whose site is known.
#[derive(Debug)]
pub(super) struct Asked<'a> {
    pub(super) room: &'a Room,
    pub(super) site: &'a Site,
    pub(super) path: String,
    /// For the link until the peer has answered for the first time.
    pub(super) wait: Duration,
    /// For the link to come back in the middle of a file.
    pub(super) patience: Duration,
}

impl Bulk {
    /// Serves commands of this process's user, and of the members of `group`, on a Unix
    /// socket at `path`, replacing what an earlier run left
    /// there, until `shutdown`; then removes it and ends all transfers. `local` answers questions
    /// to the gateway itself.
    pub async fn serve_control(
        self: Arc<Self>,
        path: &Path,
        group: Option<u32>,
        local: Arc<dyn Local>,
        shutdown: impl Future<Output = ()> + Send,
    ) -> io::Result<()> {
        let mut shutdown = pin!(shutdown);
        let bound = tokio::select! {
            bound = Socket::bind_when_possible(path, group) => bound,
            () = &mut shutdown => {
                self.close();
                return Ok(());
            }
        };
        let mut socket = bound?;
        tokio::select! {
            () = accept(&self.room, &local, &mut socket) => {}
            () = shutdown => {}
        }
        self.close();
        socket.remove()
    }
}

async fn accept(room: &Arc<Room>, local: &Arc<dyn Local>, socket: &mut Socket) {
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let turns = Arc::new(Semaphore::new(COMMANDS_MAX));
    loop {
        let Ok(place) = connections.clone().acquire_owned().await else {
            return;
        };
        let client = match socket.accept().await {
            Ok(stream) => Client::new(stream),
            Err(error) => {
                // Out of descriptors, most likely: some may be free in a moment.
                tracing::warn!(%error, "control socket");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        if connections.available_permits() < OWNERS_PLACES && !client.is_owner() {
            continue;
        }
        let (room, local, turns) = (room.clone(), local.clone(), turns.clone());
        tokio::spawn(async move {
            serve((&room, &*local), &turns, client).await;
            drop(place);
        });
    }
}

async fn serve((room, local): (&Room, &dyn Local), turns: &Semaphore, mut client: Client) {
    let outcome = match tokio::time::timeout(OPENING_TIMEOUT, client.opening()).await {
        Ok(Ok(Request {
            what: What::Gateway(ask),
            ..
        })) => {
            if let Err(failure) = local::answer(local, client, ask).await {
                tracing::debug!(%failure, "a command failed");
            }
            return;
        }
        Ok(Ok(request)) => match turn(turns, &mut client).await {
            Ok(_turn) => answer(room, &mut client, request).await,
            Err(failure) => Err(failure),
        },
        Ok(Err(failure)) => Err(failure),
        Err(_) => Err(Failure::protocol("no request came over the control socket")),
    };
    if let Err(failure) = outcome {
        tracing::debug!(%failure, "a command failed");
        // It may have gone without waiting for the answer.
        client.reply(&Reply::Failed(failure)).await.ok();
    }
}

/// Waits in line.
async fn turn<'a>(
    turns: &'a Semaphore,
    client: &mut Client,
) -> Result<SemaphorePermit<'a>, Failure> {
    tokio::select! {
        turn = turns.acquire() => turn.map_err(|_| Failure::Busy),
        failure = client.left() => Err(failure),
    }
}

async fn answer(room: &Room, client: &mut Client, request: Request) -> Result<(), Failure> {
    let unknown = |_| Failure::UnknownSite(room.site_names());
    let site: SiteName = request.site.parse().map_err(unknown)?;
    let wait = Duration::from_secs(request.wait_s).min(WAIT_MAX);
    let asked = Asked {
        room,
        site: room.site(&site)?,
        path: request.path,
        wait,
        patience: wait.max(DOWN_PATIENCE),
    };
    let path = asked.path.clone();
    match request.what {
        What::Push {
            length,
            meta,
            resume,
            no_replace,
            limit,
        } => {
            let push = push::Push {
                file: Pushed { path, length, meta },
                resume,
                no_replace,
                limit,
            };
            push::push(client, &asked, push).await
        }
        What::Pull { limit } => pull::pull(client, &asked, limit).await,
        What::List { after } => ask(client, &asked, |_| Question::List { path, after }).await,
        What::Remove => ask(client, &asked, |_| Question::Remove { path }).await,
        What::Describe { paths, digests } => {
            ask(client, &asked, |_| Question::Describe { paths, digests }).await
        }
        What::Link {
            target,
            mtime,
            no_replace,
        } => {
            let question = |session: &Session| match no_replace && session.speaks(NO_REPLACE) {
                true => Question::LinkNew {
                    path,
                    target,
                    mtime,
                },
                false => Question::Link {
                    path,
                    target,
                    mtime,
                },
            };
            ask(client, &asked, question).await
        }
        What::MakeFolders { folders } => {
            ask(client, &asked, |_| Question::MakeFolders { folders }).await
        }
        What::Folders { paths } => ask(client, &asked, |_| Question::Folders { paths }).await,
        // Answered before a site was looked for.
        What::Gateway(_) => Err(Failure::protocol("a question to the gateway names a site")),
    }
}

async fn ask(
    client: &mut Client,
    asked: &Asked<'_>,
    question: impl FnOnce(&Session) -> Question,
) -> Result<(), Failure> {
    let session = asked.site.session(asked.wait).await?;
    let question = question(&session);
    let reply = match asked.ask(&session, question).await? {
        Answer::Page(page) => Reply::Listed(page),
        Answer::Removed => Reply::Removed,
        Answer::Described(described) => Reply::Described(described),
        Answer::Linked => Reply::Linked,
        Answer::FoldersMade(made) => Reply::FoldersMade(made),
        Answer::Folders(folders) => Reply::Folders(folders),
        Answer::Kept(_) => return Err(Failure::protocol("an answer to another question")),
    };
    client.reply(&reply).await
}

impl Asked<'_> {
    /// The peer's answer. A link that turns out to be down is waited for as one that was known
    /// to be down before, unless the peer may be busy for long.
    pub(super) async fn ask(
        &self,
        session: &Session,
        question: Question,
    ) -> Result<Answer, Failure> {
        let patience = match question {
            Question::Describe { digests: true, .. } | Question::Kept(_) => self.patience,
            Question::Describe { .. }
            | Question::List { .. }
            | Question::Remove { .. }
            | Question::Link { .. }
            | Question::LinkNew { .. }
            | Question::MakeFolders { .. }
            | Question::Folders { .. } => self.wait,
        };
        let about_folders = matches!(
            question,
            Question::MakeFolders { .. } | Question::Folders { .. }
        );
        if about_folders && !session.speaks(FOLDERS) {
            return Err(Failure::TooOld);
        }
        tokio::select! {
            answer = session.ask(question) => answer,
            failure = self.site.down_for(patience) => Err(failure),
        }
    }
}

impl Client {
    fn new(stream: UnixStream) -> Self {
        let (read, write) = stream.into_split();
        Self {
            frames: FramedRead::new(read, FrameCodec),
            replies: FramedWrite::new(write, FrameCodec),
        }
    }

    /// Whether the command runs as our user, or as root.
    pub(super) fn is_owner(&self) -> bool {
        let own = rustix::process::geteuid().as_raw();
        let peer = self.frames.get_ref().as_ref().peer_cred();
        peer.is_ok_and(|peer| peer.uid() == own || peer.uid() == 0)
    }

    /// The connection itself, from after our last reply on.
    pub(super) fn into_stream(self) -> io::Result<UnixStream> {
        let (read, write) = (self.frames.into_inner(), self.replies.into_inner());
        read.reunite(write).map_err(io::Error::other)
    }

    async fn opening(&mut self) -> Result<Request, Failure> {
        let frame = self.next().await?;
        let malformed = || Failure::protocol("what came over the control socket is no request");
        let opening: Opening = protocol::decode(&frame).ok_or_else(malformed)?;
        if opening.version != VERSION {
            let versions = format!(
                "this gateway speaks control version {VERSION}, the command {}: use the same \
                 release of strait for both",
                opening.version
            );
            return Err(Failure::Protocol(versions));
        }
        Ok(opening.request)
    }

    /// Returns when the client has gone. One that speaks out of turn is sent away, too.
    pub(super) async fn left(&mut self) -> Failure {
        match self.next().await {
            Ok(_) => Failure::protocol("the command speaks out of turn"),
            Err(failure) => failure,
        }
    }

    /// The next frame; a failure once the client has gone.
    pub(super) async fn next(&mut self) -> Result<Frame, Failure> {
        match self.frames.next().await {
            Some(Ok(frame)) => Ok(frame),
            Some(Err(error)) => Err(Failure::protocol(error)),
            None => Err(gone()),
        }
    }

    pub(super) async fn reply(&mut self, reply: &impl Serialize) -> Result<(), Failure> {
        self.replies
            .send(protocol::encode(reply))
            .await
            .map_err(|_| gone())
    }

    pub(super) async fn send_data(&mut self, bytes: Bytes) -> Result<(), Failure> {
        self.replies
            .send(Frame::Data(bytes))
            .await
            .map_err(|_| gone())
    }
}

fn gone() -> Failure {
    Failure::Aborted("the command was interrupted".to_owned())
}
