//! The progress of a command's files: one bar if a person watches, lines at the end.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{DecimalBytes, ProgressBar, ProgressStyle};
use parking_lot::Mutex;
use serde::Serialize;

use super::output::{stdout, tell};
use super::transfer::Options;
use crate::bulk::control::Progress;
use crate::bulk::control::client::Moved;
use crate::bulk::{Cost, printable};

const KNOWN_LENGTH: &str = "{wide_bar} {decimal_bytes}/{decimal_total_bytes} \
                            {decimal_bytes_per_sec} ETA {eta}{msg}";
const UNKNOWN_LENGTH: &str = "{spinner} {decimal_bytes} {decimal_bytes_per_sec}{msg}";

/// All files of one command.
#[derive(Debug)]
pub(super) struct Display {
    options: Options,
    bar: Option<ProgressBar>,
    files: usize,
    totals: Mutex<Totals>,
    began: Instant,
}

#[derive(Debug, Default)]
struct Totals {
    files_done: usize,
    files_unchanged: usize,
    so_far: Progress,
}

/// One file among them. Dropped before [`Meter::finish`], it is taken off again.
#[derive(Debug)]
pub(super) struct Meter<'a> {
    display: &'a Display,
    /// What of the totals is this file's.
    so_far: Progress,
    began: Instant,
}

#[derive(Serialize)]
struct Report<'a> {
    from: &'a str,
    to: &'a str,
    bytes: u64,
    /// Absent where it was not computed.
    #[serde(skip_serializing_if = "Option::is_none")]
    blake3: Option<String>,
    /// It was there already.
    unchanged: bool,
    seconds: f64,
    /// Absent while not all of the file's cost is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    wire_bytes: Option<u64>,
}

impl Display {
    /// `length` of all files together, if it is known.
    pub(super) fn new(options: &Options, files: usize, length: Option<u64>) -> Self {
        let watched = !options.quiet && io::stderr().is_terminal();
        Self {
            options: options.clone(),
            bar: watched.then(|| bar(length)),
            files,
            totals: Mutex::default(),
            began: Instant::now(),
        }
    }

    pub(super) fn begin(&self) -> Meter<'_> {
        Meter {
            display: self,
            so_far: Progress::default(),
            began: Instant::now(),
        }
    }

    /// Says something beside the bar.
    pub(super) fn say(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| tell!("{line}")),
            None => tell!("{line}"),
        }
    }

    /// Ends the bar and says what was moved. `label` names it, given how many files that is.
    pub(super) fn finish(self, label: impl FnOnce(&str) -> String) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        let totals = self.totals.into_inner();
        if self.options.quiet || self.options.json || totals.files_done == 0 {
            return;
        }
        let (bytes, seconds) = (
            totals.so_far.arrived_bytes,
            self.began.elapsed().as_secs_f64(),
        );
        let files = match totals.files_done == self.files {
            true => format!("{} files", self.files),
            false => format!("{} of {} files", totals.files_done, self.files),
        };
        let rate = bytes as f64 / seconds.max(1e-3);
        let unchanged = match totals.files_unchanged {
            0 => String::new(),
            files => format!(", {files} unchanged"),
        };
        tell!(
            "{}: {} in {seconds:.1} s ({}/s){}{unchanged}",
            printable(&label(&files)),
            DecimalBytes(bytes),
            DecimalBytes(rate as u64),
            saved(&totals.so_far),
        );
    }

    fn change(&self, change: impl FnOnce(&mut Totals)) {
        let mut totals = self.totals.lock();
        change(&mut totals);
        if let Some(bar) = &self.bar {
            bar.set_position(totals.so_far.arrived_bytes);
            let files = match self.files {
                1 => String::new(),
                files => format!(", {}/{files} files", totals.files_done),
            };
            bar.set_message(format!("{files}{}", saved(&totals.so_far)));
        }
    }
}

