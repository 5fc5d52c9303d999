//! Assembles a gateway from its resolved configuration, runs it, and takes it apart.

mod access;
mod assemble;
mod clock;
mod local;
mod memory;
mod parts;
mod reload;
mod retention;
mod secrets;
mod signals;
mod snapshots;
mod status;
mod windows;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use strait_transport::{LinkHandle, Node};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{error, info, warn};

use crate::bulk::sync::Syncs;
use crate::config::Config;
use crate::datadir::DataDir;
use crate::grid::{Digest, Flusher, Grid, Spiller};
use crate::observe;
use crate::replicate::{self, Floors, Neighbours, Rooms};
use crate::resp;
use assemble::{Links, Ports, assemble};
use local::{Own, RELOADS_MAX, Reload};
use parts::Parts;

pub(crate) use access::check_tls;
pub use signals::run_until_signal;

/// How often files are looked through for those that are not kept.
const RETAIN_FILES_EVERY: Duration = Duration::from_secs(60);
/// How long a stopping gateway waits for its peers to hold what was written last.
const FAREWELL_MAX: Duration = Duration::from_secs(2);
/// How long a stopping gateway waits for its clients' connections to close.
const TASKS_END_MAX: Duration = Duration::from_secs(3);

/// A running gateway.
#[derive(Debug)]
pub struct Gateway {
    parts: Arc<Parts>,
    node: Node,
    flusher: Flusher,
    spiller: Spiller,
    /// Threads that watch folders; end when dropped.
    syncs: Syncs,
    /// What serves clients; ends when told to.
    servers: JoinSet<()>,
    /// One task for each link; ends with the node.
    links: JoinSet<()>,
    stopping: watch::Sender<bool>,
    /// Orders of commands to read keys and peers anew; taken by whoever carries them out.
    reloads: Option<mpsc::Receiver<Reload>>,
    http_address: SocketAddr,
    // Dropped last: the directory stays locked until everything is written.
    dir: Arc<DataDir>,
}

impl Gateway {
    /// Recovers what the data directory holds, listens, and starts to dial peers. HTTP says
    /// meanwhile that the gateway is alive and not ready.
    ///
    /// # Errors
    /// When a port or a folder cannot be had. Damaged data is repaired and logged
    /// instead.
    pub async fn start(dir: impl Into<Arc<DataDir>>, config: Config) -> anyhow::Result<Self> {
        let dir = dir.into();
        let stopping = watch::Sender::new(false);
        let mut servers = JoinSet::new();
        // Who finds a port taken should not have read the disk for it.
        let admission = blocking({
            let config = config.clone();
            move || access::read(&config)
        })
        .await?;
        let ports = Ports::take(&config)?;
        let http = observe::Server::bind(config.listen.http).await?;
        let (http_address, pages) = (http.local_addr(), http.pages());
        servers.spawn(http.serve(told_to_stop(&stopping)));
        let assembled = assemble(&dir, config, ports, admission).await?;
        let parts = assembled.parts;
        let mut gateway = Self {
            flusher: Flusher::spawn(parts.grid.clone()).context("no thread to flush the grid")?,
            spiller: Spiller::spawn(parts.grid.clone(), parts.config.grid.scrub_every)
                .context("no thread to move logs to the disk")?,
            syncs: Syncs::start(&parts.config.syncs, &parts.syncs, &dir.layout().socket())
                .context("no thread to watch a folder")?,
            http_address,
            parts,
            node: assembled.node,
            servers,
            links: JoinSet::new(),
            stopping,
            reloads: None,
            dir,
        };
        gateway.serve_clients(assembled.resp);
        let serving = gateway.parts.forwards.clone();
        let serving = serving.serve(assembled.listeners, gateway.stop_signal());
        gateway.servers.spawn(serving);
        gateway.serve_links(assembled.links);
        gateway.take_snapshots();
        gateway.run_until_stopped(memory::give_back(gateway.parts.clone()));
        gateway.retain_logs();
        gateway.retain_files();
        gateway.keep_to_windows();
        pages.show(gateway.parts.clone());
        info!(
            site = %gateway.parts.config.site,
            link = %gateway.link_address(),
            grid = %gateway.parts.grid_addresses(),
            http = %gateway.http_address(),
            "gateway is running"
        );
        Ok(gateway)
    }

    /// The first TCP address for Redis clients; port 0 if there is none.
    pub fn grid_address(&self) -> SocketAddr {
        self.parts.grid_address
    }

    /// Where peers dial (UDP).
    pub fn link_address(&self) -> SocketAddr {
        self.parts.link_address
    }

    /// Where metrics and status are.
    pub fn http_address(&self) -> SocketAddr {
        self.http_address
    }

    /// Digest of all counters and logs. Blocks.
    pub fn digest(&self) -> Digest {
        self.parts.grid.digest()
    }

