//! `strait verify`: are the files at a peer site those that are here? And the counters and logs?

use std::path::PathBuf;

use anyhow::{Context, anyhow, bail};
use parking_lot::Mutex;

use super::Globals;
use super::display::Display;
use super::far_look::{self, Looked};
use super::local_tree::{self, Found, Item, Link};
use super::output::{explain, tell};
use super::transfer::Options;
use crate::bulk::control::client::ClientError;
use crate::bulk::location::Location;
use crate::bulk::printable;
use crate::bulk::store::Standing;

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
    let Found {
        items,
        links,
        errors,
        ..
    } = local_tree::expand(&files, &at);
    let mut quiet = args.options.clone();
    quiet.quiet = true;
    let display = Display::new(&quiet, items.len(), None);
    for error in &errors {
        display.say(&format!("strait verify: {}", printable(&explain(error))));
    }
    let gateway = args.options.gateway(globals);
    let places = items.iter().map(Item::place);
    let places: Vec<_> = places.chain(links.iter().map(Link::place)).collect();
    // Both ends read at the same time.
    let (far, here) = std::thread::scope(|scope| {
        let far = scope.spawn(|| far_look::look(&gateway, &args.options, &places, true));
        let here = digests(&args.options, &items);
        (far.join(), here)
    });
    let far = far.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
    let (far_items, far_links) = far.split_at(items.len());
    let items_there = items.iter().zip(here).zip(far_items);
    let items_there = items_there.map(|((item, here), far)| (&item.to, verify(item, here, far)));
    let links_there = links.iter().zip(far_links);
    let links_there = links_there.map(|(link, far)| (&link.to, verify_link(link, far)));
    let mut differing = 0;
    for (place, verdict) in items_there.chain(links_there) {
        if let Err(error) = verdict {
            display.say(&format!("{place}: {}", explain(&error)));
            differing += 1;
        }
    }
    let all = places.len() + errors.len();
    let wrong = differing + errors.len();
    if wrong > 0 {
        bail!("verify: {wrong} of {all} missing, different or unreadable");
    }
    if !args.options.quiet {
        tell!("{all} verified: same length and BLAKE3 digest at both sites");
    }
    Ok(())
}

/// Of each file here, in their order.
fn digests(options: &Options, items: &[Item]) -> Vec<anyhow::Result<(u64, blake3::Hash)>> {
    let found: Vec<_> = items.iter().map(|_| Mutex::new(None)).collect();
    let work: Vec<_> = items.iter().zip(&found).collect();
    options.for_each(&work, Some(u64::MAX), |(item, found)| {
        let digest = match item.is_standard_input() {
            true => Err(anyhow!("standard input cannot be verified: name a file")),
            false => local_tree::digest(&item.local),
        };
        *found.lock() = Some(digest);
        true
    });
    let found = found.into_iter().map(Mutex::into_inner);
    found
        .map(|found| found.context("it was not read")?)
        .collect()
}

fn verify(
    item: &Item,
    here: anyhow::Result<(u64, blake3::Hash)>,
    far: &Looked,
) -> anyhow::Result<()> {
    let (length, digest) = here?;
    let expected = (length, Some(*digest.as_bytes()));
    match far {
        Err(failure) => Err(ClientError::Failed(failure.clone()).into()),
        Ok(Standing::File { length, digest, .. }) if (*length, *digest) == expected => Ok(()),
        Ok(_) => bail!("differs from {}", item.local.display()),
    }
}

fn verify_link(link: &Link, far: &Looked) -> anyhow::Result<()> {
    match far {
        Err(failure) => Err(ClientError::Failed(failure.clone()).into()),
        Ok(Standing::Link { target }) if target == link.target.as_str() => Ok(()),
        Ok(_) => bail!("leads elsewhere than {}", link.local.display()),
    }
}
