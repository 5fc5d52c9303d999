//! One site of the simulation, and what its clients see.

use std::collections::{BTreeMap, BTreeSet};

use super::super::*;

/// Keys that clients use: few, so that all that can happen to one does.
pub(super) const KEYS: usize = 3;

pub(super) fn key(n: usize) -> Vec<u8> {
    format!("banner:2026-11-30:{n}").into_bytes()
}

pub(super) struct Site {
    pub(super) config: GridConfig,
    pub(super) grid: Arc<Grid>,
    pub(super) dir: tempfile::TempDir,
    /// An older copy of its directory.
    pub(super) copy: Option<tempfile::TempDir>,
}

pub(super) fn new_dir() -> tempfile::TempDir {
    let dir = tempfile::tempdir_in("/dev/shm");
    dir.or_else(|_| tempfile::tempdir()).unwrap()
}

pub(super) fn copy_files(from: &std::path::Path) -> tempfile::TempDir {
    let to = new_dir();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            std::fs::copy(entry.path(), to.path().join(entry.file_name())).unwrap();
        }
    }
    to
}

impl Site {
    pub(super) fn new(name: &str, peers: BTreeSet<SiteName>) -> Self {
        let dir = new_dir();
        let config = GridConfig {
            peers,
            ..config(name, Some(dir.path().to_owned()))
        };
        let mut site = Self {
            grid: Arc::new(Grid::open(config.clone()).unwrap().0),
            config,
            dir,
            copy: None,
        };
        site.reopen();
        site
    }

    pub(super) fn name(&self) -> &SiteName {
        &self.config.site
    }

    /// Flushes, a moment after whatever was flushed last: no two sites say anything at the same time, so the order of
    /// what they say is the same in both worlds.
    pub(super) fn flush(&self) {
        super::super::super::clock::simulated::next_ms();
        self.grid.flush().unwrap();
    }

    pub(super) fn reopen(&mut self) {
        self.config.dir = Some(self.dir.path().to_owned());
        self.grid = Arc::new(Grid::open(self.config.clone()).unwrap().0);
    }

    /// All that clients see.
    pub(super) fn seen(&self) -> BTreeMap<Vec<u8>, Option<(i64, i64)>> {
        let state = self.grid.lock();
        let seen = (0..KEYS).map(|n| {
            let key = key(n);
            let seen = match state.kind(&key) {
                Some(Kind::Counter) => Some((state.get(&key).unwrap().unwrap(), 0)),
                Some(Kind::Hash) => {
                    let field = |f: &[u8]| state.get_field(&key, f).unwrap().unwrap_or(-1);
                    Some((field(b"0"), field(b"1")))
                }
                Some(Kind::Log(_)) | None => None,
            };
            (key, seen)
        });
        seen.collect()
    }
}
