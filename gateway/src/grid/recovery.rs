//! Start: reads the journal's files back. Damage is put aside and reported, never fatal.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::cold::{self, Absent, ColdFound, ColdStore, ReadCache, Segment};
use super::disk_fault::before_write;
use super::journal::frame::{FILE_HEAD_BYTES, JOURNAL_MAGIC};
use super::journal::{Found, Generation, Journal, JournalReader, entries};
use super::merge::{NotMerged, Source};
use super::record::{Kind, LogHead, LogSection, decode_counters, decode_log, kind_of};
use super::state::{LogId, State};
use super::varint::Reader;
use super::{EntryId, GridOpenError, LogName};

/// Where damaged bytes go, beside the journal.
const QUARANTINE: &str = "quarantine";
/// Where older entries of logs are, likewise.
const COLD: &str = "cold";
/// Stretches of logs that wait for what comes before them, at most.
const DEFERRED_BYTES_MAX: usize = 1 << 30;
/// Damaged places that are named one by one.
const NAMED_MAX: usize = 10;

/// What was found on disk at start, and what had to be mended. Shown in the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Records read back.
    pub records: u64,
    /// Bytes read back.
    pub bytes: u64,
    /// Bytes of a write that a crash cut short; never confirmed to anyone.
    pub torn_bytes: u64,
    /// Records that failed their check and were put aside, with their place.
    pub quarantined: Vec<String>,
    /// Blocks of logs on disk.
    pub cold_blocks: u64,
    /// Places of those that are damaged, and entries that are lost with them.
    pub cold_damaged: Vec<String>,
    /// Something was damaged of which nobody knows what it held: own logs may lack their last entries.
    pub is_doubtful: bool,
}

impl fmt::Display for Recovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} records, {} bytes", self.records, self.bytes)?;
        if self.torn_bytes > 0 {
            write!(f, "; cut {} bytes of an unfinished write", self.torn_bytes)?;
        }
        named(f, "put aside", &self.quarantined)?;
        if self.cold_blocks > 0 {
            write!(f, "; {} blocks of logs on disk", self.cold_blocks)?;
        }
        named(f, "damaged:", &self.cold_damaged)
    }
}

/// Names the first of some places.
fn named(f: &mut fmt::Formatter<'_>, what: &str, places: &[String]) -> fmt::Result {
    for place in places.iter().take(NAMED_MAX) {
        write!(f, "; {what} {place}")?;
    }
    match places.len().saturating_sub(NAMED_MAX) {
        0 => Ok(()),
        more => write!(f, "; {what} {more} more"),
    }
}

/// Reads the journal in `dir` into `state` and opens it for writing, and the store of what is
/// beside it.
pub(super) fn recover(
    dir: &Path,
    state: &mut State,
) -> Result<(Journal, ColdStore, Recovery), GridOpenError> {
    let failed = |source| GridOpenError::Io {
        path: dir.to_owned(),
        source,
    };
    let made = before_write().and_then(|()| fs::create_dir_all(dir));
    if let Err(error) = made {
        unmended(dir, "cannot be made", &error);
    }
    let mut generations = generations(dir).map_err(failed)?;
    let unbegun = drop_unbegun(dir, &mut generations);
    state.replaying = true;
    let mut replay = Replay::new(dir, state, true);
    let found = cold::load(&dir.join(COLD), true).map_err(failed)?;
    let segments = replay.cold(found);
    for (place, generation) in generations.iter().enumerate() {
        let newest = place + 1 == generations.len();
        let path = dir.join(generation.file_name());
        let failed = |source| GridOpenError::Io {
            path: path.clone(),
            source,
        };
        replay.file(&path, *generation, newest).map_err(failed)?;
    }
    replay.finish();
    let (report, uncut) = (replay.report, replay.uncut);
    let newest = generations.last().copied().unwrap_or(Generation(1));
    let older = generations
        .iter()
        .filter(|generation| **generation != newest);
    let with_len = |generation: &Generation| {
        let len = fs::metadata(dir.join(generation.file_name())).map_or(0, |meta| meta.len());
        (*generation, len)
    };
    let older = older.map(with_len).collect();
    let mut journal = open_journal(dir, newest, older, uncut);
    if let Some(unbegun) = unbegun {
        journal.leave_out(unbegun);
    }
    if !report.quarantined.is_empty() {
        // What was lost may be anybody's: peers send everything again, ours too.
        state.doubtful = true;
        state.watermarks.clear();
    }
    state.replaying = false;
    state.settle_replayed();
    Ok((journal, ColdStore::new(dir.join(COLD), segments), report))
}

