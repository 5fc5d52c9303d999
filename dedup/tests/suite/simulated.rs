//! A disk that loses, tears and refuses writes.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use strait_dedup::{Storage, StoredFile};

/// What a disk does from some operation on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The machine stops; the write that it stops in is torn.
    Halt,
    /// Writes find no space, or only some.
    Full,
    /// Whatever is asked fails.
    Error,
}

/// A disk, as one start of a gateway sees it: after the next start it refuses everything.
#[derive(Clone, Debug, Default)]
pub(crate) struct SimulatedDisk {
    state: Arc<Mutex<State>>,
    start: u64,
}

#[derive(Debug, Default)]
struct State {
    starts: u64,
    files: Vec<Contents>,
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    unsynced_names: Vec<Naming>,
    operations: u64,
    /// From which operation to which.
    fault: Option<(u64, u64, Fault)>,
}

#[derive(Clone, Debug)]
enum Naming {
    Put(PathBuf, usize),
    Remove(PathBuf),
}

#[derive(Debug, Default)]
struct Contents {
    now: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<Write>,
}

#[derive(Clone, Debug)]
enum Write {
    Bytes(usize, Vec<u8>),
    Size(usize),
}

impl Write {
    fn apply(&self, to: &mut Vec<u8>) {
        match self {
            Self::Bytes(at, bytes) => {
                to.resize(to.len().max(at + bytes.len()), 0);
                to[*at..at + bytes.len()].copy_from_slice(bytes);
            }
            Self::Size(size) => to.resize(*size, 0),
        }
    }

    fn torn(self, dice: &mut u64) -> Self {
        match self {
            Self::Bytes(at, mut bytes) => {
                bytes.truncate(roll(dice, bytes.len() + 1));
                Self::Bytes(at, bytes)
            }
            Self::Size(_) => self,
        }
    }
}

fn roll(dice: &mut u64, sides: usize) -> usize {
    *dice = dice
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    (*dice >> 33) as usize % sides
}

impl SimulatedDisk {
    /// `fault` for `count` operations, after `after` more have gone well.
    pub(crate) fn fail(&self, after: u64, count: u64, fault: Fault) {
        let mut state = self.lock();
        let from = state.operations + after;
        state.fault = Some((from, from.saturating_add(count), fault));
    }

    pub(crate) fn repair(&self) {
        self.lock().fault = None;
    }

    /// How many operations there were.
    pub(crate) fn operations(&self) -> u64 {
        self.lock().operations
    }

    /// The disk after the process was killed: all that was written is there.
    pub(crate) fn after_kill(&self) -> Self {
        let mut state = self.lock();
        state.starts += 1;
        if state.fault.is_some_and(|(.., fault)| fault == Fault::Halt) {
            state.fault = None;
        }
        let (state, start) = (self.state.clone(), state.starts);
        Self { state, start }
    }

    /// The disk after a power failure: of what was not synced some is there, some is not, and some
    /// is torn.
    pub(crate) fn after_power_cut(&self, mut dice: u64) -> Self {
        let mut state = self.lock();
        let kept = roll(&mut dice, state.unsynced_names.len() + 1);
        for naming in std::mem::take(&mut state.unsynced_names).drain(..kept) {
            naming.apply(&mut state.durable_names);
        }
        state.names = state.durable_names.clone();
        for file in &mut state.files {
            let writes = std::mem::take(&mut file.unsynced);
            let (kept, in_order) = (roll(&mut dice, writes.len() + 1), roll(&mut dice, 2) == 0);
            for (n, write) in writes.into_iter().enumerate() {
                match n + 1 == kept {
                    true => write.torn(&mut dice).apply(&mut file.durable),
                    false if in_order && n < kept => write.apply(&mut file.durable),
                    false if !in_order && roll(&mut dice, 2) == 0 => write.apply(&mut file.durable),
                    false => {}
                }
            }
            file.now = file.durable.clone();
        }
        drop(state);
        self.after_kill()
    }

    /// Changes a byte of a file of this extension, of all such files one.
    pub(crate) fn flip(&self, extension: &str, mut dice: u64) -> Option<PathBuf> {
        let mut state = self.lock();
        let files = state.names.iter().filter(|(path, file)| {
            path.extension().is_some_and(|e| e == extension) && !state.files[**file].now.is_empty()
        });
        let files: Vec<_> = files.map(|(path, file)| (path.clone(), *file)).collect();
        let (path, file) = files.get(roll(&mut dice, files.len().max(1)))?.clone();
        let file = &mut state.files[file];
        let at = roll(&mut dice, file.now.len());
        let byte = file.now[at] ^ (1 << roll(&mut dice, 8));
        let flip = Write::Bytes(at, vec![byte]);
        flip.apply(&mut file.now);
        file.unsynced.push(flip);
        Some(path)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while locked")
    }

