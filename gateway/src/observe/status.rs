//! The status document: `/status`, and what `strait status` reads.

use serde::{Deserialize, Serialize};

use super::link::LinkReport;
use super::memory::MemoryReport;
use crate::bulk::{BulkFigures, SyncReport};
use crate::datadir::Incarnation;
use crate::forward::ForwardsReport;
use crate::grid::GridStats;
use crate::resp::ClientFigures;

/// A gateway at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The gateway itself.
    pub gateway: GatewayReport,
    /// Why the gateway is not ready to serve clients: one sentence each. Empty: ready.
    pub not_ready: Vec<String>,
    /// Each configured peer.
    pub links: Vec<LinkReport>,
    /// Redis clients.
    #[serde(default)]
    pub clients: ClientFigures,
    /// Those who dialed us and were turned away, reason by reason.
    #[serde(default)]
    pub refusals: Vec<RefusalReport>,
    /// Where the process's memory is.
    #[serde(default)]
    pub memory: MemoryReport,
    /// Counters and logs.
    pub grid: GridStats,
    /// Seconds until the grid's memory is full, if it goes on growing as it does.
    #[serde(default)]
    pub full_in_s: Option<f64>,
    /// Seconds until the disk for older entries of logs is, likewise.
    #[serde(default)]
    pub disk_full_in_s: Option<f64>,
    /// How often the machine's clock was set by a second or more, since the gateway was started.
    #[serde(default)]
    pub clock_steps: u64,
    /// Copies of the counters by time.
    #[serde(default)]
    pub snapshots: SnapshotReport,
    /// What the peers hold too.
    pub history: HistoryReport,
    /// Files.
    pub bulk: BulkFigures,
    /// Folders that are watched.
    #[serde(default)]
    pub syncs: Vec<SyncReport>,
    /// TCP connections that are carried.
    #[serde(flatten)]
    pub forwards: ForwardsReport,
}

/// There is no such link.
#[derive(Debug, thiserror::Error)]
#[error("{site} is no peer of this site; its peers: {peers}")]
pub struct NoSuchPeer {
    site: String,
    peers: String,
}

impl Status {
    /// The link to a peer.
    pub fn link_to(&self, site: &str) -> Result<&LinkReport, NoSuchPeer> {
        let peers = || self.links.iter().map(|link| link.peer.as_str());
        let link = self.links.iter().find(|link| link.peer == site);
        link.ok_or_else(|| NoSuchPeer {
            site: site.to_owned(),
            peers: match self.links.is_empty() {
                true => "none".to_owned(),
                false => peers().collect::<Vec<_>>().join(", "),
            },
        })
    }
}

/// The gateway itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GatewayReport {
    /// Its site.
    pub site: String,
    /// Its public key.
    pub key: String,
    /// Which life of its site this is.
    pub incarnation: Incarnation,
    /// Release of strait.
    pub version: String,
    /// Seconds since it was started.
    pub uptime_s: f64,
    /// UDP address of links, as bound.
    pub link_address: String,
    /// TCP address of Redis clients, as bound.
    pub grid_address: String,
}

/// Those who dialed us and were turned away for one reason.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusalReport {
    /// `not_allowed`, `too_many`, `unknown_key`, `version` or `handshake`.
    pub reason: String,
    /// How many, since the gateway was started.
    pub connections: u64,
}

/// Copies of the counters by time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SnapshotReport {
    /// How many there are.
    pub kept: u64,
    /// Their bytes.
    pub bytes: u64,
    /// When the last one was begun: seconds since 1970.
    pub last_time_s: Option<f64>,
    /// Taken since the gateway was started.
    pub taken: u64,
    /// Attempts that failed.
    pub failed: u64,
}

/// The history: bytes that peers hold too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryReport {
    /// Content chunks in the index.
    pub chunks: u64,
    /// Memory taken by indexes, tables and hot bytes.
    pub memory_bytes: u64,
    /// Memory that the links' encoders keep beside that.
    #[serde(default)]
    pub codec_bytes: u64,
    /// What is set aside for indexes and, as nothing was written to it yet, not in memory.
    #[serde(default)]
    pub untouched_bytes: u64,
    /// Cap on the memory of indexes, tables and hot bytes.
    pub memory_bytes_max: u64,
    /// Disk taken by segments.
    pub disk_bytes: u64,
    /// Cap on the former.
    pub disk_bytes_max: u64,
    /// Records on disk that failed their check since the start.
    pub quarantined: u64,
    /// Histories in memory only, because their disk is full or failing.
    pub unwritable: u64,
}