/// Reads the journal in `dir` into `state` and changes nothing there: a gateway may be running,
/// and even remove files that it has rewritten. So all are opened before any is read.
pub(super) fn look(dir: &Path, state: &mut State) -> Result<Recovery, GridOpenError> {
    let failed = |source| GridOpenError::Io {
        path: dir.to_owned(),
        source,
    };
    let mut replay = Replay::new(dir, state, false);
    // What goes from the journal to blocks after this moment is read twice, not never.
    let readers = open_all(dir).map_err(failed)?;
    let found = cold::load(&dir.join(COLD), false).map_err(failed)?;
    replay.cold(found);
    for mut reader in readers {
        replay.read(&mut reader, None).map_err(failed)?;
    }
    replay.finish();
    let report = replay.report;
    let peers = state.doubts.waiting().clone();
    state.begin_doubts(&peers, false);
    Ok(report)
}

/// Opens the journal for writing. A start needs no disk that can be written: where this one cannot,
/// or has kept an unfinished write behind `uncut` good bytes, the flusher goes to another file as soon
/// as it can, and writes are refused until then.
fn open_journal(
    dir: &Path,
    newest: Generation,
    older: Vec<(Generation, u64)>,
    uncut: Option<u64>,
) -> Journal {
    if let Some(len) = uncut {
        return Journal::unwritable(dir, newest, len, older);
    }
    let path = dir.join(newest.file_name());
    let opened = Journal::open(dir, newest, older.clone());
    opened.unwrap_or_else(|error| {
        unmended(&path, "cannot be opened for writing", &error);
        let len = fs::metadata(&path).map_or(0, |file| file.len());
        Journal::unwritable(dir, newest, len, older)
    })
}

/// A start goes on without something that it would have written.
pub(super) fn unmended(path: &Path, what: &'static str, error: &io::Error) {
    tracing::warn!(path = %path.display(), what, %error, "the start could not write to the grid's folder");
}

fn open_all(dir: &Path) -> io::Result<Vec<JournalReader>> {
    const ATTEMPTS: usize = 10;
    let mut attempt = 0;
    loop {
        let open = |generation: Generation| {
            let path = dir.join(generation.file_name());
            JournalReader::open(&path, JOURNAL_MAGIC, generation)
        };
        let opened: io::Result<Vec<_>> = generations(dir)?.into_iter().map(open).collect();
        attempt += 1;
        match opened {
            Err(error) if error.kind() == io::ErrorKind::NotFound && attempt < ATTEMPTS => {}
            opened => return opened,
        }
    }
}

/// The journal's files, oldest first.
fn generations(dir: &Path) -> io::Result<Vec<Generation>> {
    let mut found = Vec::new();
    for entry in entries(dir)? {
        found.extend(entry.file_name().to_str().and_then(Generation::parse));
    }
    found.sort();
    Ok(found)
}

/// Removes files for whose head there was no room, so that a start needs none: the file before goes
/// on. The last one, if it stays.
fn drop_unbegun(dir: &Path, generations: &mut Vec<Generation>) -> Option<Generation> {
    let mut stays = None;
    while let [_, .., newest] = generations[..] {
        let path = dir.join(newest.file_name());
        let begun = fs::metadata(&path).is_ok_and(|file| file.len() >= FILE_HEAD_BYTES as u64);
        let remove = || before_write().and_then(|()| fs::remove_file(&path));
        if begun {
            break;
        }
        if remove().is_err() {
            stays = stays.max(Some(newest));
        }
        generations.pop();
    }
    stays
}

fn cut_to(path: &Path, len: u64) -> io::Result<()> {
    before_write()?;
    let file = OpenOptions::new().write(true).open(path)?;
    file.set_len(len)?;
    before_write()?;
    file.sync_all()
}

struct Replay<'a> {
    dir: PathBuf,
    state: &'a mut State,
    report: Recovery,
    /// Cut unfinished writes off, put damage aside; otherwise only read.
    mend: bool,
    /// Good bytes of the newest file, if an unfinished write behind them could not be cut off.
    uncut: Option<u64>,
    /// Stretches of logs that came before what they continue: while the journal is rewritten, new
    /// entries may precede old ones.
    deferred: Vec<Bytes>,
    deferred_bytes: usize,
    /// Places of damage that were named already.
    named: HashSet<String>,
}

