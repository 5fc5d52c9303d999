//! Every key of `strait.toml`, read into its place.

use std::path::{Path, PathBuf};
use std::time::Duration;

use strait_transport::{PeerConfig, PublicKey, SiteName};
use toml::de::DeTable;

use super::checks::{self, PeerPlace, Places};
use super::errors::{Fault, Report};
use super::forwards;
use super::listeners;
use super::resolved::{
    BulkSettings, CompressionLevel, Config, GridSettings, HistorySettings, ListenSettings, LogRule,
    SnapshotSettings, TlsSettings, UNIX_MODE,
};
use super::secret;
use super::section::{Located, Section};
use super::syncs;
use super::users;
use super::values;
use super::windows;
use crate::bulk::FileRule;
use crate::forward::AllowRule;
use crate::grid::{LogLimits, SnapshotRules};
use crate::resp::{DurabilityRules, Endpoint, ReplyLimits};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const TIB: u64 = 1 << 40;

/// Links of one gateway. Each has threads and queues of its own.
const PEERS_MAX: usize = 64;

/// Reads `text`; `None` if something without a default is missing or wrong, which the
/// report then says.
pub(super) fn read(
    text: &str,
    base: &Path,
    own_key: Option<PublicKey>,
    report: &mut Report<'_>,
) -> Option<Config> {
    let (document, syntax_errors) = DeTable::parse_recoverable(text);
    for error in syntax_errors {
        let what = error.message().lines().collect::<Vec<_>>().join(", ");
        let remedy = "see https://toml.io for how a value or table is written";
        report.add_syntax(error.span().unwrap_or(0..0), Fault::new(what, remedy));
    }
    let mut top = Section::new("", document.get_ref(), 0..0);
    let remedy = "name this site in the first line, like site = \"east\"";
    let site = top.require(report, "site", remedy, values::site);
    let mut places = Places {
        own_site: site.clone(),
        own_key,
        ..Places::default()
    };
    let listen = read_listen(top.table(report, "listen"), base, report, &mut places);
    let grid = read_grid(top.table(report, "grid"), base, report);
    let sections = top.tables(report, "log");
    let logs = sections.into_iter().filter_map(|s| read_log(s, report));
    let logs: Vec<_> = logs.collect();
    let snapshots = read_snapshots(top.table(report, "snapshots"), report);
    let history = read_history(top.table(report, "history"), report, &mut places);
    let bulk = read_bulk(top.table(report, "bulk"), base, report);
    let sections = top.tables(report, "file");
    let files = sections.into_iter().filter_map(|s| read_file(s, report));
    let files: Vec<_> = files.collect();
    let sections = top.tables(report, "sync");
    let syncs = syncs::read(sections, base, report, &mut places);
    let allow = read_forwarding(top.table(report, "forwarding"), report);
    let sections = top.tables(report, "forward");
    let forwards = forwards::read(sections, report, &mut places);
    let windows = windows::read(top.tables(report, "window"), report);
    let compression = read_compression(top.table(report, "compression"), report);
    let sections = top.tables(report, "peer");
    let peers = read_peers(sections, report, &mut places);
    top.finish(report);
    checks::listen(&listen, &grid, &places, report);
    checks::peers(&places, report);
    checks::history(&history, peers.len(), &places, report);
    checks::forwards(&places, report);
    checks::syncs(&places, report);
    Some(Config {
        site: site?.value,
        listen,
        grid,
        logs,
        snapshots,
        history,
        bulk,
        files,
        syncs,
        allow,
        forwards,
        windows,
        compression,
        peers,
    })
}

