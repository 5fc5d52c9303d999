//! The command's side of the control socket. Blocks.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use strait_transport::SiteName;

use super::frame::Frame;
use super::line::{Line, SILENCE_MAX};
use super::protocol::{self, Begin, Ending, Progress, Reply, Sum, What};
use crate::bulk::failure::{Failure, printable};
use crate::bulk::limit::Limit;
use crate::bulk::location::Location;
use crate::bulk::message::Cost;
use crate::bulk::path::{LinkTarget, SitePath};
use crate::bulk::read::BatchReader;
use crate::bulk::store::{FileMeta, Mtime, Page, Standing, Trailer};
use crate::datadir::{Layout, is_held};

/// The gateway of a data directory, as a command sees it.
#[derive(Clone, Debug)]
pub struct Gateway {
    pub(super) socket: PathBuf,
    pub(super) wait: Duration,
    limit: Option<Limit>,
    pub(super) silence_max: Duration,
}

/// A file to be pushed.
#[derive(Clone, Copy, Debug, Default)]
pub struct PushedFile {
    /// If it is known beforehand.
    pub length: Option<u64>,
    pub meta: FileMeta,
    /// Go on with what an earlier push of this file left at the peer.
    pub resume: bool,
    /// Fail where another file has the name; the same bytes there are success.
    pub no_replace: bool,
}

/// A symbolic link to be made.
#[derive(Clone, Copy, Debug)]
pub struct NewLink<'a> {
    pub target: &'a LinkTarget,
    pub mtime: Option<Mtime>,
    /// Fail where something else has the name.
    pub no_replace: bool,
}

/// What was moved.
#[derive(Clone, Copy, Debug)]
pub struct Moved {
    pub length: u64,
    pub digest: blake3::Hash,
    pub cost: Cost,
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error(
        "no gateway runs on this data directory ({}): start it with `strait run`, or name \
         another directory with --data",
        socket.display()
    )]
    NotRunning { socket: PathBuf },
    #[error(
        "the gateway of this data directory ({}) is starting, or about to stop: run the same command \
         again in a moment; if it stays so, the socket could not be made: see the gateway's log",
        socket.display()
    )]
    NotServing { socket: PathBuf },
    #[error("the gateway does not answer within {} s: it hangs, or was paused", .0.as_secs())]
    Silent(Duration),
    #[error("{}", printable(.0))]
    Refused(String),
    #[error("cannot reach the gateway at {}: {source}", socket.display())]
    Connect { socket: PathBuf, source: io::Error },
    #[error(
        "the gateway stopped in the middle: start it and run the same command again, what has \
         crossed already costs next to nothing"
    )]
    Stopped,
    #[error("{}", explain(.0))]
    Failed(Failure),
    #[error("what the peer has kept of an earlier push is another file's")]
    NotResumed,
    #[error("reading: {0}")]
    Read(io::Error),
    #[error("writing: {0}")]
    Write(io::Error),
}

fn explain(failure: &Failure) -> String {
    match failure.remedy() {
        Some(remedy) => format!("{failure}; {remedy}"),
        None => failure.to_string(),
    }
}

/// Where a pulled file goes.
pub trait Sink {
    /// First: its length and what else is known of it.
    fn begin(&mut self, length: u64, meta: FileMeta) -> io::Result<()>;
    /// Then its bytes, piece by piece.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;
}

impl Gateway {
    /// `wait` is how long to wait for a link that is down.
    pub fn new(socket: &Path, wait: Duration) -> Self {
        Self {
            socket: socket.to_owned(),
            wait,
            limit: None,
            silence_max: SILENCE_MAX,
        }
    }

    /// The same gateway, with another wait for a link that is down.
    pub fn with_wait(self, wait: Duration) -> Self {
        Self { wait, ..self }
    }

    /// The same gateway, which moves files within a limit that they share.
    pub fn with_limit(self, limit: Option<Limit>) -> Self {
        Self { limit, ..self }
    }

    /// The same gateway, which is asked after so long whether it is there.
    #[cfg(test)]
    pub(in crate::bulk) fn with_silence(self, silence_max: Duration) -> Self {
        Self {
            silence_max,
            ..self
        }
    }