impl<'a> Replay<'a> {
    fn new(dir: &Path, state: &'a mut State, mend: bool) -> Self {
        Self {
            dir: dir.to_owned(),
            state,
            report: Recovery::default(),
            mend,
            uncut: None,
            deferred: Vec::new(),
            named: HashSet::new(),
            deferred_bytes: 0,
        }
    }

    fn file(&mut self, path: &Path, generation: Generation, newest: bool) -> io::Result<()> {
        let mut reader = JournalReader::open(path, JOURNAL_MAGIC, generation)?;
        self.read(&mut reader, newest.then_some(path))
    }

    /// Merges all of a file; an unfinished end of the one at `cut` is cut off.
    fn read(&mut self, reader: &mut JournalReader, cut: Option<&Path>) -> io::Result<()> {
        self.report.bytes += reader.len();
        let generation = reader.generation();
        while let Some(found) = reader.next()? {
            match found {
                Found::Record(record) => {
                    self.report.records += 1;
                    if let Err(reason) = self.record(&record) {
                        self.put_aside(generation, reason, &record);
                    }
                }
                Found::Torn { from, to, is_whole } if cut.is_some() || !self.mend => {
                    self.report.torn_bytes += to - from;
                    self.report.is_doubtful |= is_whole;
                    if let Some(path) = cut
                        && let Err(error) = cut_to(path, from)
                    {
                        unmended(path, "keeps an unfinished write at its end", &error);
                        self.uncut = Some(from);
                    }
                }
                Found::Damaged { from, to } | Found::Torn { from, to, .. } => {
                    let bytes = reader.raw(from, to)?;
                    self.put_aside(
                        generation,
                        &format!("bytes {from}..{to} fail their check"),
                        &bytes,
                    );
                }
            }
        }
        Ok(())
    }

