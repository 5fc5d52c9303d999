//! The log: to standard error, one line an event, times in UTC.

use std::io::IsTerminal;

use anyhow::Context;
use tracing_subscriber::EnvFilter;

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum LogFormat {
    /// For people
    Text,
    /// One JSON object a line
    Json,
}

/// What is logged unless asked otherwise. The QUIC library's warnings are about single
/// packets of strangers.
pub(super) const FILTER: &str = "info,quinn=error,quinn_proto=error,rustls=error";

/// What is logged while the command itself tells a story.
pub(super) const QUIET_FILTER: &str = "error";

/// Starts the log with `filter`, or with `default` where that says nothing.
pub(super) fn start(filter: Option<&str>, default: &str, format: LogFormat) -> anyhow::Result<()> {
    let filter = match filter.map(str::trim) {
        None | Some("") => EnvFilter::new(default),
        Some(text) => EnvFilter::try_new(text)
            .with_context(|| format!("STRAIT_LOG: {text:?} is no log filter, try \"debug\""))?,
    };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let started = match format {
        LogFormat::Text => builder.compact().try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("cannot start logging: {error}"))
}
