//! From a data directory and a configuration to the rooms of a gateway, each with what it needs.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::RwLock;
use strait_dedup::{Level, Store, StoreConfig};
use strait_transport::{
    Decode, Encode, LinkEvents, LinkHandle, Node, NodeConfig, Port as LinkPort, SiteName,
};
use tracing::{error, info, warn};

use super::blocking;
use super::parts::{Parts, Peers};
use super::retention::Retention;
use super::snapshots::Snapshots;
use crate::bulk::{Bulk, BulkConfig, SyncFigures};
use crate::codec::{LinkDecoder, LinkEncoder};
use crate::config::{CompressionLevel, Config, OnFull};
use crate::datadir::{DataDir, make_room};
use crate::forward::{self, Forwards, Listeners};
use crate::grid::{ColdConfig, Grid, GridConfig};
use crate::resp::{self, Admission, RespConfig};

/// A file of a peer that does not move for so long, while the link is up, is given up.
const FILE_IDLE_MAX: Duration = Duration::from_secs(6 * 3600);

/// What a gateway is made of before it serves anything.
pub(super) struct Assembled {
    pub(super) parts: Arc<Parts>,
    pub(super) node: Node,
    pub(super) links: Links,
    pub(super) resp: resp::Server,
    pub(super) listeners: Listeners,
}

/// The ports of a gateway but that of HTTP, which is served at once. Nobody is answered there yet.
pub(super) struct Ports {
    grid: Vec<resp::Port>,
    link: LinkPort,
    forwards: forward::Ports,
}

impl Ports {
    /// Takes them. Must run inside tokio.
    pub(super) fn take(config: &Config) -> anyhow::Result<Self> {
        Ok(Self {
            grid: take_grid_ports(config)?,
            link: LinkPort::take(config.listen.link)?,
            forwards: forward::Ports::take(&config.forwards)?,
        })
    }
}

fn take_grid_ports(config: &Config) -> Result<Vec<resp::Port>, resp::BindError> {
    let endpoints = config.listen.grid.iter();
    endpoints.map(resp::Port::take).collect()
}

/// Reads what the data directory holds, and listens.
pub(super) async fn assemble(
    dir: &Arc<DataDir>,
    config: Config,
    ports: Ports,
    admission: Admission,
) -> anyhow::Result<Assembled> {
    let mut data = blocking({
        let (dir, config) = (dir.clone(), config.clone());
        move || open_data(&dir, &config)
    })
    .await?;
    let (node, links) = open_links(dir, &config, ports.link, &mut data).await?;
    let Data { grid, store, .. } = data;
    let bulk = open_bulk(dir, &config, &links).await?;
    let (forwards, listeners) = Forwards::listen(
        ports.forwards,
        &config.forwards,
        &config.allow,
        by_site(&links),
    )?;
    let peers = Arc::new(Peers::new(
        links.iter().map(|(link, _)| link.clone()),
        config.grid.compare_every,
    ));
    let resp = resp::Server::listen(
        ports.grid,
        grid.clone(),
        resp_config(&config, admission),
        peers.clone(),
    )?;
    let retention = Retention::new(config.logs.clone(), config.grid.on_full);
    let snapshots = Snapshots::new(dir.layout().snapshots(), config.snapshots);
    let parts = Arc::new(Parts {
        key: RwLock::new(dir.identity().public_key()),
        incarnation: dir.incarnation(),
        link_address: node.local_addr(),
        refusals: node.refusals(),
        grid_address: resp.local_addr(),
        grid_endpoints: resp.endpoints().to_vec(),
        grid_door: resp.own_door(),
        grid_access: resp.access(),
        started: Instant::now(),
        clients: resp.clients(),
        peers,
        syncs: SyncFigures::new(&config.syncs),
        config,
        grid,
        store,
        bulk,
        forwards: Arc::new(forwards),
        clock: Arc::default(),
        heap: Arc::default(),
        retention: Arc::new(retention),
        snapshots: Arc::new(snapshots),
    });
    Ok(Assembled {
        parts,
        node,
        links,
        resp,
        listeners,
    })
}

