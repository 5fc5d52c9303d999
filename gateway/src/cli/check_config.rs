//! `strait check-config`: every mistake at once.

use std::path::PathBuf;

use super::{Globals, output::say};
use crate::config;
use crate::datadir::read_identity;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The file to check [default: strait.toml in the data directory]
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
}

pub(super) fn run(globals: &Globals, args: Args) -> anyhow::Result<()> {
    let layout = globals.layout();
    // Another site's file is checked without knowing that site's key.
    let (file, own_key) = match args.file {
        Some(file) => (file, None),
        None => (layout.config(), Some(read_identity(&layout)?.public_key())),
    };
    let config = config::load_for(&file, own_key)?;
    crate::run::check_tls(&config)?;
    let peers = match config.peers.len() {
        0 => "no peer yet".to_owned(),
        1 => "1 peer".to_owned(),
        n => format!("{n} peers"),
    };
    let site = config.site;
    say(format_args!(
        "{} is fine: site {site}, {peers}\n",
        file.display()
    ))
}
