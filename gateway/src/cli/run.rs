//! `strait run`: the gateway itself.

use rustix::process::geteuid;

use super::Globals;
use crate::config;
use crate::datadir::{DataDir, check_format, check_owner, check_password_file};
use crate::heap;

#[derive(Debug, clap::Args)]
pub(super) struct Args {}

pub(super) fn run(globals: &Globals, Args {}: Args) -> anyhow::Result<()> {
    heap::limit_arenas();
    let layout = globals.layout();
    check_format(&layout)?;
    if geteuid().is_root() {
        // What root leaves there, the owner's gateway could not read.
        check_owner(&layout)?;
    }
    let dir = DataDir::open(&globals.data)?;
    let own_key = dir.identity().public_key();
    let config = config::load_for(&dir.layout().config(), Some(own_key))?;
    if config.holds_password() {
        check_password_file(dir.layout())?;
    }
    crate::run::run_until_signal(dir, config)
}
