//! `strait renew`: a data directory that was copied goes on as another incarnation of its site.

use super::Globals;
use super::output::say;
use crate::config;
use crate::datadir::{DataDir, Incarnation, check_format, check_owner};
use crate::grid::{self, Origin};

#[derive(Debug, clap::Args)]
pub(super) struct Args {}

pub(super) fn run(globals: &Globals, Args {}: Args) -> anyhow::Result<()> {
    let layout = globals.layout();
    check_format(&layout)?;
    check_owner(&layout)?;
    let dir = DataDir::open(&globals.data)?;
    let site = config::load(&dir.layout().config())?.site;
    let (old, new) = (dir.incarnation(), Incarnation::draw());
    let own = Origin {
        site,
        incarnation: old.0,
    };
    // If it is cut short here, running it again does the rest.
    let renewed = grid::renew(&dir.layout().grid(), &own, new.0)?;
    dir.set_incarnation(new)?;
    say(match renewed.was_refused {
        true => format!(
            "incarnation {old} is now {new}: what was counted here in {} counters since the two copies \
             parted counts for it\n",
            renewed.counters
        ),
        false => format!(
            "incarnation {old} is now {new}: what is counted from now on counts for it. No peer had \
             refused this directory as a copy, so all that was counted here so far stays with {old}\n"
        ),
    })
}