    fn record(&mut self, record: &Bytes) -> Result<(), &'static str> {
        match kind_of(record).map_err(|error| error.0)? {
            (Kind::PackedCounters | Kind::PackedLog, _) => return Err("is in the form of a link"),
            (Kind::Counters, body) => {
                let updates = decode_counters(body).map_err(|error| error.0)?;
                let numbers = self
                    .state
                    .intern(&updates)
                    .map_err(|_| "names too many origins")?;
                let source = (&numbers, Source::Told);
                let merged = self.state.merge_rows(&updates, &updates.rows, &[], source);
                merged.map_err(|_| "has too many keys")?;
                self.state.complete(&updates, &numbers);
            }
            (Kind::Runs, body) => {
                let incarnation = self.state.incarnation();
                let read = self.state.runs.read(body, incarnation);
                read.map_err(|error| error.0)?;
            }
            (Kind::Renewed, body) => {
                let updates = decode_counters(body).map_err(|error| error.0)?;
                let renewed = self.state.take_renewed(&updates);
                renewed.map_err(|_| "has too many names")?;
            }
            (Kind::Forgotten, body) => {
                let read = self.state.read_forgotten(body);
                read.map_err(|error| error.0)?;
            }
            (Kind::Log, body) => {
                let section = decode_log(body).map_err(|error| error.0)?;
                if !self.section(&section)? {
                    self.deferred_bytes += record.len();
                    self.deferred.push(record.clone());
                    if self.deferred_bytes > DEFERRED_BYTES_MAX {
                        self.merge_deferred();
                    }
                }
            }
            (Kind::Doubts, body) => self.state.doubts.read(body).map_err(|error| error.0)?,
        }
        Ok(())
    }

    /// Merges a stretch of a log; false if entries before it are missing.
    fn section(&mut self, section: &LogSection<'_>) -> Result<bool, &'static str> {
        loop {
            let merged = self.state.merge_section(section);
            match merged.map_err(|_| "has too many logs")? {
                Ok(_) => return Ok(true),
                Err(NotMerged::Gap { .. }) => return Ok(false),
                Err(NotMerged::OnDisk(id, absent)) => self.thaw(id, &absent),
            }
        }
    }

    /// Takes a block that a trim ends in into memory.
    fn thaw(&mut self, id: LogId, absent: &Absent) {
        match ReadCache::default().load(absent) {
            Ok(loaded) => {
                let entries = loaded.entries();
                let thaw = |log: &mut super::Log| log.thaw(absent.first, &entries);
                self.state.rehouse_log(id, thaw);
            }
            Err(error) => {
                self.state.rehouse_log(id, |log| log.lose(absent.first));
                self.damaged(error.to_string());
            }
        }
    }

    /// Takes the blocks on disk, before anything of the journal.
    fn cold(&mut self, found: ColdFound) -> Vec<Arc<Segment>> {
        self.report.torn_bytes += found.torn_bytes;
        self.report.is_doubtful |= !found.damaged.is_empty();
        found
            .damaged
            .into_iter()
            .for_each(|place| self.damaged(place));
        for (name, blocks) in found.logs {
            self.report.cold_blocks += blocks.len() as u64;
            match self.state.find_or_create_log(&name) {
                Some(id) => self.state.with_log(id, |log| log.restore(&blocks)),
                None => self.damaged(format!("{name}: too many logs")),
            }
        }
        found.segments
    }

    fn damaged(&mut self, place: String) {
        // Two journals may tell of the same.
        if !self.named.insert(place.clone()) {
            return;
        }
        if self.report.cold_damaged.len() < NAMED_MAX {
            tracing::error!(%place, "entries of a log are damaged on disk");
        }
        self.state.tally.lost_blocks += 1;
        self.report.cold_damaged.push(place);
    }

    /// Of logs with stretches that wait: what they say is trimmed is no gap.
    fn skip_trimmed(&mut self) {
        let heads = self.deferred.iter().filter_map(|record| head_of(record));
        let mut trimmed = BTreeMap::<LogName, EntryId>::new();
        for head in heads {
            let known = trimmed.entry(head.log).or_default();
            *known = head.trimmed_to.max(*known);
        }
        for (log, trimmed_to) in trimmed {
            let head = LogHead {
                log,
                prev: trimmed_to,
                trimmed_to,
                revision: 0,
            };
            let nothing = LogSection {
                head,
                entries: Vec::new(),
            };
            if let Err(reason) = self.section(&nothing) {
                tracing::error!(reason, "a log that is trimmed cannot be taken");
            }
        }
    }

    /// Names what is missing between blocks on disk.
    fn name_missing(&mut self) {
        for id in (0..self.state.logs.len()).map(LogId) {
            let missing = self.state.rehouse_log(id, super::Log::settle_missing);
            let name = self.state.log(id).name.clone();
            for (first, last) in missing {
                self.damaged(format!("{name} lacks entries {first} to {last}"));
            }
        }
    }

    /// Merges what waited.
    fn finish(&mut self) {
        self.skip_trimmed();
        self.merge_deferred();
        self.name_missing();
    }

    /// Merges stretches of logs in the order of their entries. What is missing before one is noted as
    /// lost, and does not keep back what follows it.
    fn merge_deferred(&mut self) {
        self.deferred_bytes = 0;
        let mut waiting = std::mem::take(&mut self.deferred);
        waiting.sort_by_cached_key(|record| head_of(record).map(|head| head.prev));
        for record in waiting {
            if let Some(head) = head_of(&record)
                && let Some(id) = self.state.log_ids.get(&head.log).copied()
                && head.prev > head.trimmed_to
            {
                self.state.with_log(id, |log| log.skip_to(head.prev));
            }
            if let Err(reason) = self.record(&record) {
                self.put_aside(Generation(0), reason, &record);
            }
        }
    }

    fn put_aside(&mut self, generation: Generation, reason: &str, bytes: &[u8]) {
        self.report.is_doubtful = true;
        if !self.mend {
            let place = format!("{}: {reason}", generation.file_name());
            self.report.quarantined.push(place);
            return;
        }
        let digest = blake3::hash(bytes).to_hex();
        let name = format!("{}-{}", generation.file_name(), &digest[..16]);
        let folder = self.dir.join(QUARANTINE);
        // A start before this one has named it, and ended before the journal was written anew.
        let is_known = folder.join(&name).exists();
        let kept = before_write().and_then(|()| fs::create_dir_all(&folder));
        let kept = kept.and_then(|()| fs::write(folder.join(&name), bytes));
        let kept = match kept {
            Ok(()) => format!("kept as {QUARANTINE}/{name}"),
            Err(error) => format!("not kept: {error}"),
        };
        let place = format!("{}: {reason}; {kept}", generation.file_name());
        if self.report.quarantined.len() < NAMED_MAX && !is_known {
            tracing::error!(%place, "the grid's journal is damaged");
        }
        self.report.quarantined.push(place);
    }
}

/// What a record says of the log that it is a stretch of.
fn head_of(record: &[u8]) -> Option<LogHead> {
    let (_, body) = kind_of(record).ok()?;
    LogHead::read(&mut Reader::new(body)).ok()
}
