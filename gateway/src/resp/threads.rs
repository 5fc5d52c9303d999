//! The threads that serve clients. Each has a runtime of its own: what a client asks is read, done
//! and answered on one thread, without a wake-up between, and links and files, which are served on
//! the others, do not come between.

use std::io;
use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use tokio::io::AsyncWriteExt;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::address::ClientAddress;
use super::busy::BusyPoll;
use super::client::Entered;
use super::connection::Connection;
use super::endpoint::Accepted;
use super::server::Shared;
use super::stream::Handover;

/// More would only wait for each other: commands are carried out under one lock.
const THREADS_MAX: usize = 4;
/// Connections that wait for a thread to take them, at most.
const WAITING_MAX: usize = 64;

/// One for every two cores, as clients take at least as much as their server.
#[derive(Debug)]
pub(super) struct Threads {
    threads: Vec<Serving>,
    next: AtomicUsize,
}

#[derive(Debug)]
struct Serving {
    accepted: mpsc::Sender<Accepted>,
    ended: oneshot::Receiver<()>,
}

impl Threads {
    pub(super) fn start(shared: &Arc<Shared>) -> io::Result<Self> {
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        let threads = (1..=(cores / 2).clamp(1, THREADS_MAX))
            .map(|number| Serving::start(number, shared.clone()))
            .collect::<io::Result<_>>()?;
        Ok(Self {
            threads,
            next: AtomicUsize::new(0),
        })
    }

    /// Hands a connection to the next thread in turn.
    pub(super) async fn serve(&self, accepted: Accepted) -> io::Result<()> {
        let next = self.next.fetch_add(1, Ordering::Relaxed) % self.threads.len();
        let taken = self.threads[next].accepted.send(accepted).await;
        taken.map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    /// Closes all connections. A command that has begun is carried out.
    pub(super) async fn stop(self) {
        let (queues, ended): (Vec<_>, Vec<_>) = (self.threads.into_iter())
            .map(|thread| (thread.accepted, thread.ended))
            .unzip();
        drop(queues);
        for ended in ended {
            // Nothing is ever sent: the sender goes with the thread.
            ended.await.ok();
        }
    }
}

impl Serving {
    fn start(number: usize, shared: Arc<Shared>) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (accepted, queue) = mpsc::channel(WAITING_MAX);
        let (ending, ended) = oneshot::channel::<()>();
        thread::Builder::new()
            .name(format!("clients-{number}"))
            .spawn(move || {
                serve_queue(runtime, shared, queue);
                drop(ending);
            })?;
        Ok(Self { accepted, ended })
    }
}

/// Serves whom the queue brings until it is closed.
fn serve_queue(runtime: Runtime, shared: Arc<Shared>, mut queue: mpsc::Receiver<Accepted>) {
    runtime.block_on(async move {
        let mut connections = JoinSet::new();
        let busy = Arc::new(BusyPoll::default());
        let polling = busy.clone();
        connections.spawn(async move { polling.run().await });
        loop {
            tokio::select! {
                Some(_) = connections.join_next() => {}
                accepted = queue.recv() => match accepted {
                    Some(accepted) => serve_one(&mut connections, (&shared, &busy), accepted),
                    None => break,
                },
            }
        }
        connections.shutdown().await;
    });
}

/// Serves a client, unless there are too many.
fn serve_one(
    connections: &mut JoinSet<()>,
    (shared, busy): (&Arc<Shared>, &Arc<BusyPoll>),
    accepted: Accepted,
) {
    let Accepted {
        stream,
        address,
        listener,
    } = accepted;
    let clients = &shared.clients;
    let user = shared.access.users().default_user();
    let owes_password = !user.is_open() && !address.is_own();
    let places = (address.clone(), listener);
    match clients.enter(places, (user, owes_password), shared.config.clients_max) {
        Some(entered) => {
            let id = entered.id();
            let serving = serve_client((shared.clone(), busy.clone()), stream, entered);
            let task = connections.spawn(to_the_end(serving, address));
            clients.served_by(id, task);
        }
        None => {
            connections.spawn(to_the_end(turn_away(stream), address));
        }
    }
}

async fn to_the_end(serving: impl Future<Output = io::Result<()>>, address: ClientAddress) {
    if let Err(error) = serving.await {
        tracing::debug!(%error, %address, "lost a Redis client");
    }
}

async fn serve_client(
    (shared, busy): (Arc<Shared>, Arc<BusyPoll>),
    stream: Handover,
    entered: Entered,
) -> io::Result<()> {
    let stream = stream.arrive()?;
    Connection::new((shared, busy), stream, entered).run().await
}

async fn turn_away(stream: Handover) -> io::Result<()> {
    let refusal = b"-ERR max number of clients reached\r\n";
    stream.arrive()?.write_all(refusal).await
}