fn read_listen(
    mut section: Section<'_, '_>,
    base: &Path,
    report: &mut Report<'_>,
    places: &mut Places,
) -> ListenSettings {
    let mut listen = ListenSettings::default();
    if let Some(link) = section.get(report, "link", values::socket_address) {
        listen.link = link.value;
    }
    listen.link_from = section.get_or(report, "link_from", Vec::new(), values::networks);
    listen.gso = section.get_or(report, "gso", true, values::boolean);
    let mode = section.get_or(report, "unix_mode", UNIX_MODE, listeners::mode);
    let grid = listeners::endpoints(base, mode);
    if let Some(Located { value, span }) = section.get(report, "grid", grid) {
        listen.grid = value;
        places.grid = span;
    }
    if let Some(Located { value, span }) = section.get(report, "http", values::socket_address) {
        listen.http = value;
        places.http = span;
    }
    listen.http_allow_remote = section.get_or(report, "http_allow_remote", false, values::boolean);
    listen.advertise = section.get_or(report, "advertise", Vec::new(), values::addresses);
    section.finish(report);
    let grid = listen.grid.iter().filter_map(Endpoint::address);
    places.listeners = grid.chain([listen.http]).collect();
    listen
}

fn read_grid(mut section: Section<'_, '_>, base: &Path, report: &mut Report<'_>) -> GridSettings {
    let default = GridSettings::default();
    let flush_ms = section.get(report, "flush_ms", values::integer(1..=10_000));
    let loss_window_ms = section.get(report, "loss_window_ms", values::integer(100..=60_000));
    let compare_min = section.get(report, "compare_min", values::integer(0..=10_080));
    let scrub_hours = section.get(report, "scrub_hours", values::integer(0..=8760));
    let clients_max = section.get(report, "clients_max", values::integer(1..=100_000));
    let block_s = section.get(report, "block_s", values::integer(1..=3600));
    let place = section.span();
    let users = section.tables_named(report, "user", "grid.user");
    let users = users::read(users, base, report);
    let grid = GridSettings {
        users: users.into_iter().map(|user| user.value).collect(),
        flush: flush_ms.map_or(default.flush, |ms| Duration::from_millis(ms.value)),
        loss_window: loss_window_ms
            .map_or(default.loss_window, |ms| Duration::from_millis(ms.value)),
        memory_bytes_max: section.get_or(
            report,
            "memory_bytes_max",
            default.memory_bytes_max,
            values::size(MIB..=TIB),
        ),
        password: section
            .get(report, "password", secret::secret(base))
            .map(|password| password.value),
        tls: read_tls(section.table_named(report, "tls", "grid.tls"), base, report),
        clients_max: clients_max
            .and_then(|clients| usize::try_from(clients.value).ok())
            .unwrap_or(default.clients_max),
        limits: read_limits(&mut section, report),
        durability: DurabilityRules {
            otherwise: section.get_or(
                report,
                "durability",
                default.durability.otherwise,
                values::durability,
            ),
            patterns: section.get_or(
                report,
                "durability_of",
                default.durability.patterns,
                values::durability_of,
            ),
        },
        compare_every: compare_min.map_or(default.compare_every, |minutes| {
            (minutes.value > 0).then(|| Duration::from_secs(60 * minutes.value))
        }),
        scrub_every: scrub_hours.map_or(default.scrub_every, |hours| {
            (hours.value > 0).then(|| Duration::from_secs(3600 * hours.value))
        }),
        on_full: section.get_or(report, "on_full", default.on_full, values::on_full),
        block: block_s.map_or(default.block, |block| Duration::from_secs(block.value)),
        logs_memory_bytes_max: section.get_or(
            report,
            "logs_memory_bytes_max",
            default.logs_memory_bytes_max,
            values::size(MIB..=TIB),
        ),
        logs_disk_bytes_max: section.get_or(
            report,
            "logs_disk_bytes_max",
            default.logs_disk_bytes_max,
            values::size(MIB..=1024 * TIB),
        ),
        relay: section.get_or(report, "relay", default.relay, values::boolean),
    };
    section.finish(report);
    users::check_default(&grid, place, report);
    grid
}

