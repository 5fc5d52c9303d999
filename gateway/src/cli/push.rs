//! `strait push`: files, folders, or standard input, to a peer site.

use std::io::{self, Read, Seek};
use std::path::PathBuf;

use anyhow::bail;

use super::Globals;
use super::display::{Display, Meter};
use super::local_tree::{self, Found, Item};
use super::transfer::{Brake, Braked, Options};
use crate::bulk::control::client::{ClientError, Gateway, Moved, PushedFile};
use crate::bulk::location::Location;
use crate::bulk::read::Snapshot;
use crate::bulk::store::FileMeta;
use crate::bulk::{Cost, Failure, printable};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Files and folders to send; `-` is standard input. A folder keeps its name, `DIR/` stands for what is in it
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Where to; with a slash at its end, or for several files, a folder that keeps their names
    #[arg(value_name = "SITE:PATH")]
    to: Location,
    /// Fail where another file has the name; the same file there is success
    #[arg(long)]
    no_replace: bool,
    #[command(flatten)]
    options: Options,
}

/// What all files of one push share.
struct Push {
    gateway: Gateway,
    brake: Brake,
    no_replace: bool,
}

pub(super) fn run(globals: &Globals, args: Args) -> anyhow::Result<()> {
    let Found {
        items,
        links,
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
        display.say(&format!(
            "skipped {}: not a plain file, or a link that leads out of its folder",
            printable(&path)
        ));
    }
    let push = Push {
        gateway: args.options.gateway(globals),
        brake: args.options.brake(),
        no_replace: args.no_replace,
    };
    let failed = args.options.for_each(&items, total_length(&items), |item| {
        let pushed = push.one(item, display.begin());
        if let Err(error) = &pushed {
            let local = item.local.display().to_string();
            display.say(&format!("strait push: {}: {error:#}", printable(&local)));
        }
        pushed.is_ok()
    });
    let not_linked = args.options.for_each(&links, None, |link| {
        let linked = push.gateway.link(&link.to, &link.target, link.mtime);
        if let Err(error) = &linked {
            let local = link.local.display().to_string();
            display.say(&format!("strait push: {}: {error:#}", printable(&local)));
        }
        linked.is_ok()
    });
    display.finish(&label(&items, &args.to));
    let all = items.len() + links.len() + errors.len();
    match failed + not_linked + errors.len() {
        0 => Ok(()),
        failed => bail!("push: {failed} of {all} not sent"),
    }
}

impl Push {
    fn one(&self, item: &Item, mut meter: Meter<'_>) -> anyhow::Result<()> {
        let moved = match self.there_already(item)? {
            Some(moved) => moved,
            None if item.is_standard_input() => self.standard_input(item, &mut meter)?,
            None => self.file(item, &mut meter)?,
        };
        meter.finish(
            &item.local.display().to_string(),
            &item.to.to_string(),
            &moved,
        )?;
        Ok(())
    }

    /// With `--no-replace`: an error if another file has the name, nothing if none has.
    fn there_already(&self, item: &Item) -> anyhow::Result<Option<Moved>> {
        if !self.no_replace {
            return Ok(None);
        }
        let far = match self.gateway.digest(&item.to) {
            Err(ClientError::Failed(Failure::NotFound)) => return Ok(None),
            far => far?,
        };
        if item.is_standard_input() {
            bail!("{} is there already", item.to);
        }
        let (file, _) = local_tree::open_plain(&item.local)?;
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(&file)?;
        let (length, digest) = (hasher.count(), hasher.finalize());
        if (far.length, far.digest) != (length, digest) {
            bail!("another file is there as {}", item.to);
        }
        Ok(Some(Moved {
            length,
            digest,
            cost: Cost::default().with_spared(length),
        }))
    }

    fn standard_input(&self, item: &Item, meter: &mut Meter<'_>) -> anyhow::Result<Moved> {
        let from = self.braked(io::stdin().lock());
        let (nothing, update) = (PushedFile::default(), |so_far| meter.update(so_far));
        Ok(self
            .gateway
            .push(&item.to, nothing, from, |_| Ok(()), update)?)
    }

    fn file(&self, item: &Item, meter: &mut Meter<'_>) -> anyhow::Result<Moved> {
        let (file, meta) = local_tree::open_plain(&item.local)?;
        let snapshot = Snapshot::of(&file)?;
        let mut push = |resume| {
            let pushed = PushedFile {
                length: Some(snapshot.length()),
                meta: FileMeta::of(&meta),
                resume,
            };
            // One byte more than expected shows that it grows.
            let from = self.braked((&file).take(snapshot.length().saturating_add(1)));
            let check = |read: &_| snapshot.check(&file, read);
            let update = |so_far| meter.update(so_far);
            self.gateway.push(&item.to, pushed, from, check, update)
        };
        match push(true) {
            Err(ClientError::NotResumed) => {
                (&file).rewind()?;
                Ok(push(false)?)
            }
            pushed => Ok(pushed?),
        }
    }

    fn braked<R: Read>(&self, from: R) -> Braked<'_, R> {
        let brake = &self.brake;
        Braked { from, brake }
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
