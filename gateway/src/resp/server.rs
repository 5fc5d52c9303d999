//! The TCP server: accepts clients, one task each.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;

use super::client::{Clients, Entered};
use super::connection::Connection;
use super::durability::DurabilityRules;
use super::info::InfoSource;
use crate::grid::Grid;

/// Connections that wait to be accepted, at most.
const BACKLOG: u32 = 1024;

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
        let shared = Shared {
            grid,
            config,
            info,
            clients: Arc::default(),
            local_addr,
            since: Instant::now(),
        };
        Ok(Self {
            listener,
            shared: Arc::new(shared),
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
        let mut connections = JoinSet::new();
        let mut shutdown = pin!(shutdown);
        loop {
            tokio::select! {
                () = &mut shutdown => break,
                Some(_) = connections.join_next() => {}
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, address)) => {
                        connections.spawn(serve_one(self.shared.clone(), stream, address));
                    }
                    Err(error) => {
                        // Out of file descriptors, most likely: wait for some client to leave.
                        tracing::warn!(%error, "cannot accept a Redis client");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                },
            }
        }
        drop(self.listener);
        connections.shutdown().await;
    }
}

async fn serve_one(shared: Arc<Shared>, mut stream: TcpStream, address: SocketAddr) {
    let max = shared.config.clients_max;
    match shared.clients.enter(address, shared.local_addr, max) {
        Some(entered) => serve_client(shared, stream, entered).await,
        None => {
            let refusal = b"-ERR max number of clients reached\r\n";
            if let Err(error) = stream.write_all(refusal).await {
                tracing::debug!(%error, %address, "a client too many left early");
            }
        }
    }
}

async fn serve_client(shared: Arc<Shared>, stream: TcpStream, entered: Entered) {
    let id = entered.id();
    let served = match stream.set_nodelay(true) {
        Ok(()) => Connection::new(shared, stream, entered).run().await,
        Err(error) => Err(error),
    };
    if let Err(error) = served {
        tracing::debug!(%error, client = id.0, "lost a Redis client");
    }
}
