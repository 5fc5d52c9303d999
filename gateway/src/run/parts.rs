//! The rooms of a running gateway, as status, metrics and a clean stop see them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::RwLock;
use strait_dedup::Store;
use strait_transport::{LinkHandle, Phase, PublicKey, Refusals};

use super::clock::ClockWatch;
use super::retention::Retention;
use super::snapshots::Snapshots;
use crate::bulk::{Bulk, SyncFigures};
use crate::config::Config;
use crate::datadir::Incarnation;
use crate::forward::Forwards;
use crate::grid::{Feed, Grid};
use crate::heap::HeapWatch;
use crate::observe::process;
use crate::replicate::compare::Comparer;
use crate::replicate::{FlushClock, Progress};
use crate::resp::{Access, Clients, Endpoint, InfoSource, OwnDoor};

/// One peer's link and how far its replication has come.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) handle: LinkHandle,
    pub(super) progress: Arc<Progress>,
    pub(super) comparer: Arc<Comparer>,
}

impl Link {
    fn new(handle: LinkHandle, compare_every: Option<Duration>) -> Self {
        Self {
            handle,
            comparer: Arc::new(Comparer::new(compare_every)),
            progress: Arc::default(),
        }
    }
}

/// Everything that a gateway consists of.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) config: Config,
    pub(super) key: RwLock<PublicKey>,
    pub(super) incarnation: Incarnation,
    pub(super) link_address: SocketAddr,
    pub(super) grid_address: SocketAddr,
    /// All places where Redis clients connect.
    pub(super) grid_endpoints: Vec<Arc<Endpoint>>,
    pub(super) grid_door: OwnDoor,
    pub(super) grid_access: Arc<Access>,
    pub(super) started: Instant,
    pub(super) clients: Arc<Clients>,
    pub(super) grid: Arc<Grid>,
    pub(super) store: Store,
    pub(super) bulk: Arc<Bulk>,
    pub(super) syncs: SyncFigures,
    pub(super) forwards: Arc<Forwards>,
    pub(super) clock: Arc<ClockWatch>,
    pub(super) heap: Arc<HeapWatch>,
    pub(super) retention: Arc<Retention>,
    pub(super) snapshots: Arc<Snapshots>,
    pub(super) peers: Arc<Peers>,
    pub(super) refusals: Arc<Refusals>,
}

/// The links of a gateway, and the clock that their lag is measured by.
#[derive(Debug)]
pub(super) struct Peers {
    pub(super) links: Vec<Link>,
    pub(super) clock: Arc<FlushClock>,
}

impl Peers {
    pub(super) fn new(
        links: impl Iterator<Item = LinkHandle>,
        compare_every: Option<Duration>,
    ) -> Self {
        Self {
            links: links.map(|link| Link::new(link, compare_every)).collect(),
            clock: Arc::default(),
        }
    }

    /// The links of all peers but those that were removed while running.
    pub(super) fn present(&self) -> impl Iterator<Item = &Link> {
        let links = self.links.iter();
        links.filter(|link| link.handle.status().phase != Phase::Closed)
    }
}

impl InfoSource for Peers {
    fn lines(&self, section: &str) -> Vec<(String, String)> {
        match section {
            "Replication" => self.replication(),
            "Memory" | "CPU" => process_lines(section),
            _ => Vec::new(),
        }
    }
}

impl Peers {
    fn replication(&self) -> Vec<(String, String)> {
        let now = Instant::now();
        let line = |(index, link): (usize, &Link)| {
            let status = link.handle.status();
            let lag_of = |feed| {
                let acked = link.progress.figures(feed).acked;
                self.clock.lag(feed, acked, now).age
            };
            let lags = Feed::ALL.map(lag_of);
            let lag = lags.into_iter().max().unwrap_or_default().as_secs_f64();
            let site = link.handle.site();
            let state = status.phase.name();
            (
                format!("peer{index}"),
                format!("site={site},state={state},lag={lag:.3}"),
            )
        };
        let peers: Vec<_> = self.present().enumerate().map(line).collect();
        let count = ("peers".to_owned(), peers.len().to_string());
        std::iter::once(count).chain(peers).collect()
    }
}

/// What the kernel says of the process, under Redis's names.
fn process_lines(section: &str) -> Vec<(String, String)> {
    let Some(process) = process::read() else {
        return Vec::new();
    };
    let lines = match section {
        "Memory" => vec![("used_memory_rss", process.resident_bytes.to_string())],
        _ => vec![
            ("used_cpu_sys", format!("{:.6}", process.system_seconds)),
            ("used_cpu_user", format!("{:.6}", process.user_seconds)),
        ],
    };
    let lines = lines.into_iter();
    lines.map(|(key, value)| (key.to_owned(), value)).collect()
}

impl Parts {
    /// Waits until every peer that can be reached holds all that is flushed.
    pub(super) async fn peers_hold_all(&self) {
        let durable = *self.grid.subscribe_flushes().borrow();
        let behind = |link: &&Link| {
            link.handle.status().phase == Phase::Up && !link.progress.is_acked(durable)
        };
        while self.peers.links.iter().any(|link| behind(&link)) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}
