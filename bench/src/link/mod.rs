//! How well a link is filled: strait and others, one after the other, over the same lab.

mod clock;
mod end;
mod measure;
mod plot;
mod stock;
mod strait;
mod table;
mod tcp;

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

pub(crate) use self::end::{EndArguments, run_end};
use self::measure::{Report, measure};
use crate::lab::LinkArguments;

/// Bulk bytes are sent, and where they come whole or not at all counted, in pieces of so many.
const PIECE_BYTES: usize = 256 << 10;

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Contender {
    Strait,
    /// strait with `congestion = "cubic"`
    StraitCubic,
    /// strait with the link's rate configured
    StraitRate,
    /// stock quinn with its BBR
    QuinnBbr,
    TcpCubic,
    TcpBbr,
}

/// What carries a contender's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wire {
    Strait,
    Stock,
    Tcp,
}

impl Contender {
    const fn wire(self) -> Wire {
        match self {
            Self::Strait | Self::StraitCubic | Self::StraitRate => Wire::Strait,
            Self::QuinnBbr => Wire::Stock,
            Self::TcpCubic | Self::TcpBbr => Wire::Tcp,
        }
    }
}

#[derive(Args, Clone, Debug)]
pub(crate) struct Arguments {
    #[command(flatten)]
    link: LinkArguments,
    /// How long to send, seconds, start-up included
    #[arg(long, default_value_t = 20)]
    secs: u64,
    /// Whom to measure
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "strait,strait-rate,tcp-cubic,tcp-bbr"
    )]
    contenders: Vec<Contender>,
    /// Who else fills the link at the same time
    #[arg(long)]
    against: Option<Contender>,
    /// Offer this part of the link's rate as bulk and no more, so that strait and stock quinn (and
    /// only they) are measured at the same goodput
    #[arg(long)]
    offered: Option<f64>,
    /// Cut the link in the 7th second, for so many seconds, and measure how it recovers
    #[arg(long)]
    cut: Option<u64>,
    /// The whole table: every rate, delay and loss of the next three
    #[arg(long)]
    all: bool,
    /// Rates of the table, Mbit/s
    #[arg(long, value_delimiter = ',', default_value = "100,400")]
    rates: Vec<f64>,
    /// One-way delays of the table, ms
    #[arg(long, value_delimiter = ',', default_value = "10,50,100")]
    delays: Vec<f64>,
    /// Losses of the table, percent
    #[arg(long, value_delimiter = ',', default_value = "0,0.1,1")]
    losses: Vec<f64>,
    /// Write the table as Markdown, too: in place of the one before, between two comments
    /// `link`, where the file has them, with the drawing below it
    #[arg(long)]
    markdown: Option<PathBuf>,
    /// Draw goodput as SVG, too
    #[arg(long)]
    plot: Option<PathBuf>,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let mut reports: Vec<Report> = Vec::new();
    for link in cells(arguments) {
        for &contender in &arguments.contenders {
            let report = measure(arguments, &link, contender)?;
            println!("{}", serde_json::to_string(&report)?);
            reports.push(report);
        }
    }
    if let Some(path) = &arguments.markdown {
        // A new file, or a page with a place for it.
        let page = std::fs::read_to_string(path).unwrap_or_default();
        let mut table = table::markdown(&reports);
        if let Some(plot) = arguments.plot.as_ref().and_then(|plot| plot.file_name()) {
            // Beside the page.
            table += &format!("\n![The same, drawn]({})\n", plot.display());
        }
        write(path, &table::put(&page, &table))?;
    }
    if let Some(path) = &arguments.plot {
        write(path, &plot::svg(&reports))?;
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

fn cells(arguments: &Arguments) -> Vec<LinkArguments> {
    if !arguments.all {
        return vec![arguments.link.clone()];
    }
    let mut cells = Vec::new();
    for &rate in &arguments.rates {
        for &delay in &arguments.delays {
            for &loss in &arguments.losses {
                cells.push(LinkArguments {
                    rate,
                    delay,
                    loss,
                    ..arguments.link.clone()
                });
            }
        }
    }
    cells
}
