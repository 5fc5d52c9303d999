//! Assembles a gateway from its resolved configuration, runs it, and takes it apart.

mod parts;
mod reload;
mod retention;
mod snapshots;
mod status;
mod windows;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use parking_lot::RwLock;
use strait_dedup::{Level, Store, StoreConfig};
use strait_transport::{Decode, Encode, LinkEvents, LinkHandle, Node, NodeConfig, SiteName};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{error, info, warn};

use crate::bulk::sync::Syncs;
use crate::bulk::{Bulk, BulkConfig, SyncFigures};
use crate::codec::{LinkDecoder, LinkEncoder};
use crate::config::{CompressionLevel, Config, OnFull};
use crate::datadir::DataDir;
use crate::forward::Forwards;
use crate::grid::{Digest, Flusher, Grid, GridConfig};
use crate::observe;
use crate::replicate::{self, Floors, Neighbours, Rooms};
use crate::resp::{self, RespConfig};
use parts::{Parts, Peers};
use retention::Retention;
use snapshots::Snapshots;

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
    /// Threads that watch folders; end when dropped.
    syncs: Syncs,
    /// What serves clients; ends when told to.
    servers: JoinSet<()>,
    /// One task for each link; ends with the node.
    links: JoinSet<()>,
    stopping: watch::Sender<bool>,
    http_address: SocketAddr,
    // Dropped last: the directory stays locked until everything is written.
    dir: DataDir,
}

/// Runs a gateway until SIGINT or SIGTERM. SIGHUP makes it read keys and peers anew.
pub fn run_until_signal(dir: DataDir, config: Config) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let ran = runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hangup = signal(SignalKind::hangup())?;
        let gateway = Gateway::start(dir, config).await?;
        loop {
            tokio::select! {
                _ = interrupt.recv() => info!("SIGINT: stopping"),
                _ = terminate.recv() => info!("SIGTERM: stopping"),
                _ = hangup.recv() => {
                    gateway.reload().await;
                    continue;
                }
            }
            return gateway.stop().await;
        }
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
    ran
}

impl Gateway {
    /// Recovers what the data directory holds, listens, and starts to dial peers.
    ///
    /// # Errors
    /// When a port or a folder cannot be had. Damaged data is repaired and logged
    /// instead.
    pub async fn start(dir: DataDir, config: Config) -> anyhow::Result<Self> {
        let mut data = blocking({
            let (grid, store) = (grid_config(&dir, &config), store_config(&dir, &config));
            let config = config.clone();
            move || open_data(grid, store, &config)
        })
        .await?;
        let (node, links) = bind_links(&dir, &config, &mut data).await?;
        let Data { grid, store, .. } = data;
        let bulk = open_bulk(&config, &links).await?;
        let (forwards, listeners) =
            Forwards::bind(&config.forwards, &config.allow, by_site(&links))?;
        let peers = Arc::new(Peers::new(
            links.iter().map(|(link, _)| link.clone()),
            config.grid.compare_every,
        ));
        let (address, resp_config) = (config.listen.grid, resp_config(&config));
        let resp = resp::Server::bind(address, grid.clone(), resp_config, peers.clone()).await?;
        let settings = config.snapshots;
        let retention = Retention::new(config.logs.clone(), config.grid.on_full);
        let retention = Arc::new(retention);
        let parts = Arc::new(Parts {
            key: RwLock::new(dir.identity().public_key()),
            incarnation: dir.incarnation(),
            link_address: node.local_addr(),
            refusals: node.refusals(),
            grid_address: resp.local_addr(),
            started: SystemTime::now(),
            clients: resp.clients(),
            peers,
            syncs: SyncFigures::new(&config.syncs),
            config,
            grid,
            store,
            bulk,
            forwards: Arc::new(forwards),
            retention,
            snapshots: Arc::new(Snapshots::new(dir.layout().snapshots(), settings)),
        });
        let http = observe::Server::bind(parts.config.listen.http, parts.clone()).await?;
        let mut gateway = Self {
            flusher: Flusher::spawn(parts.grid.clone()).context("no thread to flush the grid")?,
            syncs: Syncs::start(&parts.config.syncs, &parts.syncs, &dir.layout().socket())
                .context("no thread to watch a folder")?,
            http_address: http.local_addr(),
            parts,
            node,
            servers: JoinSet::new(),
            links: JoinSet::new(),
            stopping: watch::Sender::new(false),
            dir,
        };
        gateway.serve_clients(resp, http);
        let serving = gateway.parts.forwards.clone();
        let serving = serving.serve(listeners, gateway.stop_signal());
        gateway.servers.spawn(serving);
        gateway.serve_links(links);
        gateway.take_snapshots();
        gateway.retain_logs();
        gateway.retain_files();
        gateway.keep_to_windows();
        info!(
            site = %gateway.parts.config.site,
            link = %gateway.link_address(),
            grid = %gateway.grid_address(),
            http = %gateway.http_address(),
            "gateway is running"
        );
        Ok(gateway)
    }