    /// Stops cleanly: no more clients, everything flushed, peers given a moment to
    /// take it, links closed.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.stopping.send_replace(true);
        if timeout(TASKS_END_MAX, join_all(&mut self.servers))
            .await
            .is_err()
        {
            warn!("some clients' connections were cut off");
            self.servers.abort_all();
        }
        let grid = self.parts.grid.clone();
        let flushed = blocking(move || Ok(grid.flush()?)).await;
        if flushed.is_ok()
            && timeout(FAREWELL_MAX, self.parts.peers_hold_all())
                .await
                .is_err()
        {
            info!("some peers do not hold the last writes yet; they get them after the next start");
        }
        let syncs = self.syncs;
        blocking(move || {
            drop(syncs);
            Ok(())
        })
        .await?;
        self.node.close().await;
        join_all(&mut self.links).await;
        let (flusher, spiller) = (self.flusher, self.spiller);
        blocking(move || {
            flusher.stop();
            spiller.stop();
            Ok(())
        })
        .await?;
        flushed.context("the last writes did not reach the disk")?;
        info!("stopped");
        Ok(())
    }

    fn serve_clients(&mut self, resp: resp::Server) {
        let (bulk, socket) = (self.parts.bulk.clone(), self.dir.layout().socket());
        self.servers.spawn(resp.serve(self.stop_signal()));
        let (reloads, orders) = mpsc::channel(RELOADS_MAX);
        self.reloads = Some(orders);
        let parts = self.parts.clone();
        let local = Arc::new(Own { parts, reloads });
        let group = self.parts.config.bulk.group;
        let stop = self.stop_signal();
        self.servers.spawn(async move {
            if let Err(error) = bulk.serve_control(&socket, group, local, stop).await {
                error!(%error, "the control socket is closed: no command reaches this gateway");
            }
        });
    }

    fn retain_logs(&mut self) {
        self.run_until_stopped(self.parts.clock.clone().run());
        let (retention, grid) = (self.parts.retention.clone(), self.parts.grid.clone());
        self.run_until_stopped(retention.run(grid));
    }

    fn retain_files(&mut self) {
        let (bulk, rules) = (self.parts.bulk.clone(), self.parts.config.files.clone());
        if rules.is_empty() {
            return;
        }
        let rules = Arc::new(rules);
        self.run_until_stopped(async move {
            loop {
                let (bulk, rules) = (bulk.clone(), rules.clone());
                drop(tokio::task::spawn_blocking(move || bulk.retain(&rules)).await);
                tokio::time::sleep(RETAIN_FILES_EVERY).await;
            }
        });
    }

    fn keep_to_windows(&mut self) {
        let windows = self.parts.config.windows.clone();
        if !windows.is_empty() {
            let links = self.parts.peers.links.iter();
            let links = links.map(|link| link.handle.clone()).collect();
            self.run_until_stopped(windows::run(windows, links));
        }
    }

    fn take_snapshots(&mut self) {
        let (snapshots, grid) = (self.parts.snapshots.clone(), self.parts.grid.clone());
        self.run_until_stopped(snapshots.run(grid));
    }

    fn run_until_stopped(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop_signal();
        self.servers.spawn(async move {
            tokio::select! {
                () = task => {}
                () = stop => {}
            }
        });
    }

    /// Done when the gateway stops.
    fn stop_signal(&self) -> impl Future<Output = ()> + Send + use<> {
        told_to_stop(&self.stopping)
    }

    fn serve_links(&mut self, links: Links) {
        let parts = &self.parts;
        let rooms = Rooms {
            grid: parts.grid.clone(),
            bulk: parts.bulk.clone(),
            forwards: parts.forwards.clone(),
            floors: Arc::new(Floors::new(parts.grid.clone(), links.len())),
            neighbours: Arc::new(Neighbours::new(parts.config.grid.relay)),
        };
        let (clock, grid) = (parts.peers.clock.clone(), parts.grid.clone());
        let flushes = grid.subscribe_flushes();
        let stop = self.stop_signal();
        self.servers.spawn(async move {
            tokio::select! {
                () = clock.run(grid, flushes) => {}
                () = stop => {}
            }
        });
        for ((handle, events), link) in links.into_iter().zip(&parts.peers.links) {
            let (grid, refused) = (parts.grid.clone(), handle.clone());
            let stop = told_to_stop(&self.stopping);
            self.servers.spawn(async move {
                tokio::select! {
                    () = mark_copy(grid, refused) => {}
                    () = stop => {}
                }
            });
            let kept = (link.progress.clone(), link.comparer.clone());
            self.links
                .spawn(replicate::run(rooms.clone(), handle, events, kept));
        }
    }
}

/// Waits until the peer refuses us as a copy; from then on it counts what is counted here apart.
async fn mark_copy(grid: Arc<Grid>, link: LinkHandle) {
    link.refused_as_copy().await;
    if !grid.refused_as_copy() {
        error!(
            site = %link.site(),
            "nobody knows any more what was counted here since the two copies parted: the peers keep \
             the counters of the other one"
        );
    }
}

fn told_to_stop(stopping: &watch::Sender<bool>) -> impl Future<Output = ()> + Send + use<> {
    let mut stopping = stopping.subscribe();
    async move {
        // An error means that the gateway is gone altogether.
        drop(stopping.wait_for(|stopping| *stopping).await);
    }
}

async fn join_all(tasks: &mut JoinSet<()>) {
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended
            && error.is_panic()
        {
            error!(%error, "a task broke down");
        }
    }
}

/// Runs what takes long, or waits for a disk, away from tokio's threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
) -> anyhow::Result<T> {
    tokio::task::spawn_blocking(work).await?
}