fn grid_config(dir: &DataDir, config: &Config) -> GridConfig {
    GridConfig {
        dir: Some(dir.layout().grid()),
        site: config.site.clone(),
        incarnation: dir.incarnation().0,
        flush_interval: config.grid.flush,
        loss_window: config.grid.loss_window,
        memory_bytes_max: config.grid.memory_bytes_max,
        peers: config.peers.iter().map(|peer| peer.site.clone()).collect(),
        cold: (config.grid.on_full == OnFull::Spill).then(|| ColdConfig {
            // A quarter is for counters, another for what comes in while older entries go.
            memory_bytes_max: config
                .grid
                .logs_memory_bytes_max
                .min(config.grid.memory_bytes_max / 2),
            disk_bytes_max: config.grid.logs_disk_bytes_max,
        }),
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

fn open_data(dir: &DataDir, config: &Config) -> anyhow::Result<Data> {
    let grid = open_grid(dir, config)?;
    let store = Store::open(store_config(dir, config));
    let sites = config.peers.iter().map(|peer| &peer.site);
    let codecs = sites.map(|site| (site.clone(), codec(&store, site, config.compression)));
    let codecs = codecs.collect();
    let found = store.recovery();
    match found.is_damaged() {
        false => info!("history: {found}"),
        true => warn!("history: {found}; what repeats it is sent in full once more"),
    }
    Ok(Data {
        grid: Arc::new(grid),
        store,
        codecs,
    })
}

/// Reads the grid. Where its journal is damaged, peers may hold more of what was counted here than
/// the disk does; as another incarnation the site may count on at once and still get that back.
fn open_grid(dir: &DataDir, config: &Config) -> anyhow::Result<Grid> {
    let (grid, recovery) = Grid::open(grid_config(dir, config))?;
    info!("grid: {recovery}");
    if recovery.quarantined.is_empty() {
        return Ok(grid);
    }
    if let Err(error) = dir.renew_incarnation() {
        error!(
            %error,
            "the site cannot go on as another incarnation: counts that only peers hold are lost"
        );
        return Ok(grid);
    }
    drop(grid);
    let (grid, _) = Grid::open(grid_config(dir, config))?;
    info!(incarnation = %dir.incarnation(), "the site goes on as another incarnation");
    Ok(grid)
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

fn resp_config(config: &Config, admission: Admission) -> RespConfig {
    RespConfig {
        admission,
        clients_max: config.grid.clients_max,
        limits: config.grid.limits,
        durability: config.grid.durability.clone(),
        block: matches!(config.grid.on_full, OnFull::Block | OnFull::Spill)
            .then_some(config.grid.block),
    }
}

pub(super) type Links = Vec<(LinkHandle, LinkEvents)>;

fn by_site(links: &Links) -> HashMap<SiteName, LinkHandle> {
    let links = links.iter();
    links
        .map(|(link, _)| (link.site().clone(), link.clone()))
        .collect()
}

async fn open_bulk(dir: &DataDir, config: &Config, links: &Links) -> anyhow::Result<Arc<Bulk>> {
    let links = by_site(links);
    if config.bulk.dir.parent() == Some(dir.layout().root()) {
        // What is wrong with it, opening it says.
        drop(make_room(&config.bulk.dir));
    }
    let config = BulkConfig {
        dir: config.bulk.dir.clone(),
        snapshots: Some(dir.layout().snapshots()),
        seen: Some(dir.layout().bulk_seen()),
        bytes_max: config.bulk.bytes_max,
        free_bytes_min: config.bulk.free_bytes_min,
        shared: config.bulk.shared,
        idle_max: FILE_IDLE_MAX,
    };
    let (bulk, recovery) = blocking(move || Ok(Bulk::new(&config, links)?)).await?;
    info!("files: {recovery}");
    Ok(Arc::new(bulk))
}

async fn open_links(
    dir: &DataDir,
    config: &Config,
    port: LinkPort,
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
    let bound = Node::listen(port, node, |peer| {
        let opened = codecs.remove(&peer.site);
        opened.unwrap_or_else(|| codec(store, &peer.site, config.compression))
    });
    Ok(bound.await?)
}
