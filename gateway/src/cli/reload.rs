//! `strait reload`: the running gateway reads keys and peers anew.

use anyhow::bail;

use super::Globals;
use super::output::say;
use super::own;
use crate::config;
use crate::datadir::read_identity;

#[derive(Debug, clap::Args)]
pub(super) struct Args {}

pub(super) fn run(globals: &Globals, Args {}: Args) -> anyhow::Result<()> {
    let layout = globals.layout();
    // Mistakes are better read here than in the log.
    let key = read_identity(&layout)?.public_key();
    config::load_for(&layout.config(), Some(key))?;
    match own::reload(globals)? {
        true => say("the running gateway has read keys and peers anew: see its log\n"),
        false => bail!("no gateway runs on {}", layout.root().display()),
    }
}
