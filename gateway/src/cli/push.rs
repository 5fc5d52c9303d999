//! `strait push`: files, or standard input, to a peer site.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, bail};

use super::Globals;
use super::transfer::{Meter, Options};
use crate::bulk::control::client::{Gateway, Moved, PushedFile};
use crate::bulk::location::Location;
use crate::bulk::printable;
use crate::bulk::read::Snapshot;
use crate::bulk::store::{FileMeta, Mtime, Trailer};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Files to send; `-` is standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<String>,
    /// Where to: SITE:PATH; with a slash at its end, a folder that keeps the files' names
    #[arg(value_name = "SITE:PATH")]
    to: Location,
    #[command(flatten)]
    options: Options,
}

pub(super) fn run(globals: &Globals, mut args: Args) -> anyhow::Result<()> {
    if args.files.len() > 1 {
        args.to.folder = true;
    }
    let gateway = args.options.gateway(globals);
    let mut failed = 0;
    for file in &args.files {
        if let Err(error) = push_one(&gateway, &args, file) {
            eprintln!("strait push: {}: {error:#}", printable(file));
            failed += 1;
        }
    }
    match failed {
        0 => Ok(()),
        _ => bail!("{failed} of {} not sent", args.files.len()),
    }
}

fn push_one(gateway: &Gateway, args: &Args, file: &str) -> anyhow::Result<()> {
    if file == "-" {
        let to = args
            .to
            .of_file(None)
            .context("standard input has no name: add one to the path")?;
        return send(
            gateway,
            args,
            &to,
            PushedFile::default(),
            io::stdin().lock(),
            "-",
            |_| Ok(()),
        );
    }
    let path = Path::new(file);
    let name = path.file_name().and_then(|name| name.to_str());
    let to = args.to.of_file(name)?;
    let opened = open_plain(path)?;
    let snapshot = Snapshot::of(&opened)?;
    let pushed = PushedFile {
        length: Some(snapshot.length()),
        meta: meta(&opened.metadata()?),
    };
    // One byte more than expected shows that it grows.
    let from = (&opened).take(snapshot.length().saturating_add(1));
    send(gateway, args, &to, pushed, from, file, |read| {
        snapshot.check(&opened, read)
    })
}

fn send(
    gateway: &Gateway,
    args: &Args,
    to: &Location,
    pushed: PushedFile,
    from: impl Read,
    name: &str,
    check: impl FnOnce(&Trailer) -> Result<(), crate::bulk::Failure>,
) -> anyhow::Result<()> {
    let mut meter = Meter::start(&args.options, name.to_owned(), to.to_string());
    meter.show(pushed.length);
    let progress = |so_far: crate::bulk::control::Progress| {
        meter.update(so_far.arrived_bytes, so_far.cost);
    };
    let moved: Moved = match gateway.push(to, pushed, from, check, progress) {
        Ok(moved) => moved,
        Err(error) => {
            meter.clear();
            return Err(anyhow::Error::new(error).context(to.to_string()));
        }
    };
    meter.finish(&moved);
    Ok(())
}

fn open_plain(path: &Path) -> anyhow::Result<File> {
    // Asked first: opening a pipe would wait for its other end.
    let meta = std::fs::metadata(path)?;
    if meta.is_dir() {
        bail!("a folder: name the files in it");
    }
    if !meta.is_file() {
        bail!("not a plain file: use `-` and redirect");
    }
    Ok(File::open(path)?)
}

fn meta(of: &std::fs::Metadata) -> FileMeta {
    FileMeta {
        mode: Some(of.mode() & 0o777),
        mtime: Some(Mtime {
            seconds: of.mtime(),
            nanos: u32::try_from(of.mtime_nsec()).unwrap_or(0),
        }),
    }
}