    /// Sends what `from` gives, up to its end. `check` has the last word on what was
    /// read before the peer keeps it. `progress` is called now and then, from another thread.
    ///
    /// [`ClientError::NotResumed`] if what the peer has kept is not how `from` begins:
    /// read anew, and push without `resume`.
    pub fn push(
        &self,
        to: &Location,
        file: PushedFile,
        from: impl Read,
        check: impl FnOnce(&Trailer) -> Result<(), Failure>,
        mut progress: impl FnMut(Progress) + Send,
    ) -> Result<Moved, ClientError> {
        let PushedFile {
            length,
            meta,
            resume,
            no_replace,
        } = file;
        let line = self.ask(
            to,
            What::Push {
                length,
                meta,
                resume,
                no_replace,
                limit: self.limit,
            },
        )?;
        let reply = line.receive()?;
        let Reply::Ready { kept } = reply else {
            return Err(unexpected(reply));
        };
        let mut reader = BatchReader::new(from);
        let offset = begin(&line, &mut reader, kept.as_ref().and_then(Sum::trailer))?;
        // What was sent before counts as arrived, and as spared.
        let with_offset = |so_far: Progress| Progress {
            arrived_bytes: so_far.arrived_bytes + offset,
            cost: so_far.cost.with_spared(offset),
        };
        let (sent, cost) = std::thread::scope(|scope| {
            let replies = scope.spawn(|| follow(&line, |so_far| progress(with_offset(so_far))));
            let sent = send_file(&line, reader, check);
            (sent, replies.join())
        });
        let cost = cost.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        match sent {
            Ok(trailer) => Ok(Moved {
                length: trailer.length,
                digest: trailer.digest,
                cost: cost?.with_spared(offset),
            }),
            // The gateway hung up, and has said why.
            Err(ClientError::Stopped) => Err(cost.err().unwrap_or(ClientError::Stopped)),
            Err(local) => Err(local),
        }
    }

    /// Fetches a file into `sink`; the digest is checked, the caller keeps the
    /// bytes only if this succeeds.
    pub fn pull(&self, from: &Location, sink: &mut impl Sink) -> Result<Moved, ClientError> {
        let line = self.ask(from, What::Pull { limit: self.limit })?;
        let reply = line.receive()?;
        let Reply::File { length, meta } = reply else {
            return Err(unexpected(reply));
        };
        sink.begin(length, meta).map_err(ClientError::Write)?;
        let (mut hasher, mut received) = (blake3::Hasher::new(), 0u64);
        let last = loop {
            match line.read()? {
                Frame::Data(bytes) => {
                    hasher.update(&bytes);
                    received += bytes.len() as u64;
                    sink.write(&bytes).map_err(ClientError::Write)?;
                }
                message @ Frame::Message(_) => {
                    break protocol::decode(&message).ok_or_else(incomprehensible)?;
                }
            }
        };
        let Reply::Whole { sum, cost } = last else {
            return Err(unexpected(last));
        };
        let trailer = sum.trailer().ok_or_else(incomprehensible)?;
        let length = check_pulled(&trailer, received, hasher.finalize())?;
        let digest = trailer.digest;
        Ok(Moved {
            length,
            digest,
            cost,
        })
    }

    /// A page of a listing, after the name `after`.
    pub fn list(&self, folder: &Location, after: &str) -> Result<Page, ClientError> {
        let after = after.to_owned();
        let reply = self.ask(folder, What::List { after })?.receive()?;
        let Reply::Listed(page) = reply else {
            return Err(unexpected(reply));
        };
        Ok(page)
    }

    /// Removes a file.
    pub fn remove(&self, file: &Location) -> Result<(), ClientError> {
        let reply = self.ask(file, What::Remove)?.receive()?;
        let Reply::Removed = reply else {
            return Err(unexpected(reply));
        };
        Ok(())
    }

    /// What stands under each of these paths at `site`; at most
    /// [`PATHS_MAX`](crate::bulk::describe::PATHS_MAX) of them. Names and targets of links are as
    /// the peer says: they have yet to be checked.
    pub fn describe(
        &self,
        site: &SiteName,
        paths: impl IntoIterator<Item = SitePath>,
        digests: bool,
    ) -> Result<Vec<Result<Standing, Failure>>, ClientError> {
        let paths: Vec<_> = paths.into_iter().map(String::from).collect();
        let (count, place) = (paths.len(), Location::root_of(site));
        let reply = self
            .ask(&place, What::Describe { paths, digests })?
            .receive()?;
        let Reply::Described(described) = reply else {
            return Err(unexpected(reply));
        };
        match described.len() == count {
            true => Ok(described),
            false => Err(incomprehensible()),
        }
    }

    /// Makes a symbolic link.
    pub fn link(&self, at: &Location, link: NewLink<'_>) -> Result<(), ClientError> {
        let what = What::Link {
            target: link.target.as_str().to_owned(),
            mtime: link.mtime,
            no_replace: link.no_replace,
        };
        let reply = self.ask(at, what)?.receive()?;
        let Reply::Linked = reply else {
            return Err(unexpected(reply));
        };
        Ok(())
    }

