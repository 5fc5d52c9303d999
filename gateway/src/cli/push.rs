//! `strait push`: files, folders, or standard input, to a peer site.

use std::io::{self, Read, Seek};
use std::path::PathBuf;

use anyhow::bail;

use super::Globals;
use super::display::{Display, Meter};
use super::local_tree::{self, Found, Item};
use super::transfer::Options;
use crate::bulk::control::client::{ClientError, Gateway, Moved, PushedFile};
use crate::bulk::location::Location;
use crate::bulk::printable;
use crate::bulk::read::Snapshot;
use crate::bulk::store::FileMeta;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Files and folders to send; `-` is standard input. A folder keeps its name, `DIR/` stands for what is in it
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Where to; with a slash at its end, or for several files, a folder that keeps their names
    #[arg(value_name = "SITE:PATH")]
    to: Location,
    #[command(flatten)]
    options: Options,
}

pub(super) fn run(globals: &Globals, args: Args) -> anyhow::Result<()> {
    let Found {
        items,
        errors,
        skipped,
    } = local_tree::expand(&args.files, &args.to);
    let display = Display::new(&args.options, items.len(), total_length(&items));
    for error in &errors {
        display.say(&format!(
            "strait push: {}",
            printable(&format!("{error:#}"))
        ));
    }
    for path in &skipped {
        let path = path.display().to_string();
        display.say(&format!("skipped {}: not a plain file", printable(&path)));
    }
    let gateway = args.options.gateway(globals);
    let failed = args.options.for_each(&items, |item| {
        let pushed = push(&gateway, item, display.begin());
        if let Err(error) = &pushed {
            let local = item.local.display().to_string();
            display.say(&format!("strait push: {}: {error:#}", printable(&local)));
        }
        pushed.is_ok()
    });
    display.finish(&label(&items, &args.to));
    match failed + errors.len() {
        0 => Ok(()),
        failed => bail!("push: {failed} of {} not sent", items.len() + errors.len()),
    }
}

fn push(gateway: &Gateway, item: &Item, mut meter: Meter<'_>) -> anyhow::Result<()> {
    let moved = if item.is_standard_input() {
        let (nothing, from) = (PushedFile::default(), io::stdin().lock());
        gateway.push(
            &item.to,
            nothing,
            from,
            |_| Ok(()),
            |so_far| meter.update(so_far),
        )?
    } else {
        push_file(gateway, item, &mut meter)?
    };
    meter.finish(
        &item.local.display().to_string(),
        &item.to.to_string(),
        &moved,
    )?;
    Ok(())
}

fn push_file(gateway: &Gateway, item: &Item, meter: &mut Meter<'_>) -> anyhow::Result<Moved> {
    let (file, meta) = local_tree::open_plain(&item.local)?;
    let snapshot = Snapshot::of(&file)?;
    let mut push = |resume| {
        let pushed = PushedFile {
            length: Some(snapshot.length()),
            meta: FileMeta::of(&meta),
            resume,
        };
        // One byte more than expected shows that it grows.
        let from = (&file).take(snapshot.length().saturating_add(1));
        let check = |read: &_| snapshot.check(&file, read);
        gateway.push(&item.to, pushed, from, check, |so_far| meter.update(so_far))
    };
    match push(true) {
        Err(ClientError::NotResumed) => {
            (&file).rewind()?;
            Ok(push(false)?)
        }
        pushed => Ok(pushed?),
    }
}

/// `None` if one of them does not tell.
fn total_length(items: &[Item]) -> Option<u64> {
    items.iter().map(|item| item.length).sum()
}

fn label(items: &[Item], to: &Location) -> String {
    match items {
        [item] => format!("{} -> {}", item.local.display(), item.to),
        items => format!("{} files -> {to}", items.len()),
    }
}