impl Meter<'_> {
    /// The length of the file, if it is the only one and was not known before.
    pub(super) fn expect(&self, length: u64) {
        if let Some(bar) = &self.display.bar
            && self.display.files == 1
        {
            bar.set_style(style(KNOWN_LENGTH));
            bar.set_length(length);
        }
    }

    pub(super) fn update(&mut self, so_far: Progress) {
        let before = std::mem::replace(&mut self.so_far, so_far);
        self.display.change(|totals| {
            totals.so_far = add(subtract(totals.so_far, before), so_far);
        });
    }

    /// The file is where it should be.
    pub(super) fn finish(self, from: &str, to: &str, moved: &Moved) -> io::Result<()> {
        let Cost {
            logical_bytes,
            wire_bytes,
        } = moved.cost;
        let report = Report {
            from,
            to,
            bytes: moved.length,
            blake3: Some(moved.digest.to_hex().to_string()),
            unchanged: false,
            seconds: self.began.elapsed().as_secs_f64(),
            wire_bytes: (logical_bytes >= moved.length).then_some(wire_bytes),
        };
        self.end(moved.cost, &report)
    }

    /// The file was where it should be.
    pub(super) fn finish_unchanged(
        self,
        from: &str,
        to: &str,
        bytes: u64,
        digest: Option<blake3::Hash>,
    ) -> io::Result<()> {
        let report = Report {
            from,
            to,
            bytes,
            blake3: digest.map(|digest| digest.to_hex().to_string()),
            unchanged: true,
            seconds: self.began.elapsed().as_secs_f64(),
            wire_bytes: Some(0),
        };
        self.end(Cost::default().with_spared(bytes), &report)
    }

    fn end(mut self, cost: Cost, report: &Report<'_>) -> io::Result<()> {
        self.update(Progress {
            arrived_bytes: report.bytes,
            cost,
        });
        self.display.change(|totals| {
            totals.files_done += 1;
            totals.files_unchanged += usize::from(report.unchanged);
        });
        self.so_far = Progress::default();
        match self.display.options.json {
            true => print_json(report),
            false => Ok(()),
        }
    }
}

impl Drop for Meter<'_> {
    fn drop(&mut self) {
        let mine = self.so_far;
        self.display
            .change(|totals| totals.so_far = subtract(totals.so_far, mine));
    }
}

fn bar(length: Option<u64>) -> ProgressBar {
    let (bar, template) = match length {
        Some(length) => (ProgressBar::new(length), KNOWN_LENGTH),
        None => (ProgressBar::no_length(), UNKNOWN_LENGTH),
    };
    bar.set_style(style(template));
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

fn print_json(report: &Report<'_>) -> io::Result<()> {
    let mut line = serde_json::to_vec(report)?;
    line.push(b'\n');
    stdout().write_all(&line)
}

/// What part of the bytes the link was spared; nothing while too little is known of it.
fn saved(so_far: &Progress) -> String {
    let Cost {
        logical_bytes,
        wire_bytes,
    } = so_far.cost;
    if logical_bytes == 0 || logical_bytes < so_far.arrived_bytes / 2 {
        return String::new();
    }
    let percent = 100.0 * (1.0 - wire_bytes as f64 / logical_bytes as f64);
    // Framing alone is no loss worth a sign.
    format!(", saved {:.1} %", percent.max(0.0))
}

fn add(a: Progress, b: Progress) -> Progress {
    combine(a, b, u64::saturating_add)
}

fn subtract(a: Progress, b: Progress) -> Progress {
    combine(a, b, u64::saturating_sub)
}

fn combine(a: Progress, b: Progress, with: impl Fn(u64, u64) -> u64) -> Progress {
    Progress {
        arrived_bytes: with(a.arrived_bytes, b.arrived_bytes),
        cost: Cost {
            logical_bytes: with(a.cost.logical_bytes, b.cost.logical_bytes),
            wire_bytes: with(a.cost.wire_bytes, b.cost.wire_bytes),
        },
    }
}
