//! The log: to standard error, one line an event, times in UTC.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::fs::File;
use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::panic::PanicHookInfo;

use anyhow::Context;
use tracing_subscriber::EnvFilter;

use crate::observe::log_queue::{Farewell, LogQueue};

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

/// The log of this process. When dropped, its last lines are written.
#[derive(Debug)]
pub(super) struct Log {
    queue: LogQueue,
    _farewell: Farewell,
}

impl Log {
    /// Starts the log with `filter`, or with `default` where that says nothing.
    pub(super) fn start(
        filter: Option<&str>,
        default: &str,
        format: LogFormat,
    ) -> anyhow::Result<Self> {
        let filter = match filter.map(str::trim) {
            None | Some("") => EnvFilter::new(default),
            Some(text) => EnvFilter::try_new(text)
                .with_context(|| format!("STRAIT_LOG: {text:?} is no log filter, try \"debug\""))?,
        };
        // Not std's handle: a write that blocks would hold its lock.
        let stderr = std::io::stderr().as_fd().try_clone_to_owned();
        let started = stderr.and_then(|stderr| LogQueue::start(File::from(stderr), say_lost));
        let (queue, farewell) = started.context("cannot start logging")?;
        queue.show_in_metrics();
        let writer = queue.clone();
        let builder = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .log_internal_errors(false)
            .with_writer(move || writer.clone())
            .with_ansi(std::io::stderr().is_terminal());
        let started = match format {
            LogFormat::Text => builder.compact().try_init(),
            LogFormat::Json => builder.json().flatten_event(true).try_init(),
        };
        started.map_err(|error| anyhow::anyhow!("cannot start logging: {error}"))?;
        std::panic::set_hook(Box::new(log_panic));
        Ok(Self {
            queue,
            _farewell: farewell,
        })
    }

    /// Adds a line that is no event. Never waits.
    pub(super) fn say(&self, line: &str) {
        self.queue.push(format!("{line}\n").as_bytes());
    }
}

fn say_lost(lines: u64) {
    tracing::warn!(
        lines,
        "lines of the log are lost: standard error did not take them"
    );
}

/// The standard library's own hook waits for whoever reads standard error.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let thread = thread.name().unwrap_or("without a name");
    let place = panic.location().map(ToString::to_string);
    let (place, reason) = (place.unwrap_or_default(), panic.payload_as_str());
    let backtrace = Backtrace::capture();
    let captured = backtrace.status() == BacktraceStatus::Captured;
    let backtrace = captured.then(|| tracing::field::display(backtrace));
    tracing::error!(
        thread,
        place,
        reason,
        backtrace,
        "a thread has panicked: this is a defect of strait, please report it"
    );
}
