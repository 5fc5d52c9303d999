//! `strait rm`: removes files at a peer site.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};

use super::Globals;
use super::far_tree::{self, FarTree};
use super::output::{explain, tell};
use crate::bulk::Failure;
use crate::bulk::control::client::{ClientError, Gateway};
use crate::bulk::location::Location;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Which files; the last name may be a pattern, as in west:dumps/*.sql
    #[arg(required = true, value_name = "SITE:PATH")]
    files: Vec<Location>,
    /// Remove folders with all that is in them
    #[arg(long, short)]
    recursive: bool,
    /// How long to wait for a link that is down
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    wait: u64,
}

pub(super) fn run(globals: &Globals, args: Args) -> anyhow::Result<()> {
    let wait = Duration::from_secs(args.wait);
    let gateway = Gateway::new(&globals.layout().socket(), wait);
    let (mut failed, mut all) = (0, 0);
    for named in &args.files {
        let files = match far_tree::is_pattern(named) {
            true => far_tree::matching(&gateway, named).map(|found| {
                let places = found.into_iter().map(|(place, _)| place.as_file());
                places.collect()
            }),
            false => Ok(vec![named.clone()]),
        };
        let files = files.unwrap_or_else(|error| {
            tell!("strait rm: {named}: {}", explain(&error));
            failed += 1;
            Vec::new()
        });
        all += files.len().max(1);
        for file in files {
            let removed = match args.recursive {
                true => remove_all(&gateway, &file),
                false => remove(&gateway, &file),
            };
            if let Err(error) = removed {
                tell!("strait rm: {file}: {}", explain(&error));
                failed += 1;
            }
        }
    }
    match failed {
        0 => Ok(()),
        failed => bail!("rm: {failed} of {all} not removed"),
    }
}

/// A file, a link, or a folder with nothing in it.
fn remove(gateway: &Gateway, place: &Location) -> anyhow::Result<()> {
    match gateway.remove(&place.clone().as_file()) {
        Err(ClientError::Failed(Failure::IsFolder)) => {
            bail!("a folder with something in it; -r removes it with all that is in it")
        }
        removed => Ok(removed?),
    }
}

/// Files that are removed at once.
const JOBS: usize = 64;

/// A file, or a folder from its leaves up; what is left at the first error stays.
fn remove_all(gateway: &Gateway, place: &Location) -> anyhow::Result<()> {
    match gateway.remove(&place.clone().as_file()) {
        Err(ClientError::Failed(Failure::IsFolder)) => {}
        removed => return Ok(removed?),
    }
    let FarTree {
        mut files,
        links,
        folders,
        skipped,
        unspeakable,
    } = FarTree::of(gateway, place, Path::new(""))?;
    files.extend(links);
    let remove = |place: &Location| -> anyhow::Result<()> {
        let removed = gateway.remove(&place.clone().as_file());
        removed.with_context(|| place.to_string())
    };
    for files in files.chunks(JOBS) {
        std::thread::scope(|scope| {
            let removals = files.iter().map(|file| scope.spawn(|| remove(&file.from)));
            let removals: Vec<_> = removals.collect();
            let mut outcomes = removals.into_iter().map(|removal| match removal.join() {
                Ok(outcome) => outcome,
                Err(panic) => std::panic::resume_unwind(panic),
            });
            outcomes.try_for_each(|outcome| outcome)
        })?;
    }
    let left = usize::try_from(skipped)
        .unwrap_or(usize::MAX)
        .saturating_add(unspeakable);
    if left > 0 {
        bail!("{left} in it are no plain files, or have names that cannot be said: they stay");
    }
    // Folders come after those that they are in.
    let mut folders = folders.iter().rev();
    folders.try_for_each(|folder| remove(&folder.from))
}
