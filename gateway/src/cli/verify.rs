//! `strait verify`: are the files at a peer site those that are here? And the counters and logs?

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
    /// Files and folders that are here, and where they should be: SITE:PATH, read as `push`
    /// reads it. Or SITE alone: compare all counters and logs
    #[arg(required = true, value_name = "FILE… SITE:PATH | SITE")]
    what: Vec<String>,
    #[command(flatten)]
    options: Options,
}

pub(super) fn run(globals: &Globals, args: Args) -> anyhow::Result<()> {
    let (at, files) = match args.what.split_last() {
        Some((site, [])) => {
            return super::verify_grid::run(globals, site.trim_end_matches(':'), &args.options);
        }
        Some((at, files)) => (at.parse::<Location>()?, files),
        None => bail!("name files and where they should be, or a site"),
    };
    let files: Vec<PathBuf> = files.iter().map(PathBuf::from).collect();
    let Found { items, errors, .. } = local_tree::expand(&files, &at);
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
