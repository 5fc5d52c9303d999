//! The `strait.toml` that `strait init` writes.

use std::net::SocketAddr;
use std::path::PathBuf;

use strait_transport::SiteName;

use super::quantity::ByteSize;
use super::resolved::{BulkSettings, GRID_ADDRESS, GridSettings, HistorySettings, ListenSettings};

/// What differs from site to site in a new configuration.
#[derive(Clone, Debug)]
pub struct Template {
    /// The site.
    pub site: SiteName,
    /// `listen.link`.
    pub link: SocketAddr,
    /// `listen.grid`.
    pub grid: SocketAddr,
    /// `listen.http`.
    pub http: SocketAddr,
    /// `listen.advertise`.
    pub advertise: Vec<String>,
}

impl Template {
    /// A configuration in which all but the site's name is the default.
    pub fn new(site: SiteName) -> Self {
        let ListenSettings {
            link,
            link_from: _,
            gso: _,
            grid: _,
            http,
            http_allow_remote: _,
            advertise,
        } = ListenSettings::default();
        Self {
            site,
            link,
            grid: GRID_ADDRESS,
            http,
            advertise,
        }
    }

    /// The commented file. Every key is there; one that has no default is commented out.
    pub fn render(&self) -> String {
        let grid = GridSettings::default();
        let history = HistorySettings::default();
        let bulk = BulkSettings::at(PathBuf::new());
        TEXT.replace("{site}", self.site.as_ref())
            .replace("{link}", &self.link.to_string())
            .replace("{grid}", &self.grid.to_string())
            .replace("{http}", &self.http.to_string())
            .replace("{advertise}", &list(&self.advertise))
            .replace("{flush_ms}", &grid.flush.as_millis().to_string())
            .replace(
                "{loss_window_ms}",
                &grid.loss_window.as_millis().to_string(),
            )
            .replace(
                "{grid_memory}",
                &ByteSize(grid.memory_bytes_max).to_string(),
            )
            .replace("{clients_max}", &grid.clients_max.to_string())
            .replace(
                "{reply_bytes}",
                &ByteSize(grid.limits.reply_bytes_max as u64).to_string(),
            )
            .replace(
                "{unread_bytes}",
                &ByteSize(grid.limits.unread_bytes_max as u64).to_string(),
            )
            .replace("{block_s}", &grid.block.as_secs().to_string())
            .replace(
                "{logs_memory}",
                &ByteSize(grid.logs_memory_bytes_max).to_string(),
            )
            .replace(
                "{logs_disk}",
                &ByteSize(grid.logs_disk_bytes_max).to_string(),
            )
            .replace(
                "{history_memory}",
                &ByteSize(history.memory_bytes_max).to_string(),
            )
            .replace(
                "{history_disk}",
                &ByteSize(history.disk_bytes_max).to_string(),
            )
            .replace("{bulk_bytes}", &ByteSize(bulk.bytes_max).to_string())
            .replace("{bulk_free}", &ByteSize(bulk.free_bytes_min).to_string())
    }
}

/// Addresses have passed `check_address`: no quote or backslash is in them.
fn list(addresses: &[String]) -> String {
    let quoted: Vec<_> = addresses.iter().map(|a| format!("\"{a}\"")).collect();
    format!("[{}]", quoted.join(", "))
}

const TEXT: &str = r#"# strait: the gateway of one site. `strait check-config` checks this file,
# docs/OPERATING.md explains it. A change takes effect when the gateway is
# restarted; what is said of known peers, at `strait reload`.

# This site's name. It is part of every record that is made here: choose it for good.
site = "{site}"

[listen]
# UDP and TCP: links to other gateways. Open this port in the firewall.
link = "{link}"
# From where peers dial; others get no answer. Empty: anywhere.
link_from = []
# Gives the system many datagrams at once. false: for a network driver that gets it wrong.
gso = true
# TCP: Redis clients. Beyond loopback it needs a password, see [grid]. Several: a list, also of unix
# sockets and behind TLS, like ["127.0.0.1:6390", "unix:redis.sock", "tls:0.0.0.0:6391"].
grid = "{grid}"
# Permissions of unix sockets.
unix_mode = "0770"
# TCP: /metrics, /status, /livez and /readyz, without password.
http = "{http}"
# Lets http listen beyond loopback.
http_allow_remote = false
# Where peers reach `link` from outside, as "host:port"; `strait pair` prints it.
advertise = {advertise}

