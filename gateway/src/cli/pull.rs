//! `strait pull`: a peer's file, or a folder with all that is in it, to here.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use super::Globals;
use super::display::{Display, Meter};
use super::far_look::{self, Looked, Place};
use super::far_tree::{self, FarFile, FarTree};
use super::folders;
use super::local_file::{self, LocalFile};
use super::output::{explain, stdout};
use super::transfer::Options;
use crate::bulk::control::Progress;
use crate::bulk::control::client::{ClientError, Gateway, Sink};
use crate::bulk::location::Location;
use crate::bulk::path::LinkTarget;
use crate::bulk::store::{FileMeta, Standing};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Which file; with a slash at its end, all files of a folder. The last name may be a pattern, as in west:dumps/*.sql
    #[arg(value_name = "SITE:PATH")]
    from: Location,
    /// Where to, a file or a folder; `-` is standard output
    #[arg(value_name = "FILE")]
    to: PathBuf,
    #[command(flatten)]
    options: Options,
}

pub(super) fn run(globals: &Globals, args: Args) -> anyhow::Result<()> {
    let gateway = args.options.gateway(globals);
    let failing = || format!("pull {}", args.from);
    let many = args.from.folder || far_tree::is_pattern(&args.from);
    match (many, args.to == Path::new("-")) {
        (true, true) => bail!("many files cannot go to standard output: name one"),
        (true, false) => pull_folder(&gateway, &args),
        (false, true) if args.options.json => {
            bail!("--json and the file would mix on standard output: name a FILE")
        }
        (false, standard_output) => {
            pull_one(&gateway, &args, standard_output).with_context(failing)
        }
    }
}

fn pull_one(gateway: &Gateway, args: &Args, standard_output: bool) -> anyhow::Result<()> {
    let (_, name) = args.from.path.split_last()?;
    let target = match standard_output {
        true => args.to.clone(),
        false => local_file::resolve(&args.to, name)?,
    };
    let display = Display::new(&args.options, 1, None);
    let file = match standard_output {
        true => None,
        false => Some(LocalFile::create(&target)?),
    };
    let output = Output::new(file, &display);
    pull(gateway, &args.from, &target, output)?;
    display.finish(|_| format!("{} -> {}", args.from, target.display()));
    Ok(())
}

fn pull_folder(gateway: &Gateway, args: &Args) -> anyhow::Result<()> {
    let had_root = args.to.exists();
    let tree = match far_tree::is_pattern(&args.from) {
        true => FarTree::matching(gateway, &args.from, &args.to)?,
        false => FarTree::of(gateway, &args.from, &args.to)?,
    };
    let (files, links, skipped, unspeakable) =
        (tree.files, tree.links, tree.skipped, tree.unspeakable);
    let length = files.iter().map(|file| file.length).sum();
    let display = Display::new(&args.options, files.len(), Some(length));
    if skipped > 0 {
        display.say(&format!(
            "skipped {skipped} at {}: not plain files",
            args.from
        ));
    }
    if unspeakable > 0 {
        display.say(&format!(
            "strait pull: {unspeakable} at {} have names that cannot be asked for (not UTF-8, or \
             control characters)",
            args.from
        ));
    }
    let failed = args.options.for_each(&files, Some(length), |file| {
        let pulled = pull_far_file(gateway, file, &args.to, &display);
        if let Err(error) = &pulled {
            display.say(&format!("strait pull: {}: {}", file.from, explain(error)));
        }
        pulled.is_ok()
    });
    // Last: nothing that is pulled now is written through them.
    let places = links.iter().map(|link| Place {
        at: &link.from,
        length: 0,
    });
    let places: Vec<_> = places.collect();
    let targets = far_look::look(gateway, &args.options, &places, false)?;
    let links: Vec<_> = links.iter().zip(targets).collect();
    let not_linked = args.options.for_each(&links, None, |(link, far)| {
        let linked = pull_link(link, far, &args.to);
        if let Err(error) = &linked {
            display.say(&format!("strait pull: {}: {}", link.from, explain(error)));
        }
        linked.is_ok()
    });
    let not_made = folders::pull(gateway, &tree.folders, (&args.to, had_root), &display);
    display.finish(|files| format!("{files} of {} -> {}", args.from, args.to.display()));
    let all = files.len() + links.len() + not_made + unspeakable;
    match failed + not_linked + not_made + unspeakable {
        0 => Ok(()),
        failed => bail!("pull: {failed} of {all} not fetched"),
    }
}

fn pull_far_file(
    gateway: &Gateway,
    file: &FarFile,
    root: &Path,
    display: &Display,
) -> anyhow::Result<()> {
    local_file::make_folder_of(&file.local, root)?;
    if file.local.is_dir() {
        bail!("a folder has its name here");
    }
    let output = Output::new(Some(LocalFile::create(&file.local)?), display);
    pull(gateway, &file.from, &file.local, output)
}

/// Makes the same link here, if it leads to a place below `root`.
fn pull_link(link: &FarFile, far: &Looked, root: &Path) -> anyhow::Result<()> {
    let target = match far {
        Ok(Standing::Link { target }) => target,
        Ok(Standing::File { .. }) => bail!("it was a link, and is a file now"),
        Err(failure) => return Err(ClientError::Failed(failure.clone()).into()),
    };
    local_file::make_folder_of(&link.local, root)?;
    let folders = link.local.strip_prefix(root)?.parent();
    let depth = folders.map_or(0, |folders| folders.components().count());
    local_file::link(&link.local, &LinkTarget::within(target, depth)?)
}

fn pull(
    gateway: &Gateway,
    from: &Location,
    target: &Path,
    mut output: Output<'_>,
) -> anyhow::Result<()> {
    let moved = gateway.pull(from, &mut output)?;
    match output.file {
        Some(file) => file.commit(output.meta)?,
        // Nobody has seen enough of a file before its end.
        None => stdout().flush().map_err(ClientError::Write)?,
    }
    output
        .meter
        .finish(&from.to_string(), &target.display().to_string(), &moved)?;
    Ok(())
}

/// Where the bytes go, and what shows how many.
struct Output<'a> {
    /// Standard output, if none.
    file: Option<LocalFile>,
    meter: Meter<'a>,
    meta: FileMeta,
    so_far: Progress,
}

impl<'a> Output<'a> {
    fn new(file: Option<LocalFile>, display: &'a Display) -> Self {
        Self {
            file,
            meter: display.begin(),
            meta: FileMeta::default(),
            so_far: Progress::default(),
        }
    }
}

impl Sink for Output<'_> {
    fn begin(&mut self, length: u64, meta: FileMeta) -> io::Result<()> {
        self.meta = meta;
        self.meter.expect(length);
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.file {
            Some(file) => file.write(bytes)?,
            None => stdout().write_all(bytes)?,
        }
        self.so_far.arrived_bytes += bytes.len() as u64;
        self.meter.update(self.so_far);
        Ok(())
    }
}
