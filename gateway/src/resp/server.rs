//! The server: accepts clients.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::access::{Access, Admission};
use super::client::Clients;
use super::durability::DurabilityRules;
use super::endpoint::{BindError, Endpoint, Listener, Port};
use super::handshakes::{HandshakeDoor, Handshakes};
use super::held::ReplyLimits;
use super::info::InfoSource;
use super::own::{self, OwnClients, OwnDoor};
use super::pause::Pause;
use super::slowlog::Slowlog;
use super::threads::Threads;
use crate::grid::Grid;

/// Replies that are read from the disk at a time.
const DISK_READS_MAX: usize = 4;

/// What the server needs besides the grid.
#[derive(Clone, Debug)]
pub struct RespConfig {
    /// Who is let in, to begin with.
    pub admission: Admission,
    /// More clients than this are turned away.
    pub clients_max: usize,
    /// When writes are confirmed.
    pub durability: DurabilityRules,
    /// How long a write waits for room when memory is full; none: it is refused at once.
    pub block: Option<Duration>,
    /// What replies may take.
    pub limits: ReplyLimits,
}

/// What all connections share.
pub(super) struct Shared {
    pub(super) grid: Arc<Grid>,
    pub(super) config: RespConfig,
    pub(super) access: Arc<Access>,
    pub(super) info: Arc<dyn InfoSource>,
    pub(super) clients: Arc<Clients>,
    pub(super) slowlog: Slowlog,
    /// Turns of those who read from the disk: each of them may fill a reply meanwhile.
    pub(super) disk_reads: Arc<Semaphore>,
    pub(super) pause: Pause,
    /// Where it listens.
    pub(super) endpoints: Vec<Arc<Endpoint>>,
    pub(super) since: Instant,
}

impl Shared {
    /// The first TCP address; port 0, as in Redis, if there is none.
    pub(super) fn tcp(&self) -> SocketAddr {
        let mut addresses = self.endpoints.iter().filter_map(|endpoint| endpoint.tcp());
        addresses.next().unwrap_or(([0, 0, 0, 0], 0).into())
    }
}

/// A bound server that serves no one yet.
pub struct Server {
    listeners: Vec<Listener>,
    own: (OwnDoor, OwnClients),
    shared: Arc<Shared>,
    threads: Arc<Threads>,
    /// Where there is a listener behind TLS.
    handshakes: Option<Handshakes>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("endpoints", &self.shared.endpoints)
            .finish_non_exhaustive()
    }
}

impl Server {
    /// Listens on `address`. Port 0: any free one.
    pub fn bind(
        address: SocketAddr,
        grid: Arc<Grid>,
        config: RespConfig,
        info: Arc<dyn InfoSource>,
    ) -> Result<Self, BindError> {
        let port = Port::take(&Endpoint::Tcp(address))?;
        Self::listen(vec![port], grid, config, info)
    }

    /// Listens on ports that were taken before.
    pub fn listen(
        ports: Vec<Port>,
        grid: Arc<Grid>,
        config: RespConfig,
        info: Arc<dyn InfoSource>,
    ) -> Result<Self, BindError> {
        let listeners = ports.into_iter().map(Port::listen);
        let listeners = listeners.collect::<Result<Vec<_>, _>>()?;
        let endpoints = listeners.iter().map(|listener| listener.endpoint.clone());
        let clients = Arc::<Clients>::default();
        let shared = Arc::new(Shared {
            grid,
            access: Arc::new(Access::new(config.admission.clone(), clients.clone())),
            config,
            info,
            clients,
            slowlog: Slowlog::default(),
            disk_reads: Arc::new(Semaphore::new(DISK_READS_MAX)),
            pause: Pause::default(),
            endpoints: endpoints.collect(),
            since: Instant::now(),
        });
        let (threads, handshakes) = start(&shared).map_err(|source| BindError {
            endpoint: Endpoint::Tcp(shared.tcp()),
            source,
        })?;
        Ok(Self {
            listeners,
            own: own::door(),
            shared,
            threads,
            handshakes,
        })
    }

    /// The first TCP address, with the port that was found; port 0 if there is none.
    pub fn local_addr(&self) -> SocketAddr {
        self.shared.tcp()
    }

    /// Where it listens, with the ports that were found.
    pub fn endpoints(&self) -> &[Arc<Endpoint>] {
        &self.shared.endpoints
    }

    /// Who is connected.
    pub fn clients(&self) -> Arc<Clients> {
        self.shared.clients.clone()
    }

    /// Who is let in, to be changed.
    pub fn access(&self) -> Arc<Access> {
        self.shared.access.clone()
    }

    /// For the gateway's own commands.
    pub fn own_door(&self) -> OwnDoor {
        self.own.0.clone()
    }

    /// Serves clients until `shutdown` is done; then closes all of them. A command that has begun
    /// is carried out, its reply may not arrive.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) {
        let (threads, handshakes) = (self.threads, self.handshakes);
        let mut accepting = JoinSet::new();
        for listener in self.listeners {
            let handshakes = handshakes.as_ref().map(Handshakes::door);
            let handshakes = handshakes.filter(|_| listener.endpoint.is_tls());
            accepting.spawn(accept(listener, threads.clone(), handshakes));
        }
        let (door, own) = self.own;
        accepting.spawn(own.serve(threads.clone()));
        shutdown.await;
        drop(door);
        accepting.shutdown().await;
        if let Some(handshakes) = handshakes {
            handshakes.stop().await;
        }
        if let Some(threads) = Arc::into_inner(threads) {
            threads.stop().await;
        }
    }
}

/// The threads that serve clients, and the one that shakes hands where there is TLS.
fn start(shared: &Arc<Shared>) -> io::Result<(Arc<Threads>, Option<Handshakes>)> {
    let threads = Arc::new(Threads::start(shared)?);
    let mut endpoints = shared.endpoints.iter();
    let handshakes = match endpoints.any(|endpoint| endpoint.is_tls()) {
        true => Some(Handshakes::start(shared.clone(), threads.clone())?),
        false => None,
    };
    Ok((threads, handshakes))
}

/// Accepts clients for ever. `handshakes` takes those of a listener behind TLS.
async fn accept(listener: Listener, threads: Arc<Threads>, handshakes: Option<HandshakeDoor>) {
    loop {
        let served = match (listener.accept().await, &handshakes) {
            (Ok(accepted), None) => threads.serve(accepted).await,
            (Ok(accepted), Some(handshakes)) => handshakes.serve(accepted).await,
            (Err(error), _) => Err(error),
        };
        if let Err(error) = served {
            // Out of file descriptors, most likely: wait for some client to leave.
            tracing::warn!(%error, listener = %listener.endpoint, "cannot accept a Redis client");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}
