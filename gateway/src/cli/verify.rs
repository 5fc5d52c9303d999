//! `strait verify`: are the files at a peer site those that are here?

use std::path::PathBuf;

use anyhow::bail;

use super::Globals;
use super::display::Display;
use super::local_tree::{self, Found, Item};
use super::transfer::Options;
use crate::bulk::control::client::Gateway;
use crate::bulk::location::Location;
use crate::bulk::printable;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Files and folders that are here
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Where they should be: SITE:PATH, read as `push` reads it
    #[arg(value_name = "SITE:PATH")]
    at: Location,
    #[command(flatten)]
    options: Options,
}

pub(super) fn run(globals: &Globals, args: Args) -> anyhow::Result<()> {
    let Found { items, errors, .. } = local_tree::expand(&args.files, &args.at);
    let mut quiet = args.options.clone();
    quiet.quiet = true;
    let display = Display::new(&quiet, items.len(), None);
    for error in &errors {
        display.say(&format!(
            "strait verify: {}",
            printable(&format!("{error:#}"))
        ));
    }
    let gateway = args.options.gateway(globals);
    let differing = args.options.for_each(&items, Some(u64::MAX), |item| {
        let verdict = verify(&gateway, item);
        if let Err(error) = &verdict {
            display.say(&format!("{}: {error:#}", item.to));
        }
        verdict.is_ok()
    });
    let (all, wrong) = (items.len() + errors.len(), differing + errors.len());
    if wrong > 0 {
        bail!("verify: {wrong} of {all} missing, different or unreadable");
    }
    if !args.options.quiet {
        eprintln!("{all} verified: same length and BLAKE3 digest at both sites");
    }
    Ok(())
}

fn verify(gateway: &Gateway, item: &Item) -> anyhow::Result<()> {
    if item.is_standard_input() {
        bail!("standard input cannot be verified: name a file");
    }
    let (file, _) = local_tree::open_plain(&item.local)?;
    let mut hasher = blake3::Hasher::new();
    let (far, here) = std::thread::scope(|scope| {
        let far = scope.spawn(|| gateway.digest(&item.to));
        let here = hasher.update_reader(&file).map(|_| ());
        (far.join(), here)
    });
    let far = far.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
    here?;
    if (far.length, far.digest) != (hasher.count(), hasher.finalize()) {
        bail!("differs from {}", item.local.display());
    }
    Ok(())
}
