//! A configuration in which every value has its type, its default and its bounds.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use strait_transport::{Class, PeerConfig, SiteName};

use super::secret::Secret;
use super::weekdays::Weekdays;
use crate::bulk::FileRule;
use crate::bulk::sync::SyncSettings;
use crate::forward::{AllowRule, ForwardSettings};
use crate::grid::{LogLimits, SnapshotRules};
use crate::resp::{DurabilityRules, Endpoint, ReplyLimits, User};

/// How a gateway runs: `strait.toml`, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Our own site.
    pub site: SiteName,
    /// Where we listen.
    pub listen: ListenSettings,
    /// Counters and logs.
    pub grid: GridSettings,
    /// What stays of this site's logs: the first that matches a log counts.
    pub logs: Vec<LogRule>,
    /// Copies of the counters by time.
    pub snapshots: SnapshotSettings,
    /// What both ends of a link hold.
    pub history: HistorySettings,
    /// Files.
    pub bulk: BulkSettings,
    /// What stays of them: the first that matches a file counts.
    pub files: Vec<FileRule>,
    /// Folders whose files go to a peer.
    pub syncs: Vec<SyncSettings>,
    /// What peers may have this gateway connect to: `forwarding.allow`.
    pub allow: Vec<AllowRule>,
    /// Listeners whose connections go to a peer.
    pub forwards: Vec<ForwardSettings>,
    /// When a class may use less of each link: the first that matches counts.
    pub windows: Vec<Window>,
    /// How hard literals are compressed.
    pub compression: CompressionLevel,
    /// Who we have a link to; sites and keys are all different.
    pub peers: Vec<PeerConfig>,
}

/// `listen.grid` where nothing is said.
pub(super) const GRID_ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 6390);
/// `listen.unix_mode` where nothing is said.
pub(super) const UNIX_MODE: u32 = 0o770;

/// Where the gateway listens, and how peers reach it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenSettings {
    /// UDP and TCP: links to other gateways.
    pub link: SocketAddr,
    /// Where peers may dial from. Empty: anywhere.
    pub link_from: Vec<IpNet>,
    /// The system may be given many datagrams at once.
    pub gso: bool,
    /// Clients of the grid; one or more, all different.
    pub grid: Vec<Endpoint>,
    /// TCP: metrics and status. On loopback unless `http_allow_remote`.
    pub http: SocketAddr,
    /// HTTP may listen beyond loopback.
    pub http_allow_remote: bool,
    /// `host:port` at which peers reach `link`: printed by `strait pair`, used for
    /// nothing else.
    pub advertise: Vec<String>,
}

/// Counters and logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GridSettings {
    /// Time between two flushes: 1 ms to 10 s.
    pub flush: Duration,
    /// The longest that a write may be confirmed from memory and not on disk, however slow that is:
    /// 100 ms to 1 min.
    pub loss_window: Duration,
    /// Most memory for counters and logs; writes beyond it are refused.
    pub memory_bytes_max: u64,
    /// What clients must send with AUTH or HELLO, if anything.
    pub password: Option<Secret>,
    /// Who else may come in, and as what.
    pub users: Vec<UserSettings>,
    /// What listeners behind TLS show, and ask for.
    pub tls: Option<TlsSettings>,
    /// Most connections at a time.
    pub clients_max: usize,
    /// What replies to clients may take.
    pub limits: ReplyLimits,
    /// When clients' writes are confirmed.
    pub durability: DurabilityRules,
    /// Pass on to one peer what another wrote, where they have no link of their own.
    pub relay: bool,
    /// Time between two comparisons with each peer: 1 min to 1 week; none: only on demand.
    pub compare_every: Option<Duration>,
    /// Time in which every block of a log on disk is read once: 1 h to 1 year; none: never.
    pub scrub_every: Option<Duration>,
    /// What gives way when memory is full.
    pub on_full: OnFull,
    /// How long a write waits for room with [`OnFull::Block`] and [`OnFull::Spill`]: 1 s to 1 h.
    pub block: Duration,
    /// With [`OnFull::Spill`], most memory for entries of logs; the older ones go to the disk.
    pub logs_memory_bytes_max: u64,
    /// With [`OnFull::Spill`], most disk for those.
    pub logs_disk_bytes_max: u64,
}

/// A user of the grid: `[[grid.user]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserSettings {
    /// With its rights, and the passwords that stand in them.
    pub user: User,
    /// One more password.
    pub password: Option<Secret>,
    /// The section itself holds a password, or the hash of one.
    pub holds_secret: bool,
}

/// PEM files for TLS with clients. Absolute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSettings {
    /// The gateway's own certificate, and those that sign it.
    pub cert: PathBuf,
    pub key: PathBuf,
    /// Who signs certificates of clients, which then need one.
    pub client_ca: Option<PathBuf>,
}

