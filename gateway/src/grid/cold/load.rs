//! Start: which blocks there are.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::super::blocks::Stretch;
use super::super::recovery::unmended;
use super::super::{EntryId, LogName};
use super::segment::{Placed, contents, list, remove_aside};
use super::{Cold, Segment};

/// What a folder of cold blocks holds.
#[derive(Debug, Default)]
pub(in crate::grid) struct ColdFound {
    /// Blocks of each log, ids rising, none overlapping another. Between two something may be
    /// missing.
    pub(in crate::grid) logs: BTreeMap<LogName, Vec<(Stretch, Cold)>>,
    pub(in crate::grid) segments: Vec<Arc<Segment>>,
    /// Places of what fails its check.
    pub(in crate::grid) damaged: Vec<String>,
    /// Bytes of writes that a crash cut short; their entries are in the journal.
    pub(in crate::grid) torn_bytes: u64,
}

/// Looks at all files in `dir`; with `mend` unfinished ends are cut off. A block's entries are
/// checked when they are read.
pub(in crate::grid) fn load(dir: &Path, mend: bool) -> io::Result<ColdFound> {
    let (mut found, mut logs) = (ColdFound::default(), BTreeMap::new());
    if mend && let Err(error) = remove_aside(dir) {
        // They take room, nothing else.
        unmended(dir, "keeps files that are not whole", &error);
    }
    for number in list(dir)? {
        let contents = match contents(dir, number, mend) {
            // A running gateway has removed it: what it held is trimmed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            contents => contents?,
        };
        let name = contents.segment.path.display();
        let damaged = contents.damaged.iter();
        let damaged = damaged.map(|place| format!("{name}: {place}"));
        found.damaged.extend(damaged);
        found.torn_bytes += contents.torn_bytes;
        found.segments.push(contents.segment);
        for Placed { head, cold } in contents.blocks {
            let blocks: &mut Vec<_> = logs.entry(head.log).or_default();
            blocks.push((head.stretch, cold));
        }
    }
    let logs = logs.into_iter();
    found.logs = logs.map(|(log, blocks)| (log, in_order(blocks))).collect();
    Ok(found)
}

/// Of blocks that overlap the one written last counts: it was written when the others were lost, or
/// were found to be wrong, or when nobody knew whether they are on disk.
fn in_order(mut blocks: Vec<(Stretch, Cold)>) -> Vec<(Stretch, Cold)> {
    blocks.sort_by_key(|(_, cold)| Reverse(cold.place()));
    let mut kept = BTreeMap::<EntryId, (Stretch, Cold)>::new();
    for (stretch, cold) in blocks {
        let before = kept.range(..=stretch.last).next_back();
        if before.is_none_or(|(_, (newer, _))| newer.last < stretch.first) {
            kept.insert(stretch.first, (stretch, cold));
        }
    }
    kept.into_values().collect()
}