    /// Where Redis clients connect.
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
        let flusher = self.flusher;
        blocking(move || {
            flusher.stop();
            Ok(())
        })
        .await?;
        flushed.context("the last writes did not reach the disk")?;
        info!("stopped");
        Ok(())
    }

    fn serve_clients(&mut self, resp: resp::Server, http: observe::Server) {
        let (bulk, socket) = (self.parts.bulk.clone(), self.dir.layout().socket());
        self.servers.spawn(resp.serve(self.stop_signal()));
        self.servers.spawn(http.serve(self.stop_signal()));
        let group = self.parts.config.bulk.group;
        let stop = self.stop_signal();
        self.servers.spawn(async move {
            if let Err(error) = bulk.serve_control(&socket, group, stop).await {
                error!(%error, "the control socket is closed: no push, pull or ls");
            }
        });
    }

    fn retain_logs(&mut self) {
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
        let mut stopping = self.stopping.subscribe();
        async move {
            // An error means that the gateway is gone altogether.
            drop(stopping.wait_for(|stopping| *stopping).await);
        }
    }

    fn serve_links(&mut self, links: Vec<(LinkHandle, LinkEvents)>) {
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
            let kept = (link.progress.clone(), link.comparer.clone());
            self.links
                .spawn(replicate::run(rooms.clone(), handle, events, kept));
        }
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

fn grid_config(dir: &DataDir, config: &Config) -> GridConfig {
    GridConfig {
        dir: Some(dir.layout().grid()),
        site: config.site.clone(),
        incarnation: dir.incarnation().0,
        flush_interval: config.grid.flush,
        memory_bytes_max: config.grid.memory_bytes_max,
        keep_trimmed_for_peers: !config.peers.is_empty(),
    }
}

fn store_config(dir: &DataDir, config: &Config) -> StoreConfig {
    StoreConfig {
        dir: Some(dir.layout().history()),
        memory_bytes_max: config.history.memory_bytes_max,
        disk_bytes_max: config.history.disk_bytes_max,
        links: config.peers.len(),
    }
}

/// What is read from disk before anything is served.
struct Data {
    grid: Arc<Grid>,
    store: Store,
    codecs: HashMap<SiteName, Codec>,
}

type Codec = (Box<dyn Encode>, Box<dyn Decode>);

fn open_data(grid: GridConfig, store: StoreConfig, config: &Config) -> anyhow::Result<Data> {
    let (grid, recovery) = Grid::open(grid)?;
    info!("grid: {recovery}");
    let store = Store::open(store);
    let sites = config.peers.iter().map(|peer| &peer.site);
    let codecs = sites.map(|site| (site.clone(), codec(&store, site, config.compression)));
    let codecs = codecs.collect();
    let found = store.recovery();
    match found.unusable.is_empty() {
        true => info!("history: {found}"),
        false => warn!("history: {found}"),
    }
    Ok(Data {
        grid: Arc::new(grid),
        store,
        codecs,
    })
}

/// Reads the history of one link and makes its codec. It goes by the site's name, which outlives
/// its keys.
fn codec(store: &Store, site: &SiteName, level: CompressionLevel) -> Codec {
    let (mut encoder, decoder) = store.link(site.as_ref());
    encoder.set_level(match level {
        CompressionLevel::Adaptive => Level::Adaptive,
        CompressionLevel::Fixed(level) => Level::Fixed(level),
    });
    (
        Box::new(LinkEncoder(encoder)),
        Box::new(LinkDecoder(decoder)),
    )
}

fn resp_config(config: &Config) -> RespConfig {
    let password = config.grid.password.as_ref();
    RespConfig {
        password: password.map(|password| password.reveal().to_owned()),
        clients_max: config.grid.clients_max,
        durability: config.grid.durability.clone(),
        block: (config.grid.on_full == OnFull::Block).then_some(config.grid.block),
    }
}

type Links = Vec<(LinkHandle, LinkEvents)>;

fn by_site(links: &Links) -> HashMap<SiteName, LinkHandle> {
    let links = links.iter();
    links
        .map(|(link, _)| (link.site().clone(), link.clone()))
        .collect()
}

async fn open_bulk(config: &Config, links: &Links) -> anyhow::Result<Arc<Bulk>> {
    let links = by_site(links);
    let config = BulkConfig {
        dir: config.bulk.dir.clone(),
        bytes_max: config.bulk.bytes_max,
    };
    let (bulk, recovery) = blocking(move || Ok(Bulk::new(&config, links)?)).await?;
    info!("files: {recovery}");
    Ok(Arc::new(bulk))
}

async fn bind_links(
    dir: &DataDir,
    config: &Config,
    data: &mut Data,
) -> anyhow::Result<(Node, Links)> {
    let node = NodeConfig {
        site: config.site.clone(),
        incarnation: dir.incarnation().0,
        identity: dir.identity().clone(),
        listen: config.listen.link,
        callers_from: config.listen.link_from.clone(),
        gso: config.listen.gso,
        peers: config.peers.clone(),
    };
    let Data { store, codecs, .. } = data;
    let bound = Node::bind(node, |peer| {
        let opened = codecs.remove(&peer.site);
        opened.unwrap_or_else(|| codec(store, &peer.site, config.compression))
    });
    Ok(bound.await?)
}