[grid]
# Time between two flushes to disk and to the peers, in ms. A crash loses at most this
# much, and the time of one fsync, of what was confirmed from memory.
flush_ms = {flush_ms}
# However slow the disk is: writes in memory wait for it while it is further behind than this, in ms.
loss_window_ms = {loss_window_ms}
# Memory for counters and logs; writes beyond it are refused with an error. Logs take at most three
# quarters of it: however long they grow, counters go on.
memory_bytes_max = "{grid_memory}"
# Connections of Redis clients at a time.
clients_max = {clients_max}
# The longest reply to one command, a longer one is an error; and replies that clients have not read
# yet, all together: beyond it those who have kept most for longest are cut off.
reply_bytes_max = "{reply_bytes}"
unread_bytes_max = "{unread_bytes}"
# When writes are confirmed: "memory", "disk" (fsynced here first) or "remote" (at a peer too).
durability = "memory"
# The same for keys by pattern; the first that matches counts.
durability_of = []
# When memory is full: "refuse" writes, let them wait ("block"), or "shed" trimmed entries that an
# absent peer lacks. "spill": older entries of logs go to the disk before; then as "block".
on_full = "refuse"
# How long a write waits with "block" and "spill" before it is refused, in s.
block_s = {block_s}
# With "spill": memory that entries of logs take before the older ones go to the disk, never more
# than half of memory_bytes_max; and how much disk they may take.
logs_memory_bytes_max = "{logs_memory}"
logs_disk_bytes_max = "{logs_disk}"
# Pass on to one peer what another wrote, where those two have no link that is up.
relay = true
# Minutes between two comparisons of what both sites hold, with each peer. 0: only on demand.
compare_min = 60
# Hours in which all that logs have on disk is read once, to find what rots there. 0: never.
scrub_hours = 168
# What Redis clients must send with AUTH. Elsewhere: { file = "path" } or { env = "VARIABLE" }.
# password = "..."

# For listeners behind TLS: PEM files, relative to this one.
#
# [grid.tls]
# cert = "redis.pem"                  # its chain, the gateway's own certificate first
# key = "redis.key"
# client_ca = "clients.pem"           # clients need a certificate signed by one of these

# Users with rights of their own, beside the user default who has all. Rules as for ACL SETUSER of Redis.
#
# [[grid.user]]
# name = "reports"
# password = { file = "reports.password" }     # or "...", or { env = "VARIABLE" }
# password_sha256 = "..."                    # what sha256sum prints; instead of it, or beside it
# rules = "on ~stats:* +@read"

# What stays of this site's logs, by pattern of their names; the first that matches counts.
#
# [[log]]
# pattern = "clicks*"
# keep_hours = 168
# keep_bytes = "4GiB"
# keep_entries = 100000000

[snapshots]
# Copies of the counters by time, for `strait export --at`. 0: none.
every_min = 60
# The newest so many stay, and the last of each of so many days before today.
keep = 24
keep_days = 7

[history]
# Bytes that peers hold too, so that they need not be sent again.
memory_bytes_max = "{history_memory}"
disk_bytes_max = "{history_disk}"

[bulk]
# Where pushed files are put; relative to this file.
dir = "bulk"
# Most that is stored in it, 4 KiB more for each file and folder; and how much of its disk stays free
# (of a small disk a tenth).
bytes_max = "{bulk_bytes}"
free_bytes_min = "{bulk_free}"
# All peers read and write the same files. false: each has the folder of its name, and no other.
# Without this key: false, and true in a directory that release 0.1.0 made.
# shared = true
# Whose members may push and pull through this gateway, beside its own user.
# group = "postgres"

# What stays of received files, by pattern of their paths in bulk.dir; the first that matches
# counts. A file stays if it is among the newest of its folder or young enough.
#
# [[file]]
# pattern = "dumps/*"
# keep_newest = 10
# keep_days = 30

[compression]
# "adaptive": as hard as the link leaves time for. Or a fixed level of zstd, 1 to 19.
level = "adaptive"

# Folders that are watched: what appears in them is shipped once it stops changing.
#
# [[sync]]
# dir = "/var/lib/dumps"
# to = "west:dumps"                   # the folder that it becomes there
# settle_s = 5                        # unchanged for so long: whole
# remove = false                      # true: removed here once it is safe there

# Hours, in UTC, in which a class may use less of each link; the first that matches counts.
#
# [[window]]
# from = "08:00"
# to = "18:00"                        # before `from`: on the next day
# days = ["mon", "tue", "wed", "thu", "fri"]   # on which it begins; without: on all
# class = "bulk"                      # or "interactive"
# rate = "20Mbit/s"                   # or "closed": nothing of it goes

[forwarding]
# What peers may have this gateway connect to for their forwards: a list like
#   "127.0.0.1:5432", "db.internal:*", "10.0.0.0/8:443"
allow = []

# TCP ports here whose connections end behind a peer. `target` must be in its allow.
#
# [[forward]]
# listen = "127.0.0.1:5433"
# peer = "west"
# target = "127.0.0.1:5432"           # resolved at the peer
# transparent = false                 # true, without target: what TPROXY brings here
# class = "auto"                      # or "interactive", "bulk"
# bypass = "refuse"                   # or "direct", when the peer is away
# patience_s = 15                     # until then, and until open flows are reset
# proxy_protocol = false              # true: tells the target the client's address

# Peers. `strait pair TOKEN` adds one at the end of this file.
#
# [[peer]]
# site = "west"
# key = "..."                         # as `strait pair` prints it there
# addresses = ["west.example:7440"]   # without any, only the peer dials
# rate = "100Mbit/s"                  # of the link, if known: keeps queues out of routers
# congestion = "strait"               # or "cubic", which yields to TCP
# transport = "auto"                  # QUIC, and TCP where UDP is blocked; or "quic", "tcp"
# stall_s = 60                        # acknowledges nothing for so long: a warning
# next_key = "..."                    # pinned too, while the peer goes over to it
"#;
