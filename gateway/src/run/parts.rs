//! The rooms of a running gateway, as status, metrics and a clean stop see them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use strait_dedup::Store;
use strait_transport::{LinkHandle, Phase, PublicKey};

use crate::bulk::Bulk;
use crate::config::Config;
use crate::datadir::Incarnation;
use crate::grid::Grid;
use crate::replicate::{EpochClock, Progress};

/// One peer's link and how far its replication has come.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) handle: LinkHandle,
    pub(super) progress: Arc<Progress>,
}

impl Link {
    pub(super) fn new(handle: LinkHandle) -> Self {
        Self {
            handle,
            progress: Arc::default(),
        }
    }
}

/// Everything that a gateway consists of.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) config: Config,
    pub(super) key: PublicKey,
    pub(super) incarnation: Incarnation,
    pub(super) link_address: SocketAddr,
    pub(super) grid_address: SocketAddr,
    pub(super) started: SystemTime,
    pub(super) grid: Arc<Grid>,
    pub(super) store: Store,
    pub(super) bulk: Arc<Bulk>,
    pub(super) links: Vec<Link>,
    pub(super) clock: Arc<EpochClock>,
}

impl Parts {
    /// Waits until every peer that can be reached holds all that is flushed.
    pub(super) async fn peers_hold_all(&self) {
        let durable = *self.grid.subscribe().borrow();
        let behind = |link: &&Link| {
            link.handle.status().phase == Phase::Up && link.progress.figures().acked < durable
        };
        while self.links.iter().any(|link| behind(&link)) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}
