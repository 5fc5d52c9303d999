//! `strait push`: files, folders, or standard input, to a peer site.

use std::io::{self, Read, Seek};
use std::path::PathBuf;

use anyhow::bail;

use super::Globals;
use super::display::{Display, Meter};
use super::far_look::{self, Looked};
use super::folders;
use super::local_tree::{self, Found, Item, Link};
use super::output::explain;
use super::transfer::Options;
use crate::bulk::control::client::{ClientError, Gateway, Moved, NewLink, PushedFile};
use crate::bulk::location::Location;
use crate::bulk::read::Snapshot;
use crate::bulk::store::{FileMeta, Standing};
use crate::bulk::{Failure, printable};

/// A single shorter file is sent, by reference if it is there: asking first would take as long.
const ASKED_BYTES_MIN: u64 = 64 << 20;

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
    /// Compare files with those that are there by their BLAKE3 digests too, and not by length, time and mode alone
    #[arg(long)]
    checksum: bool,
    #[command(flatten)]
    options: Options,
}

/// What all files of one push share.
struct Push {
    gateway: Gateway,
    no_replace: bool,
    checksum: bool,
}

/// Whether a file need not be sent.
enum There {
    No,
    /// So long; its digest, if it was compared.
    Already(u64, Option<blake3::Hash>),
}

pub(super) fn run(globals: &Globals, args: Args) -> anyhow::Result<()> {
    let Found {
        items,
        links,
        folders,
        errors,
        skipped,
    } = local_tree::expand(&args.files, &args.to);
    let display = Display::new(&args.options, items.len(), total_length(&items));
    for error in &errors {
        display.say(&format!("strait push: {}", printable(&explain(error))));
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
        no_replace: args.no_replace,
        checksum: args.checksum,
    };
    let far = push.look(&args.options, &items, &links)?;
    let (far_items, far_links) = far.split_at(items.len());
    let items_there: Vec<_> = items.iter().zip(far_items).collect();
    let failed = args
        .options
        .for_each(&items_there, total_length(&items), |(item, far)| {
            let pushed = push.one(item, far, display.begin());
            if let Err(error) = &pushed {
                let local = item.local.display().to_string();
                let told = explain(error);
                display.say(&format!("strait push: {}: {told}", printable(&local)));
            }
            pushed.is_ok()
        });
    let links_there: Vec<_> = links.iter().zip(far_links).collect();
    let not_linked = args.options.for_each(&links_there, None, |(link, far)| {
        let linked = push.link(link, far);
        if let Err(error) = &linked {
            let local = link.local.display().to_string();
            display.say(&format!("strait push: {}: {error}", printable(&local)));
        }
        linked.is_ok()
    });
    let not_made = folders::push(&push.gateway, &folders, !args.no_replace, &display);
    display.finish(|files| label(files, &items, &args.to));
    let all = items.len() + links.len() + not_made + errors.len();
    match failed + not_linked + not_made + errors.len() {
        0 => Ok(()),
        failed => bail!("push: {failed} of {all} not sent"),
    }
}

impl Push {
    /// What is there; of each item and then of each link, `None` if it was not worth asking.
    fn look(
        &self,
        options: &Options,
        items: &[Item],
        links: &[Link],
    ) -> Result<Vec<Option<Looked>>, ClientError> {
        let places = items.iter().map(Item::place);
        let places: Vec<_> = places.chain(links.iter().map(Link::place)).collect();
        let digests = self.checksum || self.no_replace;
        if let [place] = places[..]
            && !digests
            && place.length < ASKED_BYTES_MIN
        {
            return Ok(vec![None]);
        }
        let looked = far_look::look(&self.gateway, options, &places, digests)?;
        Ok(looked.into_iter().map(Some).collect())
    }