    /// Counts an operation, which may fail.
    fn step(&self, writes: bool) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.lock();
        if state.starts != self.start {
            return Err(io::Error::other("the process is gone"));
        }
        state.operations += 1;
        let now = state.operations;
        let fault = state
            .fault
            .filter(|(from, to, _)| now > *from && now <= *to);
        match fault.map(|(.., fault)| fault) {
            Some(Fault::Halt | Fault::Error) => Err(io::Error::other("simulated failure")),
            Some(Fault::Full) if writes => Err(io::ErrorKind::StorageFull.into()),
            Some(Fault::Full) | None => Ok(state),
        }
    }

    fn rename_in(state: &mut State, naming: Naming) {
        naming.apply(&mut state.names);
        state.unsynced_names.push(naming);
    }
}

impl Naming {
    fn apply(&self, names: &mut BTreeMap<PathBuf, usize>) {
        match self {
            Self::Put(path, file) => names.insert(path.clone(), *file),
            Self::Remove(path) => names.remove(path),
        };
    }
}

impl Storage for SimulatedDisk {
    fn make_dir(&self, _: &Path) -> io::Result<()> {
        self.step(true).map(drop)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.step(false)?;
        let within = state.names.keys().filter(|path| path.parent() == Some(dir));
        let names = within.filter_map(|path| path.file_name()?.to_str());
        Ok(names.map(str::to_owned).collect())
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn StoredFile>> {
        let state = self.step(false)?;
        let file = *state.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        let disk = self.clone();
        Ok(Arc::new(SimulatedFile { disk, file }))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn StoredFile>> {
        let mut state = self.step(true)?;
        let file = match state.names.get(path) {
            Some(&file) => {
                let contents = &mut state.files[file];
                contents.now.clear();
                contents.unsynced.push(Write::Size(0));
                file
            }
            None => {
                state.files.push(Contents::default());
                let file = state.files.len() - 1;
                Self::rename_in(&mut state, Naming::Put(path.to_path_buf(), file));
                file
            }
        };
        let disk = self.clone();
        Ok(Arc::new(SimulatedFile { disk, file }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.step(true)?;
        let file = *state.names.get(from).ok_or(io::ErrorKind::NotFound)?;
        Self::rename_in(&mut state, Naming::Put(to.to_path_buf(), file));
        Self::rename_in(&mut state, Naming::Remove(from.to_path_buf()));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.step(false)?;
        if !state.names.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        Self::rename_in(&mut state, Naming::Remove(path.to_path_buf()));
        Ok(())
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        let mut state = self.step(true)?;
        state.unsynced_names.clear();
        state.durable_names = state.names.clone();
        Ok(())
    }
}

#[derive(Debug)]
struct SimulatedFile {
    disk: SimulatedDisk,
    file: usize,
}

impl SimulatedFile {
    fn write(&self, write: Write) -> io::Result<()> {
        let done = self.disk.step(true).map(drop);
        let write = match &done {
            Ok(()) => write,
            // Some of a write that fails may have been written.
            Err(_) => write.torn(&mut 1),
        };
        let mut state = self.disk.lock();
        if state.starts == self.disk.start {
            let contents = &mut state.files[self.file];
            write.apply(&mut contents.now);
            contents.unsynced.push(write);
        }
        done
    }
}

impl StoredFile for SimulatedFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.disk.step(false)?.files[self.file].now.len() as u64)
    }

    fn read_exact_at(&self, out: &mut [u8], at: u64) -> io::Result<()> {
        let state = self.disk.step(false)?;
        let at = usize::try_from(at).map_err(|_| io::ErrorKind::UnexpectedEof)?;
        let bytes = state.files[self.file].now.get(at..);
        let bytes = bytes.and_then(|bytes| bytes.get(..out.len()));
        out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_all_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.write(Write::Bytes(at as usize, bytes.to_vec()))
    }

    fn set_size(&self, size: u64) -> io::Result<()> {
        self.disk.step(true).map(drop)?;
        let write = Write::Size(size as usize);
        let mut state = self.disk.lock();
        let contents = &mut state.files[self.file];
        write.apply(&mut contents.now);
        contents.unsynced.push(write);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.step(true)?;
        let contents = &mut state.files[self.file];
        contents.unsynced.clear();
        contents.durable = contents.now.clone();
        Ok(())
    }
}
