//! Figures: `strait-bench <what>` measures one part of strait and prints JSON, a line per result.
#![allow(clippy::print_stdout, reason = "figures go to standard output")]

mod apps;
mod cold;
mod cpu;
mod dedup;
mod grid;
mod lab;
mod lines;
mod link;
mod plateau;
mod ratio;
mod wire;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "strait-bench", about = "Measures strait, a part at a time")]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Bytes on the wire and speed of encoding and decoding, file after file over one history
    Ratio(ratio::Arguments),
    /// What a new version costs when the peer holds the old one, beside zstd, rsync, restic and borg
    Dedup(dedup::Arguments),
    /// Applications over the lab, beside their usual remedies (needs root)
    Apps(apps::Arguments),
    /// The grid against redis-server: requests a second and bytes per counter
    Grid(grid::Arguments),
    /// Log lines that go to the disk: bytes there, memory, and how fast they come back
    Cold(cold::Arguments),
    /// Memory of gateways while counters are made and deleted, round after round
    Plateau(plateau::Arguments),
    /// A wide-area link between two network namespaces, to run anything across (needs root)
    #[command(subcommand)]
    Lab(Lab),
    /// Bytes that counters and log lines cost on the link, packet headers and answers included
    #[command(subcommand)]
    Wire(wire::Wire),
    /// Goodput and delay over the lab's link, strait beside kernel TCP (needs root)
    Link(link::Arguments),
    /// One end of `link`, started by it
    #[command(hide = true)]
    LinkEnd(link::EndArguments),
}

#[derive(Subcommand)]
enum Lab {
    /// Runs a command at the near end: strait-bench lab run --rate 100 --delay 50 -- CMD…
    Run(lab::RunArguments),
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().what {
        What::Ratio(arguments) => ratio::run(&arguments),
        What::Dedup(arguments) => dedup::run(&arguments),
        What::Apps(arguments) => apps::run(&arguments),
        What::Grid(arguments) => grid::run(&arguments),
        What::Cold(arguments) => cold::run(&arguments),
        What::Plateau(arguments) => plateau::run(&arguments),
        What::Wire(wire) => wire::run(&wire),
        What::Lab(Lab::Run(arguments)) => lab::run(&arguments),
        What::Link(arguments) => link::run(&arguments),
        What::LinkEnd(arguments) => link::run_end(&arguments),
    }
}
