//! What `strait-bench grid` starts as its own subject.
#![allow(clippy::print_stdout, reason = "says where it listens")]

use std::collections::BTreeSet;
use std::io::Read;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use strait::demo::sites;
use strait::grid::{Flusher, Grid, GridConfig};
use strait::resp::{
    Admission, Durability, DurabilityRules, NoInfo, ReplyLimits, RespConfig, Server,
};

use super::Arguments;

pub(super) fn config(dir: &Path) -> Result<GridConfig> {
    Ok(GridConfig {
        dir: Some(dir.to_owned()),
        site: "bench".parse()?,
        incarnation: 1,
        flush_interval: Duration::from_millis(50),
        memory_bytes_max: 16 << 30,
        loss_window: Duration::from_secs(1),
        peers: BTreeSet::new(),
        cold: None,
    })
}

/// A gateway's grid and nothing else, on a port of its own, until standard input closes.
pub(super) fn run(arguments: &Arguments) -> Result<()> {
    strait::heap::limit_arenas();
    if arguments.with_peer {
        return run_with_peer();
    }
    let own = tempfile::tempdir()?;
    let dir = arguments.dir.as_deref().unwrap_or(own.path());
    let disk = arguments.disk;
    let (grid, _) = Grid::open(config(dir)?)?;
    let grid = Arc::new(grid);
    let flusher = Flusher::spawn(grid.clone())?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let otherwise = if disk {
            Durability::Disk
        } else {
            Durability::Memory
        };
        let config = RespConfig {
            admission: Admission::default(),
            clients_max: 10_000,
            durability: DurabilityRules {
                otherwise,
                ..DurabilityRules::default()
            },
            block: None,
            limits: ReplyLimits::default(),
        };
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let server = Server::bind(any, grid, config, Arc::new(NoInfo))?;
        println!("{}", server.local_addr());
        let closed = tokio::task::spawn_blocking(|| std::io::stdin().read(&mut [0]));
        server.serve(async { drop(closed.await) }).await;
        anyhow::Ok(())
    })?;
    flusher.stop();
    Ok(())
}

/// Two whole gateways, the first on a port that it prints.
fn run_with_peer() -> Result<()> {
    let home = tempfile::tempdir()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let settings = "[grid]\nmemory_bytes_max = \"16GiB\"\n";
        let straight = async |west| Ok(west);
        let (east, west) = sites::pair(home.path(), settings, straight).await?;
        println!("{}", east.grid_address());
        tokio::task::spawn_blocking(|| std::io::stdin().read(&mut [0])).await??;
        east.stop().await?;
        west.stop().await
    })
}
