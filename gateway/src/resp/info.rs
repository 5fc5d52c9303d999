//! `INFO`.

use std::fmt::Write;

use super::client::ClientFigures;
use super::server::Shared;
use crate::grid::GridStats;

/// What `INFO` says beyond what the grid knows.
pub trait InfoSource: Send + Sync + 'static {
    /// Further lines of a section ("Replication", "CPU" …), as (name, value).
    fn lines(&self, section: &str) -> Vec<(String, String)>;
}

/// No lines.
#[derive(Clone, Copy, Debug)]
pub struct NoInfo;

impl InfoSource for NoInfo {
    fn lines(&self, _section: &str) -> Vec<(String, String)> {
        Vec::new()
    }
}

type Lines = Vec<(&'static str, String)>;

/// The sections that were asked for (all, if none), as Redis writes them, with the fields that
/// its exporters and tools read.
pub(super) fn render(server: &Shared, wanted: &[String]) -> String {
    let every = |word: &String| ["all", "default", "everything"].contains(&word.as_str());
    let all = wanted.is_empty() || wanted.iter().any(every);
    let stats = server.grid.stats();
    let clients = server.clients.shown();
    let sections: [(&str, Lines); 9] = [
        ("Server", server_lines(server)),
        ("Clients", client_lines(server, &clients)),
        ("Memory", memory_lines(&stats, &clients)),
        ("Persistence", persistence_lines(&stats)),
        ("Stats", stats_lines(&stats, &clients)),
        ("Replication", replication_lines(server)),
        ("CPU", Vec::new()),
        ("Cluster", vec![("cluster_enabled", "0".to_owned())]),
        ("Keyspace", keyspace_lines(&stats)),
    ];
    let mut text = String::new();
    for (name, lines) in sections {
        if !all && !wanted.iter().any(|word| word.eq_ignore_ascii_case(name)) {
            continue;
        }
        let gap = if text.is_empty() { "" } else { "\r\n" };
        // Writing to a string cannot fail.
        write!(text, "{gap}# {name}\r\n").unwrap_or_default();
        let own = lines.into_iter();
        let own = own.map(|(key, value)| (key.to_owned(), value));
        for (key, value) in own.chain(server.info.lines(name)) {
            write!(text, "{key}:{value}\r\n").unwrap_or_default();
        }
    }
    text
}

fn server_lines(server: &Shared) -> Lines {
    let uptime_s = server.since.elapsed().as_secs();
    let system = rustix::system::uname();
    let [name, release, machine] = [system.sysname(), system.release(), system.machine()]
        .map(|text| text.to_string_lossy().into_owned());
    vec![
        // Clients look at this to know which commands there are.
        ("redis_version", super::commands::REDIS_VERSION.to_owned()),
        ("redis_mode", "standalone".to_owned()),
        ("strait_version", env!("CARGO_PKG_VERSION").to_owned()),
        ("os", format!("{name} {release} {machine}")),
        ("arch_bits", usize::BITS.to_string()),
        ("process_id", std::process::id().to_string()),
        ("tcp_port", server.tcp().port().to_string()),
        ("uptime_in_seconds", uptime_s.to_string()),
        ("uptime_in_days", (uptime_s / 86_400).to_string()),
    ]
}

fn client_lines(server: &Shared, clients: &ClientFigures) -> Lines {
    vec![
        ("connected_clients", clients.connected.to_string()),
        ("maxclients", server.config.clients_max.to_string()),
        ("blocked_clients", clients.blocked.to_string()),
    ]
}

fn memory_lines(stats: &GridStats, clients: &ClientFigures) -> Lines {
    let used = stats.memory_bytes;
    vec![
        ("used_memory", used.to_string()),
        ("used_memory_human", human(used)),
        ("used_memory_dataset", used.to_string()),
        ("maxmemory", stats.memory_bytes_max.to_string()),
        ("maxmemory_human", human(stats.memory_bytes_max)),
        ("maxmemory_policy", "noeviction".to_owned()),
        ("mem_clients_normal", clients.unread_bytes.to_string()),
    ]
}

/// Bytes as Redis shows them to people.
fn human(bytes: u64) -> String {
    let (mut value, mut unit) = (bytes as f64, 'B');
    for larger in ['K', 'M', 'G', 'T'] {
        if value < 1024.0 {
            break;
        }
        (value, unit) = (value / 1024.0, larger);
    }
    match unit {
        'B' => format!("{bytes}B"),
        unit => format!("{value:.2}{unit}"),
    }
}

fn persistence_lines(stats: &GridStats) -> Lines {
    let failed = if stats.journal_failed { "err" } else { "ok" };
    vec![
        ("loading", "0".to_owned()),
        ("rdb_changes_since_last_save", stats.dirty.to_string()),
        ("rdb_bgsave_in_progress", "0".to_owned()),
        ("aof_enabled", "1".to_owned()),
        ("aof_rewrite_in_progress", "0".to_owned()),
        ("aof_last_write_status", failed.to_owned()),
        ("aof_current_size", stats.journal_bytes.to_string()),
        ("strait_epoch", stats.epoch.to_string()),
        ("strait_flushes", stats.flushes_total.to_string()),
        ("strait_flush_errors", stats.flush_errors_total.to_string()),
        (
            "strait_flush_seconds_last",
            format!("{:.6}", stats.flush_seconds_last),
        ),
        ("strait_dirty", stats.dirty.to_string()),
        ("strait_compactions", stats.compactions_total.to_string()),
    ]
}

fn stats_lines(stats: &GridStats, clients: &ClientFigures) -> Lines {
    vec![
        (
            "total_connections_received",
            clients.connections.to_string(),
        ),
        ("total_commands_processed", clients.commands.to_string()),
        ("rejected_connections", clients.turned_away.to_string()),
        ("expired_keys", stats.expired_total.to_string()),
        ("evicted_keys", "0".to_owned()),
        ("evicted_clients", clients.cut_off.to_string()),
        ("strait_writes", stats.writes_total.to_string()),
        (
            "strait_applied_records",
            stats.applied_records_total.to_string(),
        ),
        ("strait_applied_gaps", stats.applied_gaps_total.to_string()),
        (
            "strait_own_from_peers",
            stats.own_from_peers_total.to_string(),
        ),
    ]
}

/// Peers are masters too, so there are no replicas.
fn replication_lines(server: &Shared) -> Lines {
    vec![
        ("role", "master".to_owned()),
        ("connected_slaves", "0".to_owned()),
        ("strait_origin", server.grid.origin().to_string()),
    ]
}

fn keyspace_lines(stats: &GridStats) -> Lines {
    let keys = format!("keys={},expires={},avg_ttl=0", stats.keys, stats.expiring);
    let line = (stats.keys > 0).then_some(("db0", keys));
    line.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_shown_as_redis_does() {
        for (bytes, shown) in [
            (0, "0B"),
            (1023, "1023B"),
            (1024, "1.00K"),
            (1_058_106, "1.01M"),
        ] {
            assert_eq!(human(bytes), shown);
        }
    }
}