    fn one(&self, item: &Item, far: &Option<Looked>, mut meter: Meter<'_>) -> anyhow::Result<()> {
        let (from, to) = (item.local.display().to_string(), item.to.to_string());
        let there = match far {
            Some(far) => self.there_already(item, far)?,
            None => There::No,
        };
        if let There::Already(length, digest) = there {
            return Ok(meter.finish_unchanged(&from, &to, length, digest)?);
        }
        let moved = match item.is_standard_input() {
            true => self.standard_input(item, &mut meter)?,
            false => self.file(item, &mut meter)?,
        };
        Ok(meter.finish(&from, &to, &moved)?)
    }

    /// Whether what a push would leave is there.
    fn there_already(&self, item: &Item, far: &Looked) -> anyhow::Result<There> {
        if self.no_replace {
            return not_replaced(item, far);
        }
        let Ok(Standing::File { length, meta, .. }) = far else {
            // What cannot be replaced says so when it is tried.
            return Ok(There::No);
        };
        if (Some(*length), *meta) != (item.length, item.meta) {
            return Ok(There::No);
        }
        match self.checksum {
            true => same_bytes(item, far),
            false => Ok(There::Already(*length, None)),
        }
    }

    fn link(&self, link: &Link, far: &Option<Looked>) -> Result<(), ClientError> {
        match far {
            Some(Ok(Standing::Link { target })) if target == link.target.as_str() => Ok(()),
            Some(Ok(_)) if self.no_replace => Err(ClientError::Failed(Failure::Exists)),
            Some(_) | None => {
                let new = NewLink {
                    target: &link.target,
                    mtime: link.mtime,
                    no_replace: self.no_replace,
                };
                self.gateway.link(&link.to, new)
            }
        }
    }

    fn standard_input(&self, item: &Item, meter: &mut Meter<'_>) -> anyhow::Result<Moved> {
        let from = io::stdin().lock();
        let update = |so_far| meter.update(so_far);
        let pushed = PushedFile {
            no_replace: self.no_replace,
            ..PushedFile::default()
        };
        Ok(self
            .gateway
            .push(&item.to, pushed, from, |_| Ok(()), update)?)
    }

    fn file(&self, item: &Item, meter: &mut Meter<'_>) -> anyhow::Result<Moved> {
        let (file, meta) = local_tree::open_plain(&item.local)?;
        let snapshot = Snapshot::of(&file)?;
        let mut push = |resume| {
            let pushed = PushedFile {
                length: Some(snapshot.length()),
                meta: FileMeta::of_opened(&meta, &file),
                resume,
                no_replace: self.no_replace,
            };
            // One byte more than expected shows that it grows.
            let from = (&file).take(snapshot.length().saturating_add(1));
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
}

/// With `--no-replace`: an error if another file has the name. Mode and time do not count.
fn not_replaced(item: &Item, far: &Looked) -> anyhow::Result<There> {
    match far {
        Err(Failure::NotFound) => return Ok(There::No),
        Err(failure) => return Err(ClientError::Failed(failure.clone()).into()),
        Ok(_) if item.is_standard_input() => bail!("{} is there already", item.to),
        Ok(_) => {}
    }
    match same_bytes(item, far)? {
        There::No => bail!("another file is there as {}", item.to),
        already @ There::Already(..) => Ok(already),
    }
}

fn same_bytes(item: &Item, far: &Looked) -> anyhow::Result<There> {
    let Ok(Standing::File {
        length,
        digest: Some(digest),
        ..
    }) = far
    else {
        return Ok(There::No);
    };
    let (length_here, digest_here) = local_tree::digest(&item.local)?;
    Ok(
        match (length_here, digest_here.as_bytes()) == (*length, digest) {
            true => There::Already(length_here, Some(digest_here)),
            false => There::No,
        },
    )
}

/// `None` if one of them does not tell.
fn total_length(items: &[Item]) -> Option<u64> {
    items.iter().map(|item| item.length).sum()
}

fn label(files: &str, items: &[Item], to: &Location) -> String {
    match items {
        [item] => format!("{} -> {}", item.local.display(), item.to),
        _ => format!("{files} -> {to}"),
    }
}
