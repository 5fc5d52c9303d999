//! `strait key`: another key for this site, while its gateway runs.

use anyhow::bail;
use clap::Subcommand;

use super::Globals;
use super::output::{say, tell};
use super::own;
use super::pair::token_of;
use crate::config::fingerprint;
use crate::datadir::{exchange_identity, next_identity};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    step: Step,
}

#[derive(Clone, Copy, Debug, Subcommand)]
enum Step {
    /// Make the next key, and print the token that peers pin it by
    Next,
    /// Go over to the next key
    Rotate,
}

pub(super) fn run(globals: &Globals, args: Args) -> anyhow::Result<()> {
    match args.step {
        Step::Next => next(globals),
        Step::Rotate => rotate(globals),
    }
}

fn next(globals: &Globals) -> anyhow::Result<()> {
    let key = next_identity(&globals.layout())?.public_key();
    let token = token_of(globals, key, Vec::new())?;
    let (site, short) = (&token.site, fingerprint(&key));
    tell!(
        "the next key of {site} is {short}. At each peer, run: strait pair TOKEN --next. When all \
         have done so, here: strait key rotate"
    );
    say(format_args!("{token}\n"))
}

fn rotate(globals: &Globals) -> anyhow::Result<()> {
    let layout = globals.layout();
    let Some(identity) = exchange_identity(&layout)? else {
        bail!("there is no next key: make one with `strait key next`, and let each peer pin it");
    };
    let key = identity.public_key();
    let token = token_of(globals, key, Vec::new())?;
    let gateway = match own::reload(globals)? {
        true => "the running gateway goes over to it: see its log, or `strait status` at the peers",
        false => "no gateway runs here: the next start uses it",
    };
    let (site, short) = (&token.site, fingerprint(&key));
    tell!(
        "the key of {site} is now {short}; {gateway}. Then, at each peer: strait pair TOKEN --replace"
    );
    say(format_args!("{token}\n"))
}
