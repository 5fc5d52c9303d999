//! What stays of the files below `bulk.dir`, by number and age.

use std::time::{Duration, SystemTime};

use super::list::EntryKind;
use super::{Mtime, Store, StoreError};
use crate::bulk::path::SitePath;
use crate::resp::glob;

/// What stays of the files whose paths match: what is among the newest or young enough. One of
/// the two is said at least.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileRule {
    /// A glob pattern of paths below `bulk.dir`, as those of `SCAN MATCH`.
    pub pattern: String,
    /// The newest so many of each folder stay, by their times of change.
    pub newest: Option<usize>,
    /// What was changed within this time stays.
    pub age: Option<Duration>,
}

impl FileRule {
    /// `rank`: how many files of the folder are newer.
    fn keeps(&self, rank: usize, age: Duration) -> bool {
        self.newest.is_some_and(|newest| rank < newest) || self.age.is_some_and(|max| age <= max)
    }
}

/// A file that a rule is about.
#[derive(Debug)]
struct Candidate {
    mtime: Mtime,
    path: SitePath,
}

/// Removes what no rule keeps; of each file the first rule that matches counts. Returns how many.
/// A folder that cannot be read is left as it is.
pub(super) fn retain(store: &Store, rules: &[FileRule], now: SystemTime) -> u64 {
    let mut removed = 0;
    let mut folders = vec![SitePath::root()];
    while let Some(folder) = folders.pop() {
        match retain_in(store, &folder, rules, now, &mut folders) {
            Ok(files) => removed += files,
            // Gone meanwhile.
            Err(StoreError::NotFound) => {}
            Err(error) => tracing::warn!(%error, "a folder of files was not tidied"),
        }
    }
    removed
}

/// The same of one folder; adds those in it to `folders`.
fn retain_in(
    store: &Store,
    folder: &SitePath,
    rules: &[FileRule],
    now: SystemTime,
    folders: &mut Vec<SitePath>,
) -> Result<u64, StoreError> {
    let mut candidates: Vec<Vec<Candidate>> = rules.iter().map(|_| Vec::new()).collect();
    let mut after = String::new();
    loop {
        let page = store.list(folder, &after)?;
        for entry in &page.entries {
            let (path, mtime) = (folder.join(&entry.name)?, entry.mtime);
            match entry.kind {
                EntryKind::Folder => folders.push(path),
                EntryKind::File => {
                    let text = path.as_str().as_bytes();
                    let matches = |rule: &FileRule| glob::matches(rule.pattern.as_bytes(), text);
                    let rule = rules.iter().position(matches);
                    if let Some(of_rule) = rule.and_then(|rule| candidates.get_mut(rule)) {
                        of_rule.push(Candidate { mtime, path });
                    }
                }
                EntryKind::Link | EntryKind::Other => {}
            }
        }
        match page.entries.last() {
            Some(last) if page.more => after.clone_from(&last.name),
            Some(_) | None => break,
        }
    }
    let mut removed = 0;
    for (rule, mut of_rule) in rules.iter().zip(candidates) {
        of_rule.sort_by(|a, b| (b.mtime, &b.path).cmp(&(a.mtime, &a.path)));
        for (rank, Candidate { mtime, path }) in of_rule.into_iter().enumerate() {
            if rule.keeps(rank, mtime.age(now)) {
                continue;
            }
            // Not what has replaced it since it was listed.
            match store.remove_if(&path, |stat| Mtime::of(stat) == mtime) {
                Ok(done) => removed += u64::from(done),
                Err(StoreError::NotFound) => {}
                Err(error) => tracing::warn!(%error, "a file beyond what is kept was not removed"),
            }
        }
    }
    Ok(removed)
}
