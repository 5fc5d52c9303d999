//! Folders that are watched: what appears there and stops changing goes to a peer.
//!
//! A folder is looked through every few seconds. Notifications of the kernel would come
//! sooner, but not from network file systems, and not when there are too many at once, so
//! they could only be added to this.

use std::collections::HashMap;
use std::fs::{DirEntry, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use super::control::client::{ClientError, Gateway, PushedFile};
use super::failure::{Failure, printable};
use super::figures::{SyncCounters, SyncFigures};
use super::location::Location;
use super::path::{LinkTarget, PATH_DEPTH_MAX};
use super::read::Snapshot;
use super::store::{EntryKind, FileMeta, Mtime};

/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Files of one folder on their way at a time.
const JOBS: usize = 8;
/// How long a file waits for a link that is down until it is tried anew.
const WAIT: Duration = Duration::from_secs(60);
/// Files in one folder and below it; more are left alone, with a line in the log.
const FILES_MAX: usize = 1_000_000;

/// One `[[sync]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncSettings {
    /// Absolute.
    pub dir: PathBuf,
    /// The folder it becomes.
    pub to: Location,
    /// A file that has not changed for this long is whole.
    pub settle: Duration,
    /// Files that are safe at the peer are removed here.
    pub remove: bool,
}

/// Threads that watch folders. They end when this is dropped.
#[derive(Debug)]
pub struct Syncs {
    threads: Vec<JoinHandle<()>>,
    stop: Vec<mpsc::Sender<()>>,
}

impl Syncs {
    /// Starts a thread for each folder. `socket` is the gateway's own.
    pub fn start(
        settings: &[SyncSettings],
        figures: &SyncFigures,
        socket: &Path,
    ) -> io::Result<Self> {
        let mut syncs = Self {
            threads: Vec::new(),
            stop: Vec::new(),
        };
        for (settings, counters) in settings.iter().zip(figures.counters()) {
            let sync = Sync {
                settings: settings.clone(),
                counters,
                gateway: Gateway::new(socket, WAIT),
                shipped: HashMap::new(),
                failed: HashMap::new(),
            };
            let (stop, stopped) = mpsc::channel();
            let thread = std::thread::Builder::new().name("sync".to_owned());
            syncs
                .threads
                .push(thread.spawn(move || sync.run(&stopped))?);
            syncs.stop.push(stop);
        }
        Ok(syncs)
    }
}

impl Drop for Syncs {
    fn drop(&mut self) {
        self.stop.clear();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread that watches a folder broke down");
            }
        }
    }
}

/// What tells one state of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct State {
    mtime: (i64, i64),
    length: u64,
}

impl State {
    /// As listings say it: a link has no length.
    fn of(meta: &Metadata) -> Self {
        Self {
            mtime: (meta.mtime(), meta.mtime_nsec()),
            length: if meta.is_symlink() { 0 } else { meta.len() },
        }
    }
}

#[derive(Clone, Debug)]
struct Found {
    path: PathBuf,
    to: Location,
    state: State,
    modified: SystemTime,
    /// Where it leads, if it is a symbolic link.
    target: Option<LinkTarget>,
}

#[derive(Debug)]
struct Sync {
    settings: SyncSettings,
    counters: Arc<SyncCounters>,
    gateway: Gateway,
    /// What the peer has.
    shipped: HashMap<PathBuf, State>,
    /// What was tried in vain and said so.
    failed: HashMap<PathBuf, State>,
}

impl Sync {
    fn run(mut self, stopped: &mpsc::Receiver<()>) {
        let dir = self.settings.dir.display().to_string();
        let mut knows_peer = false;
        while stopped.recv_timeout(LOOK_EVERY) == Err(mpsc::RecvTimeoutError::Timeout) {
            if !knows_peer {
                let to = self.settings.to.clone();
                knows_peer = self.learn(&to, &self.settings.dir.clone(), 0).is_ok();
            }
            if !knows_peer {
                continue;
            }
            let mut found = Vec::new();
            let to = self.settings.to.clone();
            if let Err(error) = self.look(&self.settings.dir, &to, 0, &mut found) {
                tracing::warn!(dir, %error, "a watched folder cannot be read");
            }
            // A file that is gone is forgotten.
            self.shipped
                .retain(|path, _| found.iter().any(|f| f.path == *path) || path.exists());
            self.failed.retain(|path, _| path.exists());
            found.retain(|file| self.is_due(file));
            found.sort_by(|a, b| (a.state, &a.path).cmp(&(b.state, &b.path)));
            self.counters.set_waiting(found.len());
            for (done, files) in found.chunks(JOBS).enumerate() {
                if stopped.try_recv() != Err(mpsc::TryRecvError::Empty) {
                    return;
                }
                self.ship(files);
                let rest = found.len().saturating_sub((done + 1) * JOBS);
                self.counters.set_waiting(rest);
            }
        }
    }

    /// What the peer has already, from an earlier run.
    fn learn(&mut self, folder: &Location, local: &Path, depth: usize) -> Result<(), ClientError> {
        let mut after = String::new();
        loop {
            let page = match self.gateway.list(folder, &after) {
                Err(ClientError::Failed(Failure::NotFound)) => return Ok(()),
                page => page?,
            };
            let last = page.entries.last().map(|entry| entry.name.clone());
            for entry in page.entries {
                let local = local.join(&entry.name);
                match entry.kind {
                    EntryKind::Folder if depth < PATH_DEPTH_MAX => {
                        if let Ok(inner) = folder.within(&entry.name) {
                            self.learn(&inner, &local, depth + 1)?;
                        }
                    }
                    EntryKind::File | EntryKind::Link => {
                        let mtime = (entry.mtime.seconds, entry.mtime.nanos.into());
                        let length = entry.length;
                        self.shipped.insert(local, State { mtime, length });
                    }
                    EntryKind::Folder | EntryKind::Other => {}
                }
            }
            match last {
                Some(last) if page.more && last > after => after = last,
                Some(_) | None => return Ok(()),
            }
        }
    }

