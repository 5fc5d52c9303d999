//! Figures: `strait-bench <what>` measures one part of strait and prints JSON, a line per result.

mod grid;
mod ratio;

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
    /// The grid against redis-server: requests a second and bytes per counter
    Grid(grid::Arguments),
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().what {
        What::Ratio(arguments) => ratio::run(&arguments),
        What::Grid(arguments) => grid::run(&arguments),
    }
}