fn read_tls(
    mut section: Section<'_, '_>,
    base: &Path,
    report: &mut Report<'_>,
) -> Option<TlsSettings> {
    let path = |section: &mut Section<'_, '_>, report: &mut Report<'_>, key| {
        let path = section.get(report, key, values::path);
        path.map(|path| base.join(path.value))
    };
    let cert = path(&mut section, report, "cert");
    let key = path(&mut section, report, "key");
    let client_ca = path(&mut section, report, "client_ca");
    let is_there = section.is_there();
    let span = section.span();
    section.finish(report);
    if is_there && (cert.is_none() || key.is_none()) {
        let remedy = "name PEM files, like cert = \"redis.pem\" and key = \"redis.key\"";
        let fault = Fault::new("grid.tls needs both cert and key", remedy);
        report.add_structure(span, fault);
    }
    Some(TlsSettings {
        cert: cert?,
        key: key?,
        client_ca,
    })
}

fn read_limits(section: &mut Section<'_, '_>, report: &mut Report<'_>) -> ReplyLimits {
    let default = ReplyLimits::default();
    let mut bytes = |key, otherwise: usize| {
        let bytes = section.get(report, key, values::size(MIB..=TIB));
        bytes
            .and_then(|bytes| usize::try_from(bytes.value).ok())
            .unwrap_or(otherwise)
    };
    ReplyLimits {
        reply_bytes_max: bytes("reply_bytes_max", default.reply_bytes_max),
        unread_bytes_max: bytes("unread_bytes_max", default.unread_bytes_max),
    }
}

fn read_log(mut section: Section<'_, '_>, report: &mut Report<'_>) -> Option<LogRule> {
    let remedy = "say which logs, like pattern = \"clicks*\"";
    let pattern = section.require(report, "pattern", remedy, values::pattern);
    let hours = section.get(report, "keep_hours", values::integer(1..=87_600));
    let bytes = section.get(report, "keep_bytes", values::size(KIB..=TIB));
    let entries = section.get(report, "keep_entries", values::integer(0..=1 << 48));
    section.finish(report);
    Some(LogRule {
        pattern: pattern?.value,
        limits: LogLimits {
            age: hours.map(|hours| Duration::from_secs(3600 * hours.value)),
            bytes: bytes.map(|bytes| bytes.value),
            entries: entries.map(|entries| entries.value),
        },
    })
}

fn read_snapshots(mut section: Section<'_, '_>, report: &mut Report<'_>) -> SnapshotSettings {
    let default = SnapshotSettings::default();
    let minutes = section.get(report, "every_min", values::integer(0..=10_080));
    let newest = section.get(report, "keep", values::integer(1..=10_000));
    let days = section.get_or(
        report,
        "keep_days",
        default.keep.days,
        values::integer(0..=3660),
    );
    let every = minutes.map(|minutes| Duration::from_secs(60 * minutes.value));
    let snapshots = SnapshotSettings {
        every: every.map_or(default.every, |every| Some(every).filter(|e| !e.is_zero())),
        keep: SnapshotRules {
            newest: newest.map_or(default.keep.newest, |newest| newest.value as usize),
            days,
        },
    };
    section.finish(report);
    snapshots
}

fn read_history(
    mut section: Section<'_, '_>,
    report: &mut Report<'_>,
    places: &mut Places,
) -> HistorySettings {
    let mut history = HistorySettings::default();
    let memory = values::size(checks::HISTORY_MEMORY_BYTES_MIN..=TIB);
    if let Some(memory) = section.get(report, "memory_bytes_max", memory) {
        history.memory_bytes_max = memory.value;
        places.history_memory = memory.span;
    }
    let disk = values::size(checks::HISTORY_DISK_BYTES_MIN..=1024 * TIB);
    if let Some(disk) = section.get(report, "disk_bytes_max", disk) {
        history.disk_bytes_max = disk.value;
        places.history_disk = disk.span;
    }
    section.finish(report);
    history
}

