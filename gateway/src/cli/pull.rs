//! `strait pull`: a peer's file to here.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use super::Globals;
use super::local_file::{self, LocalFile};
use super::transfer::{Meter, Options};
use crate::bulk::Cost;
use crate::bulk::control::client::{Moved, Sink};
use crate::bulk::location::Location;
use crate::bulk::store::FileMeta;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Which file: SITE:PATH
    #[arg(value_name = "SITE:PATH")]
    from: Location,
    /// Where to, a file or a folder; `-` is standard output
    #[arg(value_name = "FILE")]
    to: PathBuf,
    #[command(flatten)]
    options: Options,
}

pub(super) fn run(globals: &Globals, args: Args) -> anyhow::Result<()> {
    let failing = || format!("strait pull {}", args.from);
    pull(globals, &args).with_context(failing)
}

fn pull(globals: &Globals, args: &Args) -> anyhow::Result<()> {
    let (_, name) = args.from.path.split_last()?;
    if args.from.folder {
        bail!("that names a folder: name a file in it");
    }
    let gateway = args.options.gateway(globals);
    let standard_output = args.to == Path::new("-");
    if standard_output && args.options.json {
        bail!("--json and the file would mix on standard output: name a FILE");
    }
    let target = match standard_output {
        true => args.to.clone(),
        false => local_file::resolve(&args.to, name)?,
    };
    let file = match standard_output {
        true => None,
        false => Some(LocalFile::create(&target)?),
    };
    let meter = Meter::start(
        &args.options,
        args.from.to_string(),
        target.display().to_string(),
    );
    let mut output = Output {
        file,
        meter,
        meta: FileMeta::default(),
        received_bytes: 0,
    };
    match gateway.pull(&args.from, &mut output) {
        Ok(moved) => output.commit(&moved),
        Err(error) => {
            output.meter.clear();
            Err(error.into())
        }
    }
}

/// Where the bytes go, and what shows how many.
struct Output {
    /// Standard output, if none.
    file: Option<LocalFile>,
    meter: Meter,
    meta: FileMeta,
    received_bytes: u64,
}

impl Sink for Output {
    fn begin(&mut self, length: u64, meta: FileMeta) -> io::Result<()> {
        self.meta = meta;
        self.meter.show(Some(length));
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.file {
            Some(file) => file.write(bytes)?,
            None => io::stdout().write_all(bytes)?,
        }
        self.received_bytes += bytes.len() as u64;
        self.meter.update(self.received_bytes, Cost::default());
        Ok(())
    }
}

impl Output {
    fn commit(self, moved: &Moved) -> anyhow::Result<()> {
        match self.file {
            Some(file) => file.commit(self.meta)?,
            None => io::stdout().flush()?,
        }
        self.meter.finish(moved);
        Ok(())
    }
}
