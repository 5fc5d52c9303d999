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
const FILTER: &str = "info,quinn=error,quinn_proto=error,rustls=error";

pub(super) fn start(filter: Option<&str>, format: LogFormat) -> anyhow::Result<()> {
    let filter = match filter.map(str::trim) {
        None | Some("") => EnvFilter::new(FILTER),
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
