//! What `push` and `pull` share: their options, the progress bar, the last line.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{DecimalBytes, ProgressBar, ProgressStyle};
use serde::Serialize;

use super::Globals;
use crate::bulk::control::client::{Gateway, Moved};
use crate::bulk::{Cost, printable};

const KNOWN_LENGTH: &str = "{prefix:.bold} {wide_bar} {decimal_bytes}/{decimal_total_bytes} \
                            {decimal_bytes_per_sec} ETA {eta}{msg}";
const UNKNOWN_LENGTH: &str = "{prefix:.bold} {spinner} {decimal_bytes} \
                              {decimal_bytes_per_sec}{msg}";

#[derive(Clone, Debug, clap::Args)]
pub(super) struct Options {
    /// How long to wait for a link that is down
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    wait: u64,
    /// Show nothing but errors
    #[arg(long, short)]
    quiet: bool,
    /// Print one line of JSON per file on standard output when done
    #[arg(long)]
    pub(super) json: bool,
}

impl Options {
    pub(super) fn gateway(&self, globals: &Globals) -> Gateway {
        Gateway::new(&globals.layout().socket(), Duration::from_secs(self.wait))
    }
}

/// The progress of one file: a bar if a person watches, one line at the end.
#[derive(Debug)]
pub(super) struct Meter {
    options: Options,
    bar: Option<ProgressBar>,
    /// What moves, from where, to where: for the last line.
    from: String,
    to: String,
    began: Instant,
}

#[derive(Serialize)]
struct Report<'a> {
    from: &'a str,
    to: &'a str,
    bytes: u64,
    blake3: String,
    seconds: f64,
    /// Absent while not all of the file's cost is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    wire_bytes: Option<u64>,
}

impl Meter {
    pub(super) fn start(options: &Options, from: String, to: String) -> Self {
        Self {
            options: options.clone(),
            bar: None,
            from: printable(&from),
            to: printable(&to),
            began: Instant::now(),
        }
    }

    /// Shows the bar, once the length is known or known to be unknown.
    pub(super) fn show(&mut self, length: Option<u64>) {
        if self.options.quiet || !std::io::stderr().is_terminal() {
            return;
        }
        let (bar, template) = match length {
            Some(length) => (ProgressBar::new(length), KNOWN_LENGTH),
            None => (ProgressBar::no_length(), UNKNOWN_LENGTH),
        };
        let style = ProgressStyle::with_template(template);
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_prefix(self.from.clone());
        bar.enable_steady_tick(Duration::from_millis(200));
        self.bar = Some(bar);
    }

    pub(super) fn update(&self, arrived_bytes: u64, cost: Cost) {
        if let Some(bar) = &self.bar {
            bar.set_position(arrived_bytes);
            if let Some(percent) = saved_percent(cost) {
                bar.set_message(format!(" saved {percent:.1} %"));
            }
        }
    }

    /// Ends the bar and says what was moved.
    pub(super) fn finish(self, moved: &Moved) {
        let seconds = self.began.elapsed().as_secs_f64();
        self.clear();
        if self.options.json {
            self.print_json(moved, seconds);
        } else if !self.options.quiet {
            eprintln!("{}", self.line(moved, seconds));
        }
    }

    /// Ends the bar and says nothing.
    pub(super) fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn line(&self, moved: &Moved, seconds: f64) -> String {
        let (length, rate) = (moved.length, moved.length as f64 / seconds.max(1e-3));
        let saved = match saved_percent(moved.cost) {
            Some(percent) => format!(", saved {percent:.1} %"),
            None => String::new(),
        };
        format!(
            "{} -> {}: {} in {seconds:.1} s ({}/s){saved}",
            self.from,
            self.to,
            DecimalBytes(length),
            DecimalBytes(rate as u64),
        )
    }

    #[allow(
        clippy::print_stdout,
        reason = "standard output is what --json asks for"
    )]
    fn print_json(&self, moved: &Moved, seconds: f64) {
        let Cost {
            logical_bytes,
            wire_bytes,
        } = moved.cost;
        let report = Report {
            from: &self.from,
            to: &self.to,
            bytes: moved.length,
            blake3: moved.digest.to_hex().to_string(),
            seconds,
            wire_bytes: (logical_bytes >= moved.length).then_some(wire_bytes),
        };
        // Writing to a string cannot fail for this type.
        println!("{}", serde_json::to_string(&report).unwrap_or_default());
    }
}

/// What part of the file's bytes the link was spared, so far.
fn saved_percent(cost: Cost) -> Option<f64> {
    let Cost {
        logical_bytes,
        wire_bytes,
    } = cost;
    (logical_bytes > 0).then(|| 100.0 * (1.0 - wire_bytes as f64 / logical_bytes as f64))
}
