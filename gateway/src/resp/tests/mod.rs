//! The server over loopback: a Redis client, and bytes as they are.

mod admin;
mod clients;
mod door;
mod fuzz;
mod held;
mod on_disk;
mod promises;
mod room;
mod same_as_redis;
mod tls;
mod users;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use super::*;
use crate::grid::{Grid, GridConfig};

/// Nothing on loopback takes longer.
const PATIENCE: Duration = Duration::from_secs(20);

struct Site {
    grid: Arc<Grid>,
    address: SocketAddr,
    clients: Arc<Clients>,
    access: Arc<Access>,
    stop: Option<oneshot::Sender<()>>,
    done: tokio::task::JoinHandle<()>,
}

impl Site {
    async fn start(password: Option<&str>) -> Self {
        Self::with(password, DurabilityRules::default(), None).await
    }

    async fn with(
        password: Option<&str>,
        durability: DurabilityRules,
        dir: Option<std::path::PathBuf>,
    ) -> Self {
        let config = RespConfig {
            admission: admission(password),
            durability,
            ..resp_config()
        };
        Self::with_config(grid_config(dir), config).await
    }

    async fn with_config(grid: GridConfig, config: RespConfig) -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        Self::at(&Endpoint::Tcp(any), grid, config).await
    }

    async fn at(endpoint: &Endpoint, grid: GridConfig, config: RespConfig) -> Self {
        let grid = Arc::new(Grid::open(grid).unwrap().0);
        let ports = vec![Port::take(endpoint).unwrap()];
        let server = Server::listen(ports, grid.clone(), config, Arc::new(NoInfo)).unwrap();
        let address = server.endpoints()[0].address().unwrap();
        let (clients, access) = (server.clients(), server.access());
        let (stop, stopped) = oneshot::channel();
        let done = tokio::spawn(server.serve(async move { drop(stopped.await) }));
        Self {
            grid,
            address,
            clients,
            access,
            stop: Some(stop),
            done,
        }
    }

    async fn stop(mut self) {
        drop(self.stop.take());
        self.done.await.unwrap();
    }

    async fn client(&self) -> Raw {
        Raw(TcpStream::connect(self.address).await.unwrap())
    }
}

fn grid_config(dir: Option<std::path::PathBuf>) -> GridConfig {
    GridConfig {
        dir,
        site: "east".parse().unwrap(),
        incarnation: 1,
        flush_interval: Duration::from_millis(5),
        memory_bytes_max: 1 << 30,
        loss_window: Duration::from_secs(1),
        peers: BTreeSet::new(),
        cold: None,
    }
}

fn admission(password: Option<&str>) -> Admission {
    Admission {
        users: Users::with_password(password),
        tls: None,
    }
}

fn resp_config() -> RespConfig {
    RespConfig {
        admission: Admission::default(),
        clients_max: 4,
        durability: DurabilityRules::default(),
        block: None,
        limits: ReplyLimits::default(),
    }
}

struct Raw(TcpStream);

impl Raw {
    /// Sends text (inline commands, or arrays as they are) and reads as much as is expected.
    async fn expect(&mut self, sent: &str, reply: &str) {
        self.0.write_all(sent.as_bytes()).await.unwrap();
        let mut got = vec![0; reply.len()];
        let read = tokio::time::timeout(PATIENCE, self.0.read_exact(&mut got));
        let whole = read.await.is_ok_and(|read| read.is_ok());
        let got = String::from_utf8_lossy(&got).into_owned();
        assert!(
            whole && got == reply,
            "{sent:?} gave {got:?}, not {reply:?}"
        );
    }

    /// Sends a command and reads one line of its reply.
    async fn line(&mut self, sent: &str) -> String {
        self.0.write_all(sent.as_bytes()).await.unwrap();
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            let byte = tokio::time::timeout(PATIENCE, self.0.read_u8()).await;
            line.push(byte.unwrap().unwrap());
        }
        String::from_utf8(line).unwrap()
    }

    async fn closed(&mut self) -> bool {
        matches!(self.0.read(&mut [0; 8]).await, Ok(0) | Err(_))
    }
}
