//! `strait rm`: removes files at a peer site.

use std::time::Duration;

use anyhow::bail;

use super::Globals;
use crate::bulk::control::client::Gateway;
use crate::bulk::location::Location;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Which files
    #[arg(required = true, value_name = "SITE:PATH")]
    files: Vec<Location>,
    /// How long to wait for a link that is down
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    wait: u64,
}

pub(super) fn run(globals: &Globals, args: Args) -> anyhow::Result<()> {
    let wait = Duration::from_secs(args.wait);
    let gateway = Gateway::new(&globals.layout().socket(), wait);
    let mut failed = 0;
    for file in &args.files {
        if let Err(error) = gateway.remove(file) {
            eprintln!("strait rm: {file}: {error}");
            failed += 1;
        }
    }
    match failed {
        0 => Ok(()),
        failed => bail!("rm: {failed} of {} not removed", args.files.len()),
    }
}
