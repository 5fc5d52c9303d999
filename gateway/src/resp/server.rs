//! The TCP server: accepts clients.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::Semaphore;

use super::client::Clients;
use super::durability::DurabilityRules;
use super::held::ReplyLimits;
use super::info::InfoSource;
use super::pause::Pause;
use super::slowlog::Slowlog;
use super::threads::Threads;
use crate::grid::Grid;

/// Connections that wait to be accepted, at most.
const BACKLOG: u32 = 1024;

/// Replies that are read from the disk at a time.
const DISK_READS_MAX: usize = 4;

/// What the server needs besides the grid.
#[derive(Clone, Debug)]
pub struct RespConfig {
    /// Clients must `AUTH` with it.
    pub password: Option<String>,
    /// More clients than this are turned away.
    pub clients_max: usize,
    /// When writes are confirmed.
    pub durability: DurabilityRules,
    /// How long a write waits for room when memory is full; none: it is refused at once.
    pub block: Option<Duration>,
    /// What replies may take.
    pub limits: ReplyLimits,
}

/// The address could not be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen for Redis clients on {address}: {source}")]
pub struct BindError {
    address: SocketAddr,
    source: std::io::Error,
}

/// What all connections share.
pub(super) struct Shared {
    pub(super) grid: Arc<Grid>,
    pub(super) config: RespConfig,
    pub(super) info: Arc<dyn InfoSource>,
    pub(super) clients: Arc<Clients>,
    pub(super) slowlog: Slowlog,
    /// Turns of those who read from the disk: each of them may fill a reply meanwhile.
    pub(super) disk_reads: Arc<Semaphore>,
    pub(super) pause: Pause,
    pub(super) local_addr: SocketAddr,
    pub(super) since: Instant,
}

/// A port that was taken and does not listen yet: who connects is refused, and no other process
/// can have it.
#[derive(Debug)]
pub struct Port {
    socket: TcpSocket,
    address: SocketAddr,
}

impl Port {
    /// Takes `address`. Port 0: any free one.
    pub fn take(address: SocketAddr) -> Result<Self, BindError> {
        let socket = || {
            let socket = match address {
                SocketAddr::V4(_) => TcpSocket::new_v4()?,
                SocketAddr::V6(_) => TcpSocket::new_v6()?,
            };
            socket.set_reuseaddr(true)?;
            socket.bind(address)?;
            Ok(socket)
        };
        let socket = socket().map_err(|source| BindError { address, source })?;
        Ok(Self { socket, address })
    }
}

/// A bound server that serves no one yet.
pub struct Server {
    listener: TcpListener,
    shared: Arc<Shared>,
    threads: Threads,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("local_addr", &self.shared.local_addr)
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
        Self::listen(Port::take(address)?, grid, config, info)
    }

    /// Listens on a port that was taken before.
    pub fn listen(
        Port { socket, address }: Port,
        grid: Arc<Grid>,
        config: RespConfig,
        info: Arc<dyn InfoSource>,
    ) -> Result<Self, BindError> {
        let failed = |source| BindError { address, source };
        let listener = socket.listen(BACKLOG).map_err(failed)?;
        let local_addr = listener.local_addr().map_err(failed)?;
        let shared = Arc::new(Shared {
            grid,
            config,
            info,
            clients: Arc::default(),
            slowlog: Slowlog::default(),
            disk_reads: Arc::new(Semaphore::new(DISK_READS_MAX)),
            pause: Pause::default(),
            local_addr,
            since: Instant::now(),
        });
        let threads = Threads::start(&shared).map_err(failed)?;
        Ok(Self {
            listener,
            shared,
            threads,
        })
    }

    /// The address, with the port that was found.
    pub fn local_addr(&self) -> SocketAddr {
        self.shared.local_addr
    }

    /// Who is connected.
    pub fn clients(&self) -> Arc<Clients> {
        self.shared.clients.clone()
    }

    /// Serves clients until `shutdown` is done; then closes all of them. A command that has begun
    /// is carried out, its reply may not arrive.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) {
        let mut threads = self.threads;
        let mut shutdown = pin!(shutdown);
        loop {
            let accepted = tokio::select! {
                () = &mut shutdown => break,
                accepted = self.listener.accept() => accepted,
            };
            let served = match accepted {
                Ok((stream, address)) => threads.serve(stream, address).await,
                Err(error) => Err(error),
            };
            if let Err(error) = served {
                // Out of file descriptors, most likely: wait for some client to leave.
                tracing::warn!(%error, "cannot accept a Redis client");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        drop(self.listener);
        threads.stop().await;
    }
}
