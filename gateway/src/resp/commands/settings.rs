//! `CONFIG`: what Redis's clients and exporters ask for, and what may be changed while running.

use super::super::endpoint::Endpoint;
use super::super::glob;
use super::super::parse::Args;
use super::{Context, NOT_INTEGER, Next, Outcome, SYNTAX, fail};

pub(super) const HELP: &str = "\
GET <pattern>
    Return parameters matching the glob-like <pattern> and their values.
SET <directive> <value>
    Set slowlog-log-slower-than or slowlog-max-len, until the next start.
    All else is set in strait.toml, and 'strait reload' reads it.
RESETSTAT
    Reset statistics reported by the INFO command, those of the metrics not.
REWRITE
    Return an error: strait.toml is written by people.";

/// How a setting of Redis is told, and where it is made.
type Setting = (&'static str, fn(&Context<'_>) -> String, &'static str);

/// Where it is always the same.
const FIXED: &str = "it is always so";

const SLOWER_THAN: &str = "slowlog-log-slower-than";
const SLOWLOG_LEN: &str = "slowlog-max-len";

const SETTINGS: &[Setting] = &[
    ("appendfsync", |_| "everysec".to_owned(), "grid.durability"),
    ("appendonly", |_| "yes".to_owned(), FIXED),
    ("bind", bound, "listen.grid"),
    (
        "client-output-buffer-limit",
        |context| {
            let limits = context.server.config.limits;
            format!("normal {} 0 0", limits.reply_bytes_max)
        },
        "grid.reply_bytes_max",
    ),
    ("cluster-enabled", |_| "no".to_owned(), FIXED),
    ("databases", |_| "1".to_owned(), FIXED),
    ("latency-monitor-threshold", |_| "0".to_owned(), FIXED),
    (
        "maxclients",
        |context| context.server.config.clients_max.to_string(),
        "grid.clients_max",
    ),
    (
        "maxmemory",
        |context| context.state.memory_bytes_max().to_string(),
        "grid.memory_bytes_max",
    ),
    (
        "maxmemory-clients",
        |context| context.server.config.limits.unread_bytes_max.to_string(),
        "grid.unread_bytes_max",
    ),
    (
        "maxmemory-policy",
        |_| "noeviction".to_owned(),
        "grid.on_full",
    ),
    ("notify-keyspace-events", |_| String::new(), FIXED),
    (
        "port",
        |context| context.server.tcp().port().to_string(),
        "listen.grid",
    ),
    ("proto-max-bulk-len", |_| (1 << 20).to_string(), FIXED),
    ("save", |_| String::new(), "snapshots.every_min"),
    (
        SLOWER_THAN,
        |context| context.server.slowlog.slower_than_us().to_string(),
        "",
    ),
    (
        SLOWLOG_LEN,
        |context| context.server.slowlog.len_max().to_string(),
        "",
    ),
    ("tcp-keepalive", |_| "0".to_owned(), FIXED),
    ("timeout", |_| "0".to_owned(), FIXED),
    ("tls-port", tls_port, "listen.grid"),
    ("unixsocket", unix_socket, "listen.grid"),
];

/// The addresses of all TCP listeners.
fn bound(context: &Context<'_>) -> String {
    let endpoints = context.server.endpoints.iter();
    let addresses = endpoints.filter_map(|endpoint| endpoint.address());
    let addresses: Vec<_> = addresses.map(|address| address.ip().to_string()).collect();
    addresses.join(" ")
}

/// Of the first listener behind TLS; 0, as in Redis, if there is none.
fn tls_port(context: &Context<'_>) -> String {
    let mut endpoints = context.server.endpoints.iter();
    let first = endpoints.find(|endpoint| endpoint.is_tls());
    let address = first.and_then(|endpoint| endpoint.address());
    let port = address.map_or(0, |address| address.port());
    port.to_string()
}

fn unix_socket(context: &Context<'_>) -> String {
    let mut endpoints = context.server.endpoints.iter();
    let path = endpoints.find_map(|endpoint| match &**endpoint {
        Endpoint::Unix { path, .. } => Some(path.display().to_string()),
        Endpoint::Tcp(_) | Endpoint::Tls(_) | Endpoint::Own => None,
    });
    path.unwrap_or_default()
}

pub(super) fn get(context: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let patterns: Vec<_> = args.from(2).map(<[u8]>::to_ascii_lowercase).collect();
    let asked = |(name, ..): &&Setting| {
        let name = name.as_bytes();
        patterns.iter().any(|pattern| glob::matches(pattern, name))
    };
    let found: Vec<_> = SETTINGS.iter().filter(asked).collect();
    context.replies.map(found.len());
    for (name, value, _) in found {
        let value = value(context);
        context.replies.bulk(name.as_bytes());
        context.replies.bulk(value.as_bytes());
    }
    Ok(Next::Go)
}

pub(super) fn set(context: &mut Context<'_>, args: Args<'_>) -> Outcome {
    if !args.len().is_multiple_of(2) {
        return Err(SYNTAX);
    }
    // All of them, or none.
    let mut changes = Vec::new();
    for (name, value) in args.from(2).step_by(2).zip(args.from(3).step_by(2)) {
        let is_it = |(known, ..): &&Setting| name.eq_ignore_ascii_case(known.as_bytes());
        let Some((name, _, place)) = SETTINGS.iter().find(is_it) else {
            let name = String::from_utf8_lossy(&name[..name.len().min(128)]);
            return fail(format!(
                "ERR Unknown option or number of arguments for CONFIG SET - '{name}'"
            ));
        };
        let why = match *place {
            "" => match super::parse_i64(value) {
                Some(value) => {
                    changes.push((*name, value));
                    continue;
                }
                None => return Err(NOT_INTEGER),
            },
            FIXED => FIXED.to_owned(),
            place => format!("set '{place}' in strait.toml"),
        };
        return fail(format!(
            "ERR CONFIG SET failed (possibly related to argument '{name}') - {why}"
        ));
    }
    let slowlog = &context.server.slowlog;
    for (name, value) in changes {
        match name {
            SLOWER_THAN => slowlog.set_slower_than_us(value),
            _ => slowlog.set_len_max(usize::try_from(value).unwrap_or(0)),
        }
    }
    context.replies.ok();
    Ok(Next::Go)
}

pub(super) fn resetstat(context: &mut Context<'_>, _args: Args<'_>) -> Outcome {
    context.server.clients.reset_shown();
    context.replies.ok();
    Ok(Next::Go)
}

pub(super) fn rewrite(_context: &mut Context<'_>, _args: Args<'_>) -> Outcome {
    fail(
        "ERR strait.toml is written by people: what CONFIG SET has changed holds until the next start",
    )
}
