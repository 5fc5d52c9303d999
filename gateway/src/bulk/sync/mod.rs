//! Folders that are watched: what appears there and stops changing goes to a peer.
//!
//! A folder is looked through every few seconds. Notifications of the kernel would come
//! sooner, but not from network file systems, and not when there are too many at once, so
//! they could only be added to this.

mod look;
mod settle;

use std::collections::{HashMap, HashSet};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use self::look::{Found, State, look};
use self::settle::Settling;
use super::control::client::{ClientError, Gateway, NewLink, PushedFile};
use super::describe::PATHS_MAX;
use super::failure::{Failure, printable};
use super::figures::{SyncCounters, SyncFigures};
use super::location::Location;
use super::read::Snapshot;
use super::store::FileMeta;

/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Files of one folder on their way at a time.
const JOBS: usize = 8;
/// How long a file waits for a link that is down until it is tried anew.
const WAIT: Duration = Duration::from_secs(60);

/// One `[[sync]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncSettings {
    /// Absolute.
    pub dir: PathBuf,
    /// The folder it becomes.
    pub to: Location,
    /// A file that two looks so far apart found the same is whole.
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
                settling: Settling::new(settings.settle),
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

#[derive(Debug)]
struct Sync {
    settings: SyncSettings,
    counters: Arc<SyncCounters>,
    gateway: Gateway,
    settling: Settling,
    /// What the peer has.
    shipped: HashMap<PathBuf, State>,
    /// What was tried in vain and said so.
    failed: HashMap<PathBuf, State>,
}

impl Sync {
    fn run(mut self, stopped: &mpsc::Receiver<()>) {
        // Where shipped files are removed, all that is here is still to be shipped, or removed.
        let mut knows_peer = self.settings.remove;
        while stopped.recv_timeout(LOOK_EVERY) == Err(mpsc::RecvTimeoutError::Timeout) {
            let (found, looked) = self.look();
            if !knows_peer {
                knows_peer = self.learn(&found).is_ok();
            }
            if knows_peer {
                let due = self.due(found, looked);
                self.ship_all(due, stopped);
            }
        }
    }

    /// All that is in the folder, and when the look began and ended.
    fn look(&self) -> (Vec<Found>, (Instant, Instant)) {
        let SyncSettings { dir, to, .. } = &self.settings;
        let (mut found, began) = (Vec::new(), Instant::now());
        if let Err(error) = look(dir, to, 0, &mut found) {
            let dir = printable(&dir.display().to_string());
            tracing::warn!(dir, %error, "a watched folder cannot be read");
        }
        (found, (began, Instant::now()))
    }

    /// Those that are whole and not at the peer, oldest first.
    fn due(&mut self, mut found: Vec<Found>, looked: (Instant, Instant)) -> Vec<Found> {
        let here: HashSet<_> = found.iter().map(|file| file.path.as_path()).collect();
        // A file that is gone is forgotten.
        let is_here = |path: &Path| here.contains(path) || std::fs::symlink_metadata(path).is_ok();
        self.shipped.retain(|path, _| is_here(path));
        self.failed.retain(|path, _| is_here(path));
        self.settling.keep(|path| here.contains(path));
        let (shipped, failed) = (&self.shipped, &self.failed);
        found.retain(|file| {
            let known =
                |files: &HashMap<PathBuf, State>| files.get(&file.path) == Some(&file.state);
            !known(shipped) && !known(failed)
        });
        let settling = &mut self.settling;
        found.retain(|file| settling.is_whole(&file.path, file.state, looked));
        found.sort_by(|a, b| (a.state.mtime, &a.path).cmp(&(b.state.mtime, &b.path)));
        found
    }

    fn ship_all(&mut self, due: Vec<Found>, stopped: &mpsc::Receiver<()>) {
        self.counters.set_waiting(due.len());
        for (done, files) in due.chunks(JOBS).enumerate() {
            if stopped.try_recv() != Err(mpsc::TryRecvError::Empty) {
                return;
            }
            self.ship(files);
            let rest = due.len().saturating_sub((done + 1) * JOBS);
            self.counters.set_waiting(rest);
        }
    }

    /// What the peer has already, from an earlier run.
    fn learn(&mut self, found: &[Found]) -> Result<(), ClientError> {
        for files in found.chunks(PATHS_MAX) {
            let paths = files.iter().map(|file| file.to.path.clone());
            let there = self
                .gateway
                .describe(&self.settings.to.site, paths, false)?;
            for (file, there) in files.iter().zip(there) {
                if file.is_there(&there) {
                    self.shipped.insert(file.path.clone(), file.state);
                }
            }
        }
        Ok(())
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
                Ok(Err(error)) if is_early(&error) => {
                    tracing::info!(file = shown, %error, "not shipped yet");
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

/// Whether nothing is wrong with it: the file is not as it was found any more, and the next look
/// will show how it is, or the link was down, and it waits for that.
fn is_early(error: &ClientError) -> bool {
    let gone = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    matches!(
        error,
        ClientError::Failed(Failure::Changed | Failure::LinkDown(_) | Failure::SessionReset)
    ) || matches!(error, ClientError::Read(error) if gone(error))
}

/// Whether the same file will fail the same way.
fn is_final(error: &ClientError) -> bool {
    matches!(
        error,
        ClientError::Failed(Failure::Path(_) | Failure::IsFolder | Failure::NotAFolder)
    )
}

/// Unless it has changed since it was found.
fn remove(file: &Found) -> io::Result<()> {
    match file.state_now()? == file.state {
        true => std::fs::remove_file(&file.path),
        false => Ok(()),
    }
}

fn push(gateway: &Gateway, file: &Found) -> Result<(), ClientError> {
    if let Some(target) = &file.target {
        let link = NewLink {
            target,
            mtime: file.meta.mtime,
            no_replace: false,
        };
        return gateway.link(&file.to, link);
    }
    let from = look::open(&file.path).map_err(ClientError::Read)?;
    let meta = from.metadata().map_err(ClientError::Read)?;
    let snapshot = Snapshot::of(&from).map_err(ClientError::Read)?;
    if State::of(&meta) != file.state {
        return Err(ClientError::Failed(Failure::Changed));
    }
    let push = |resume| {
        let pushed = PushedFile {
            length: Some(snapshot.length()),
            meta: FileMeta::of_opened(&meta, &from),
            resume,
            no_replace: false,
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
