//! `INFO`.

use std::fmt::Write;

use super::client::ClientFigures;
use super::server::Shared;

/// What `INFO` says beyond what the grid knows.
pub trait InfoSource: Send + Sync + 'static {
    /// Lines of the section "Replication", as (name, value).
    fn replication(&self) -> Vec<(String, String)>;
}

/// No lines.
#[derive(Clone, Copy, Debug)]
pub struct NoInfo;

impl InfoSource for NoInfo {
    fn replication(&self) -> Vec<(String, String)> {
        Vec::new()
    }
}

type Lines = Vec<(&'static str, String)>;

/// The sections that were asked for (all, if none), as Redis writes them.
pub(super) fn render(server: &Shared, wanted: &[String]) -> String {
    let every = |word: &String| ["all", "default", "everything"].contains(&word.as_str());
    let all = wanted.is_empty() || wanted.iter().any(every);
    let stats = server.grid.stats();
    let clients = server.clients.shown();
    let sections: [(&str, Lines); 6] = [
        ("Server", server_lines(server)),
        ("Clients", client_lines(server, &clients)),
        (
            "Memory",
            vec![
                ("used_memory", stats.memory_bytes.to_string()),
                ("maxmemory", stats.memory_bytes_max.to_string()),
            ],
        ),
        ("Persistence", persistence_lines(&stats)),
        ("Stats", stats_lines(&stats, &clients)),
        (
            "Replication",
            vec![
                ("role", "master".to_owned()),
                ("strait_origin", server.grid.origin().to_string()),
            ],
        ),
    ];
    let mut text = String::new();
    let mut section = |name: &str, lines: &mut dyn Iterator<Item = (String, String)>| {
        if !all && !wanted.iter().any(|word| word.eq_ignore_ascii_case(name)) {
            return;
        }
        let gap = if text.is_empty() { "" } else { "\r\n" };
        // Writing to a string cannot fail.
        write!(text, "{gap}# {name}\r\n").unwrap_or_default();
        for (key, value) in lines {
            write!(text, "{key}:{value}\r\n").unwrap_or_default();
        }
    };
    for (name, lines) in sections {
        let more = if name == "Replication" {
            server.info.replication()
        } else {
            Vec::new()
        };
        let own = lines
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value));
        section(name, &mut own.chain(more));
    }
    let keys = format!("keys={},expires={},avg_ttl=0", stats.keys, stats.expiring);
    let keyspace = (stats.keys > 0).then(|| ("db0".to_owned(), keys));
    section("Keyspace", &mut keyspace.into_iter());
    text
}

fn server_lines(server: &Shared) -> Lines {
    vec![
        // Clients look at this to know which commands there are.
        ("redis_version", super::commands::REDIS_VERSION.to_owned()),
        ("redis_mode", "standalone".to_owned()),
        ("strait_version", env!("CARGO_PKG_VERSION").to_owned()),
        ("process_id", std::process::id().to_string()),
        ("tcp_port", server.local_addr.port().to_string()),
        (
            "uptime_in_seconds",
            server.since.elapsed().as_secs().to_string(),
        ),
    ]
}

fn client_lines(server: &Shared, clients: &ClientFigures) -> Lines {
    vec![
        ("connected_clients", clients.connected.to_string()),
        ("maxclients", server.config.clients_max.to_string()),
        ("blocked_clients", clients.blocked.to_string()),
    ]
}

fn persistence_lines(stats: &crate::grid::GridStats) -> Lines {
    let failed = if stats.journal_failed { "err" } else { "ok" };
    vec![
        ("loading", "0".to_owned()),
        ("aof_enabled", "1".to_owned()),
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

fn stats_lines(stats: &crate::grid::GridStats, clients: &ClientFigures) -> Lines {
    vec![
        (
            "total_connections_received",
            clients.connections.to_string(),
        ),
        ("total_commands_processed", clients.commands.to_string()),
        ("rejected_connections", clients.turned_away.to_string()),
        ("expired_keys", stats.expired_total.to_string()),
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