fn read_bulk(mut section: Section<'_, '_>, base: &Path, report: &mut Report<'_>) -> BulkSettings {
    let dir = section.get(report, "dir", values::path);
    let place = dir.as_ref().map_or(0..0, |dir| dir.span.clone());
    let dir = base.join(dir.map_or(PathBuf::from("bulk"), |dir| PathBuf::from(dir.value)));
    checks::bulk_dir(&dir, base, place, report);
    let default = BulkSettings::at(dir);
    let sizes = |least| values::size(least..=1024 * TIB);
    let bytes_max = section.get_or(report, "bytes_max", default.bytes_max, sizes(KIB));
    let free = default.free_bytes_min;
    let free_bytes_min = section.get_or(report, "free_bytes_min", free, sizes(0));
    let shared = section.get(report, "shared", values::boolean);
    let group = section.get(report, "group", values::group);
    section.finish(report);
    BulkSettings {
        bytes_max,
        free_bytes_min,
        shared: shared.map(|shared| shared.value),
        group: group.map(|group| group.value),
        ..default
    }
}

fn read_file(mut section: Section<'_, '_>, report: &mut Report<'_>) -> Option<FileRule> {
    let remedy = "say which files, like pattern = \"dumps/*\"";
    let pattern = section.require(report, "pattern", remedy, values::pattern);
    let newest = section.get(report, "keep_newest", values::integer(1..=1_000_000));
    let days = section.get(report, "keep_days", values::integer(1..=3660));
    if newest.is_none() && days.is_none() {
        let what = "nothing of these files would be kept";
        let remedy = "say how many stay, like keep_newest = 10, or how long, like keep_days = 30";
        report.add_structure(section.span(), Fault::new(what, remedy));
    }
    section.finish(report);
    Some(FileRule {
        pattern: pattern?.value,
        newest: newest.and_then(|newest| usize::try_from(newest.value).ok()),
        age: days.map(|days| Duration::from_secs(86_400 * days.value)),
    })
}

fn read_forwarding(mut section: Section<'_, '_>, report: &mut Report<'_>) -> Vec<AllowRule> {
    let allow = section.get_or(report, "allow", Vec::new(), values::allow);
    section.finish(report);
    allow
}

fn read_compression(mut section: Section<'_, '_>, report: &mut Report<'_>) -> CompressionLevel {
    let default = CompressionLevel::default();
    let level = section.get_or(report, "level", default, values::compression);
    section.finish(report);
    level
}

fn read_peers(
    sections: Vec<Section<'_, '_>>,
    report: &mut Report<'_>,
    places: &mut Places,
) -> Vec<PeerConfig> {
    if let Some(section) = sections.get(PEERS_MAX) {
        let what = format!("{} peers are too many", sections.len());
        report.add(
            section.span(),
            Fault::new(what, format!("keep at most {PEERS_MAX}")),
        );
    }
    let read = |section| read_peer(section, report, places);
    sections
        .into_iter()
        .take(PEERS_MAX)
        .filter_map(read)
        .collect()
}

fn read_peer(
    mut section: Section<'_, '_>,
    report: &mut Report<'_>,
    places: &mut Places,
) -> Option<PeerConfig> {
    let remedy = "add the peer with `strait pair TOKEN`, which writes the whole section";
    let site: Option<Located<SiteName>> = section.require(report, "site", remedy, values::site);
    let key = section.require(report, "key", remedy, values::public_key);
    let next_key = section.get(report, "next_key", values::public_key);
    let addresses = section.get_or(report, "addresses", Vec::new(), values::addresses);
    let rate = section.get(report, "rate", values::rate);
    let congestion = section
        .get(report, "congestion", values::congestion)
        .map(|congestion| congestion.value)
        .unwrap_or_default();
    let transport = section.get_or(report, "transport", None, values::transport);
    let stall_s = section.get(report, "stall_s", values::integer(1..=3600));
    section.finish(report);
    let (site, key) = (site?, key?);
    places.peers.push(PeerPlace {
        site: site.clone(),
        keys: [key.clone()].into_iter().chain(next_key.clone()).collect(),
    });
    let default = PeerConfig::new(site.value, key.value);
    Some(PeerConfig {
        next_key: next_key.map(|key| key.value),
        transport,
        addresses,
        rate_bits_s: rate.map(|rate| rate.value),
        congestion,
        stalls_after: stall_s.map_or(default.stalls_after, |s| Duration::from_secs(s.value)),
        ..default
    })
}
