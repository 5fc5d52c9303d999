//! The TCP server.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;

use crate::grid::Grid;

/// What the server needs besides the grid.
#[derive(Clone, Debug)]
pub struct RespConfig {
    /// Clients must `AUTH` with it.
    pub password: Option<String>,
    /// More clients than this are turned away.
    pub clients_max: usize,
}

/// What `INFO` says beyond what the grid knows.
pub trait InfoSource: Send + Sync + 'static {
    /// Lines of the section "Replication", as (name, value).
    fn replication(&self) -> Vec<(String, String)>;
}

/// No lines.
#[derive(Clone, Copy, Debug)]
pub struct NoInfo;

impl InfoSource for NoInfo {
    fn replication(&self) -> Vec<(String, String)> {
        Vec::new()
    }
}

/// The address could not be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen for Redis clients on {address}: {source}")]
pub struct BindError {
    address: SocketAddr,
    source: std::io::Error,
}

/// A bound server that serves no one yet.
pub struct Server {
    listener: TcpListener,
    local_addr: SocketAddr,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("local_addr", &self.local_addr)
            .finish_non_exhaustive()
    }
}

impl Server {
    /// Listens on `address`. Port 0: any free one.
    pub async fn bind(
        address: SocketAddr,
        _grid: Arc<Grid>,
        _config: RespConfig,
        _info: Arc<dyn InfoSource>,
    ) -> Result<Self, BindError> {
        let failed = |source| BindError { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let local_addr = listener.local_addr().map_err(failed)?;
        Ok(Self {
            listener,
            local_addr,
        })
    }

    /// The address, with the port that was found.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Serves clients until `shutdown` is done; then closes all of them.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) {
        shutdown.await;
        drop(self.listener);
    }
}