/// What gives way when memory is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFull {
    /// Writes are refused until there is room.
    #[default]
    Refuse,
    /// Writes wait until there is room, and are refused when that takes too long.
    Block,
    /// Before it is, older entries of logs go to the disk. When that is full too, as `Block`.
    Spill,
    /// Trimmed entries go that are kept for a peer which is away; then writes are refused.
    Shed,
}

/// What stays of the logs whose names match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRule {
    /// A glob pattern, as those of `SCAN MATCH`.
    pub pattern: String,
    pub limits: LogLimits,
}

/// Copies of the counters by time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotSettings {
    /// Time between two: 1 min to 1 week; none: no snapshots.
    pub every: Option<Duration>,
    /// How many stay.
    pub keep: SnapshotRules,
}

/// The history: bytes that the peers hold too, and that batches refer to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistorySettings {
    /// Most memory for its index and its hot bytes.
    pub memory_bytes_max: u64,
    /// Most disk for its segments.
    pub disk_bytes_max: u64,
}

/// Files that come in from other sites.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BulkSettings {
    /// The directory that all their paths are confined to. Absolute.
    pub dir: PathBuf,
    /// Most that is stored in it; a push beyond it is refused.
    pub bytes_max: u64,
    /// Pushes leave so many bytes of its disk free.
    pub free_bytes_min: u64,
    /// Whether all peers read and write the same files. If it is not said, only those of a
    /// directory that release 0.1.0 made.
    pub shared: Option<bool>,
    /// Whose members may use `push`, `pull` and the like, beside the gateway's own user.
    pub group: Option<u32>,
}

/// Hours, in UTC, in which a class may use less of each link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Since midnight; up to a day.
    pub from: Duration,
    /// The same. Not after `from`: on the next day.
    pub to: Duration,
    /// Those on which it begins.
    pub days: Weekdays,
    /// Bulk or interactive.
    pub class: Class,
    /// Bits a second on each link; 0: nothing goes.
    pub bits_s: u64,
}

/// How hard literals are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CompressionLevel {
    /// As hard as the link leaves time for.
    #[default]
    Adaptive,
    /// Always this level of zstd, 1 to 19.
    Fixed(i32),
}

impl Config {
    /// Whether the file itself holds a password, or the hash of one.
    pub fn holds_password(&self) -> bool {
        let users = &self.grid.users;
        matches!(self.grid.password, Some(Secret::Text(_)))
            || users.iter().any(|user| user.holds_secret)
    }

    /// The configuration of a site whose file says nothing but its name. `bulk_dir`
    /// takes the place of `bulk` beside the file.
    pub fn new(site: SiteName, bulk_dir: PathBuf) -> Self {
        Self {
            site,
            listen: ListenSettings::default(),
            grid: GridSettings::default(),
            logs: Vec::new(),
            snapshots: SnapshotSettings::default(),
            history: HistorySettings::default(),
            bulk: BulkSettings::at(bulk_dir),
            files: Vec::new(),
            syncs: Vec::new(),
            allow: Vec::new(),
            forwards: Vec::new(),
            windows: Vec::new(),
            compression: CompressionLevel::default(),
            peers: Vec::new(),
        }
    }
}

impl BulkSettings {
    /// The defaults, for files in `dir`.
    pub fn at(dir: PathBuf) -> Self {
        Self {
            dir,
            bytes_max: 1 << 40,
            free_bytes_min: 1 << 30,
            shared: None,
            group: None,
        }
    }
}

impl Default for ListenSettings {
    fn default() -> Self {
        Self {
            link: SocketAddr::from(([0, 0, 0, 0], 7440)),
            link_from: Vec::new(),
            gso: true,
            grid: vec![Endpoint::Tcp(GRID_ADDRESS)],
            http: SocketAddr::from(([127, 0, 0, 1], 7441)),
            http_allow_remote: false,
            advertise: Vec::new(),
        }
    }
}

impl Default for GridSettings {
    fn default() -> Self {
        Self {
            flush: Duration::from_millis(50),
            loss_window: Duration::from_secs(1),
            memory_bytes_max: 1 << 30,
            password: None,
            users: Vec::new(),
            tls: None,
            clients_max: 1000,
            limits: ReplyLimits::default(),
            durability: DurabilityRules::default(),
            relay: true,
            compare_every: Some(Duration::from_secs(3600)),
            scrub_every: Some(Duration::from_secs(7 * 24 * 3600)),
            on_full: OnFull::default(),
            block: Duration::from_secs(10),
            logs_memory_bytes_max: 512 << 20,
            logs_disk_bytes_max: 64 << 30,
        }
    }
}

impl Default for SnapshotSettings {
    fn default() -> Self {
        Self {
            every: Some(Duration::from_secs(3600)),
            keep: SnapshotRules {
                newest: 24,
                days: 7,
            },
        }
    }
}

impl Default for HistorySettings {
    fn default() -> Self {
        Self {
            memory_bytes_max: 256 << 20,
            disk_bytes_max: 4 << 30,
        }
    }
}