    /// Makes folders at `site` where they are missing, and gives them mode and time; at most
    /// [`PATHS_MAX`](crate::bulk::describe::PATHS_MAX) of them.
    pub fn make_folders(
        &self,
        site: &SiteName,
        folders: Vec<(SitePath, FileMeta)>,
    ) -> Result<Vec<Result<(), Failure>>, ClientError> {
        let named = |(path, meta): (SitePath, _)| (String::from(path), meta);
        let folders: Vec<_> = folders.into_iter().map(named).collect();
        let (count, place) = (folders.len(), Location::root_of(site));
        let reply = self.ask(&place, What::MakeFolders { folders })?.receive()?;
        let Reply::FoldersMade(made) = reply else {
            return Err(unexpected(reply));
        };
        match made.len() == count {
            true => Ok(made),
            false => Err(incomprehensible()),
        }
    }

    /// Mode and time of these folders at `site`; at most as many.
    pub fn folders(
        &self,
        site: &SiteName,
        paths: impl IntoIterator<Item = SitePath>,
    ) -> Result<Vec<Result<FileMeta, Failure>>, ClientError> {
        let paths: Vec<_> = paths.into_iter().map(String::from).collect();
        let (count, place) = (paths.len(), Location::root_of(site));
        let reply = self.ask(&place, What::Folders { paths })?.receive()?;
        let Reply::Folders(folders) = reply else {
            return Err(unexpected(reply));
        };
        match folders.len() == count {
            true => Ok(folders),
            false => Err(incomprehensible()),
        }
    }

    fn ask(&self, place: &Location, what: What) -> Result<Line, ClientError> {
        self.line(place.site.to_string(), place.path.to_string(), what)
    }

    pub(super) fn unreachable(&self, source: io::Error) -> ClientError {
        let socket = self.socket.clone();
        let absent = [io::ErrorKind::NotFound, io::ErrorKind::ConnectionRefused];
        if !absent.contains(&source.kind()) {
            return ClientError::Connect { socket, source };
        }
        match socket.parent().is_some_and(|dir| is_held(&Layout::at(dir))) {
            true => ClientError::NotServing { socket },
            false => ClientError::NotRunning { socket },
        }
    }
}

/// Skips what the peer has kept, if it is what `reader` gives, and says where it goes on.
fn begin(
    line: &Line,
    reader: &mut BatchReader<impl Read>,
    kept: Option<Trailer>,
) -> Result<u64, ClientError> {
    if let Some(kept) = kept {
        let skipped = reader.skip(kept.length).map_err(ClientError::Read)?;
        if (skipped.length, skipped.digest) != (kept.length, kept.digest) {
            return Err(ClientError::NotResumed);
        }
    }
    let offset = reader.length();
    line.send(&Begin { offset })?;
    Ok(offset)
}

fn send_file(
    line: &Line,
    mut reader: BatchReader<impl Read>,
    check: impl FnOnce(&Trailer) -> Result<(), Failure>,
) -> Result<Trailer, ClientError> {
    let read = loop {
        match reader.next_batch() {
            Ok(Some(batch)) => line.write(&Frame::Data(batch))?,
            Ok(None) => {
                let trailer = reader.trailer();
                break check(&trailer)
                    .map(|()| trailer)
                    .map_err(ClientError::Failed);
            }
            Err(error) => break Err(ClientError::Read(error)),
        }
    };
    let ending = match &read {
        Ok(trailer) => Ending::Whole((*trailer).into()),
        Err(error) => Ending::Aborted(error.to_string()),
    };
    line.send(&ending)?;
    read
}

/// Reads replies until the one that says how it ended.
fn follow(line: &Line, mut progress: impl FnMut(Progress)) -> Result<Cost, ClientError> {
    loop {
        let reply = line.receive()?;
        if let Reply::Progress(so_far) = reply {
            progress(so_far);
        } else if let Reply::Done { cost } = reply {
            return Ok(cost);
        } else {
            return Err(unexpected(reply));
        }
    }
}

fn check_pulled(
    trailer: &Trailer,
    received: u64,
    digest: blake3::Hash,
) -> Result<u64, ClientError> {
    if received != trailer.length {
        let declared = trailer.length;
        return Err(ClientError::Failed(Failure::LengthDiffers {
            declared,
            received,
        }));
    }
    if digest != trailer.digest {
        return Err(ClientError::Failed(Failure::DigestDiffers));
    }
    Ok(received)
}

pub(super) fn unexpected(reply: Reply) -> ClientError {
    match reply {
        Reply::Failed(failure) => ClientError::Failed(failure),
        Reply::Refused(reason) => ClientError::Refused(reason),
        Reply::Told
        | Reply::Speak
        | Reply::Ready { .. }
        | Reply::Progress(_)
        | Reply::Done { .. }
        | Reply::File { .. }
        | Reply::Whole { .. }
        | Reply::Listed(_)
        | Reply::Removed
        | Reply::Linked
        | Reply::FoldersMade(_)
        | Reply::Folders(_)
        | Reply::Described(_) => incomprehensible(),
    }
}

pub(super) fn incomprehensible() -> ClientError {
    let what = "the gateway's answer was not understood: use the same release of strait for both";
    ClientError::Failed(Failure::Protocol(what.to_owned()))
}