    /// Plain files, and links that lead to a place in the watched folder, which `dir` stands `depth`
    /// folders below; hidden ones are what other tools have not finished.
    fn look(
        &self,
        dir: &Path,
        to: &Location,
        depth: usize,
        found: &mut Vec<Found>,
    ) -> io::Result<()> {
        for entry in std::fs::read_dir(dir)? {
            if found.len() >= FILES_MAX {
                return Err(io::Error::other("there are too many files in it"));
            }
            let entry = entry?;
            // Gone again, or with a name that no path can spell.
            if let (Ok(meta), Some(name)) = (entry.metadata(), visible_name(&entry))
                && let Ok(to) = to.within(&name)
            {
                let link = meta.is_symlink().then(|| entry.path());
                let target = link.and_then(|link| LinkTarget::read(&link, depth));
                if meta.is_dir() {
                    self.look(&entry.path(), &to, depth + 1, found)?;
                } else if meta.is_file() || target.is_some() {
                    found.push(Found {
                        path: entry.path(),
                        to: to.as_file(),
                        state: State::of(&meta),
                        modified: meta.modified()?,
                        target,
                    });
                }
            }
        }
        Ok(())
    }

    fn is_due(&self, file: &Found) -> bool {
        let known = |files: &HashMap<PathBuf, State>| files.get(&file.path) == Some(&file.state);
        if known(&self.shipped) || known(&self.failed) {
            return false;
        }
        is_settled(file.modified, SystemTime::now(), self.settings.settle)
    }

    fn ship(&mut self, files: &[Found]) {
        let gateway = &self.gateway;
        let outcomes: Vec<_> = std::thread::scope(|scope| {
            let pushes: Vec<_> = files
                .iter()
                .map(|file| scope.spawn(|| push(gateway, file)))
                .collect();
            pushes.into_iter().map(|push| push.join()).collect()
        });
        for (file, outcome) in files.iter().zip(outcomes) {
            let shown = printable(&file.path.display().to_string());
            match outcome {
                Ok(Ok(())) => {
                    tracing::info!(file = shown, to = %file.to, "shipped");
                    self.counters.shipped_files.fetch_add(1, Ordering::Relaxed);
                    self.shipped.insert(file.path.clone(), file.state);
                    if self.settings.remove
                        && let Err(error) = remove(file)
                    {
                        tracing::warn!(file = shown, %error, "cannot remove what was shipped");
                    }
                }
                Ok(Err(error)) => {
                    tracing::warn!(file = shown, %error, "not shipped");
                    self.counters.failed.fetch_add(1, Ordering::Relaxed);
                    // What another try may change is tried again at the next look.
                    if is_final(&error) {
                        self.failed.insert(file.path.clone(), file.state);
                    }
                }
                Err(_) => tracing::error!(file = shown, "shipping it broke down"),
            }
        }
    }
}

/// A time in the future says nothing: it counts as long ago.
fn is_settled(modified: SystemTime, now: SystemTime, settle: Duration) -> bool {
    let age = now.duration_since(modified);
    age.map_or(true, |age| age >= settle)
}

fn visible_name(entry: &DirEntry) -> Option<String> {
    let name = entry.file_name().into_string().ok()?;
    (!name.starts_with('.')).then_some(name)
}

/// Whether the same file will fail the same way.
fn is_final(error: &ClientError) -> bool {
    matches!(
        error,
        ClientError::Failed(Failure::Path(_) | Failure::IsFolder | Failure::NotAFolder)
    )
}

/// Unless it has changed since.
fn remove(file: &Found) -> io::Result<()> {
    let meta = std::fs::symlink_metadata(&file.path)?;
    match State::of(&meta) == file.state {
        true => std::fs::remove_file(&file.path),
        false => Ok(()),
    }
}

fn push(gateway: &Gateway, file: &Found) -> Result<(), ClientError> {
    if let Some(target) = &file.target {
        let (seconds, nanos) = file.state.mtime;
        let nanos = u32::try_from(nanos).unwrap_or(0);
        return gateway.link(&file.to, target, Some(Mtime { seconds, nanos }));
    }
    let from = File::open(&file.path).map_err(ClientError::Read)?;
    let meta = from.metadata().map_err(ClientError::Read)?;
    let snapshot = Snapshot::of(&from).map_err(ClientError::Read)?;
    if State::of(&meta) != file.state {
        return Err(ClientError::Failed(Failure::Changed));
    }
    let push = |resume| {
        let pushed = PushedFile {
            length: Some(snapshot.length()),
            meta: FileMeta::of(&meta),
            resume,
        };
        let whole = (&from).take(snapshot.length().saturating_add(1));
        let check = |read: &_| snapshot.check(&from, read);
        gateway.push(&file.to, pushed, whole, check, |_| {})
    };
    match push(true) {
        Err(ClientError::NotResumed) => {
            io::Seek::rewind(&mut &from).map_err(ClientError::Read)?;
            push(false).map(drop)
        }
        pushed => pushed.map(drop),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_settles_to_the_millisecond() {
        let at = |ms| SystemTime::UNIX_EPOCH + Duration::from_millis(ms);
        let settles = |now| is_settled(at(10_900), at(now), Duration::from_secs(1));
        assert!(!settles(11_000), "another second began, no second went by");
        assert!(!settles(11_899));
        assert!(settles(11_900));
        assert!(settles(10_899), "from the future");
    }
}
