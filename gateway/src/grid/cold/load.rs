//! Start: which blocks there are.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::super::LogName;
use super::super::blocks::Stretch;
use super::segment::{Placed, contents, list};
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

/// Sorts blocks. A write that failed may have left one whose entries were written again.
fn in_order(mut blocks: Vec<(Stretch, Cold)>) -> Vec<(Stretch, Cold)> {
    blocks.sort_by_key(|(stretch, _)| (stretch.first, std::cmp::Reverse(stretch.last)));
    let mut kept: Vec<(Stretch, Cold)> = Vec::with_capacity(blocks.len());
    for (stretch, cold) in blocks {
        if kept
            .last()
            .is_some_and(|(last, _)| stretch.last <= last.last)
        {
            continue;
        }
        // The later one was written when the first entries of the earlier had gone for good.
        while kept
            .last()
            .is_some_and(|(last, _)| stretch.first <= last.last)
        {
            kept.pop();
        }
        kept.push((stretch, cold));
    }
    kept
}
