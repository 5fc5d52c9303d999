//! TLS handshakes of clients, on a thread of their own: one takes as long as a thousand commands, and
//! no client waits for another one's. Until it is done a connection takes no place of a client.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::address::{ClientAddress, Origin};
use super::endpoint::Accepted;
use super::server::Shared;
use super::stream::Handover;
use super::threads::Threads;
use super::tls::Roaming;

/// A client has so long for its handshake.
const WITHIN: Duration = Duration::from_secs(10);
/// Handshakes that are under way at a time, at most.
pub(super) const AT_ONCE_MAX: usize = 256;
/// Connections that wait for the thread to take them, at most.
const WAITING_MAX: usize = 64;

/// The thread that shakes hands.
#[derive(Debug)]
pub(super) struct Handshakes {
    door: HandshakeDoor,
    ended: oneshot::Receiver<()>,
}

/// Hands connections to that thread.
#[derive(Clone, Debug)]
pub(super) struct HandshakeDoor(mpsc::Sender<Accepted>);

impl HandshakeDoor {
    pub(super) async fn serve(&self, accepted: Accepted) -> io::Result<()> {
        let taken = self.0.send(accepted).await;
        taken.map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl Handshakes {
    /// Connections whose handshake succeeds go on to `threads`.
    pub(super) fn start(shared: Arc<Shared>, threads: Arc<Threads>) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (accepted, queue) = mpsc::channel(WAITING_MAX);
        let (ending, ended) = oneshot::channel::<()>();
        thread::Builder::new()
            .name("clients-tls".to_owned())
            .spawn(move || {
                serve_queue(&runtime, (&shared, &threads), queue);
                drop(threads);
                drop(ending);
            })?;
        let door = HandshakeDoor(accepted);
        Ok(Self { door, ended })
    }

    pub(super) fn door(&self) -> HandshakeDoor {
        self.door.clone()
    }

    /// Ends the handshakes that are under way, once all doors are gone.
    pub(super) async fn stop(self) {
        drop(self.door);
        // Nothing is ever sent: the sender goes with the thread.
        self.ended.await.ok();
    }
}

fn serve_queue(
    runtime: &Runtime,
    (shared, threads): (&Arc<Shared>, &Arc<Threads>),
    mut queue: mpsc::Receiver<Accepted>,
) {
    runtime.block_on(async move {
        let mut under_way = UnderWay::default();
        loop {
            tokio::select! {
                Some(ended) = under_way.tasks.join_next_with_id() => under_way.ended(ended),
                accepted = queue.recv() => match accepted {
                    Some(accepted) => {
                        if let Some(address) = under_way.make_room() {
                            let error = io::Error::other("others needed its place");
                            shared.clients.door.failed_handshake(&address, &error);
                        }
                        under_way.begin(shared, threads, accepted);
                    }
                    None => break,
                },
            }
        }
        under_way.tasks.shutdown().await;
    });
}

/// The handshakes that are under way, the oldest first.
#[derive(Debug, Default)]
struct UnderWay {
    tasks: JoinSet<()>,
    clients: VecDeque<(ClientAddress, AbortHandle)>,
}

impl UnderWay {
    fn begin(&mut self, shared: &Arc<Shared>, threads: &Arc<Threads>, accepted: Accepted) {
        let address = accepted.address.clone();
        let shaking = shake(shared.clone(), threads.clone(), accepted);
        self.clients.push_back((address, self.tasks.spawn(shaking)));
    }

    /// Ends a handshake when there are as many as may be: the oldest of the address that has most of
    /// them, so that one address cannot keep others out.
    fn make_room(&mut self) -> Option<ClientAddress> {
        if self.clients.len() < AT_ONCE_MAX {
            return None;
        }
        let mut counts = HashMap::<Origin, usize>::new();
        for (address, _) in &self.clients {
            *counts.entry(address.origin()).or_default() += 1;
        }
        let (most, _) = counts.into_iter().max_by_key(|(_, count)| *count)?;
        let mut clients = self.clients.iter();
        let oldest = clients.position(|(address, _)| address.origin() == most)?;
        let (address, task) = self.clients.remove(oldest)?;
        task.abort();
        Some(address)
    }

    fn ended(&mut self, ended: Result<(Id, ()), JoinError>) {
        let id = match ended {
            Ok((id, ())) => id,
            Err(error) => error.id(),
        };
        self.clients.retain(|(_, task)| task.id() != id);
    }
}

async fn shake(shared: Arc<Shared>, threads: Arc<Threads>, accepted: Accepted) {
    let shaken = timeout(WITHIN, accept(&shared, accepted.stream));
    let shaken = match shaken.await {
        Ok(shaken) => shaken,
        Err(_) => Err(io::Error::other("it took longer than 10 s")),
    };
    let door = &shared.clients.door;
    match shaken {
        Ok(stream) => {
            door.shook_hands();
            let served = threads.serve(Accepted { stream, ..accepted });
            if let Err(error) = served.await {
                tracing::debug!(%error, "lost a Redis client");
            }
        }
        Err(error) => door.failed_handshake(&accepted.address, &error),
    }
}

async fn accept(shared: &Shared, stream: Handover) -> io::Result<Handover> {
    let Handover::Tcp(stream) = stream else {
        return Err(io::ErrorKind::Unsupported.into());
    };
    let Some(tls) = shared.access.tls() else {
        return Err(io::Error::other("[grid.tls] is no longer in strait.toml"));
    };
    let stream = TcpStream::from_std(stream)?;
    stream.set_nodelay(true)?;
    let accepting = TlsAcceptor::from(tls.0).accept(Roaming::new(stream));
    let mut tls = Box::new(accepting.await?);
    let socket = tls.get_mut().0.leave()?;
    Ok(Handover::Tls(tls, socket))
}
