//! A site that has no snapshot from before a time takes its peer's: one site's holds the counters of
//! all.

use std::io;
use std::time::Duration;

use anyhow::Context;

use super::Globals;
use crate::bulk::control::client::{Gateway, Sink};
use crate::bulk::location::Location;
use crate::bulk::path::SNAPSHOTS_DIR;
use crate::bulk::store::{Entry, FileMeta};
use crate::cli::far_tree;
use crate::cli::local_file::LocalFile;
use crate::cli::output::tell;
use crate::datadir::{give_to_owner, make_room};
use crate::grid::{SnapshotFile, list_snapshots};

/// Fetches the peer's last snapshot that was begun by `at_ms`, unless there is one here that is as
/// new.
pub(super) fn snapshot(
    globals: &Globals,
    from: &str,
    at_ms: u64,
    wait: Duration,
) -> anyhow::Result<()> {
    let gateway = Gateway::new(&globals.layout().socket(), wait);
    let dir = globals.layout().snapshots();
    let folder = Location {
        site: from.parse()?,
        path: SNAPSHOTS_DIR.parse()?,
        folder: true,
    };
    let (theirs, _) = far_tree::entries(&gateway, &folder)?;
    let theirs = last_by(at_ms, theirs);
    let here = list_snapshots(&dir)?;
    let here = here.into_iter().filter(|snapshot| !snapshot.unfinished);
    let here = here
        .map(|snapshot| snapshot.time_ms)
        .filter(|time_ms| *time_ms <= at_ms);
    let Some((time_ms, name)) = theirs.filter(|(time_ms, _)| here.max() < Some(*time_ms)) else {
        return Ok(());
    };
    let file = Location {
        path: folder.path.join(&name)?,
        folder: false,
        ..folder
    };
    make_room(&dir)?;
    let mut fetched = Fetched {
        file: LocalFile::create(&dir.join(&name))?,
        meta: FileMeta::default(),
    };
    gateway
        .pull(&file, &mut fetched)
        .with_context(|| format!("fetching {file}"))?;
    fetched.file.commit(fetched.meta)?;
    give_to_owner(&dir.join(&name))?;
    tell!(
        "fetched the snapshot of {} from {from}",
        crate::cli::time::rfc3339(time_ms)
    );
    Ok(())
}

/// The last finished snapshot that was begun by `at_ms`.
fn last_by(at_ms: u64, entries: Vec<Entry>) -> Option<(u64, String)> {
    let found = entries.into_iter().filter_map(|entry| {
        let (time_ms, unfinished) = SnapshotFile::parse_name(&entry.name)?;
        (!unfinished && time_ms <= at_ms).then_some((time_ms, entry.name))
    });
    found.max()
}

/// Takes a snapshot's bytes.
struct Fetched {
    file: LocalFile,
    meta: FileMeta,
}

impl Sink for Fetched {
    fn begin(&mut self, _length: u64, meta: FileMeta) -> io::Result<()> {
        self.meta = meta;
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write(bytes)
    }
}
