//! Flushing: seal, append to the journal, fsync, publish. And rewriting the journal in short form.

use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;

use super::counter::OriginId;
use super::journal::Journal;
use super::record::CounterRows;
use super::runs::EPOCH_LAST;
use super::scan::{CounterCursor, Have, LogCursor, Show};
use super::seal::{Sealed, seal};
use super::state::State;
use super::{Epoch, FlushError, Grid, RECORD_BYTES_MAX, Ticket};

/// A journal shorter than this is not worth rewriting.
const REWRITE_BYTES_MIN: u64 = 64 << 20;
/// Bytes of the rewrite that one flush writes: they delay what waits for it.
const REWRITE_STEP_BYTES: usize = 4 << 20;
/// How long a failed journal is left alone before the next attempt: at first, and at last, as each
/// one may take all the room there is.
const RETRY_AFTER: Duration = Duration::from_secs(1);
const RETRY_AFTER_MAX: Duration = Duration::from_secs(8);

/// What only the flush that runs may touch.
#[derive(Debug)]
pub(super) struct Writer {
    /// None: memory only.
    journal: Option<Journal>,
    rewrite: Option<Rewrite>,
    /// The files hold damage that a rewrite leaves behind.
    damaged: bool,
    /// Length of the journal after the last rewrite.
    rewritten_bytes: u64,
    /// The last attempt to begin a new file that failed.
    failed: Option<Failed>,
    /// The last flush came too late.
    was_late: bool,
    figures: FlushFigures,
}

/// When the disk refused, and for how long it is left alone.
#[derive(Clone, Copy, Debug)]
struct Failed {
    at: Instant,
    retry_after: Duration,
}

impl Failed {
    /// After one that failed `before`, if there was one.
    fn again(before: Option<Self>) -> Self {
        let retry_after = before.map_or(RETRY_AFTER, |before| {
            (before.retry_after * 2).min(RETRY_AFTER_MAX)
        });
        Self {
            at: Instant::now(),
            retry_after,
        }
    }

    fn is_over(&self) -> bool {
        self.at.elapsed() >= self.retry_after
    }
}

/// How far flushes have come.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Progress {
    /// Everything that this stands for is on disk.
    pub(super) done: Ticket,
    /// The last flush that failed. What it took may reach the disk later all the same.
    pub(super) failed: Ticket,
}

/// Figures about flushes.
#[derive(Clone, Debug, Default)]
pub(super) struct FlushFigures {
    pub(super) flushes: u64,
    pub(super) errors: u64,
    /// Those that came later than [`GridConfig::loss_window`](super::GridConfig::loss_window) allows.
    pub(super) late: u64,
    pub(super) last: Duration,
    pub(super) rewrites: u64,
    pub(super) journal_bytes: u64,
    pub(super) journal_written: u64,
}

/// A rewrite under way: everything in memory goes to a new file, while flushes go there too.
#[derive(Debug)]
struct Rewrite {
    /// What comes first in the new file, until it is there.
    head: Vec<Bytes>,
    counters: CounterCursor,
    logs: LogCursor,
    /// What was complete when the rewrite began.
    complete: Vec<(OriginId, Epoch)>,
    show: Show,
    scanned: bool,
    /// A number in it that a start would not read back.
    out_of_range: Option<&'static str>,
}

impl Rewrite {
    fn new(state: &Mutex<State>, show: Show) -> Self {
        let state = state.lock();
        Self {
            head: state.journal_head(),
            counters: CounterCursor::default(),
            logs: LogCursor::default(),
            complete: state.completeness(show),
            show,
            scanned: false,
            out_of_range: None,
        }
    }

    /// The next records, about `bytes_max`; sets `scanned` at the end.
    fn step(&mut self, state: &Mutex<State>, bytes_max: usize) -> Vec<Bytes> {
        let (mut records, mut bytes) = (Vec::new(), 0);
        while bytes < bytes_max && !self.scanned {
            let new = self.next_records(state);
            bytes += new.iter().map(Bytes::len).sum::<usize>();
            records.extend(new);
        }
        records
    }

    fn next_records(&mut self, state: &Mutex<State>) -> Vec<Bytes> {
        if let Some(record) = state.lock().scan_logs(&mut self.logs, self.show) {
            return vec![record];
        }
        let (wanted, mut rows) = ((&Have::default(), self.show), CounterRows::default());
        let target = RECORD_BYTES_MAX / 2;
        let mut more = true;
        while more && rows.bytes_max() < target {
            more = state
                .lock()
                .scan_slice(&mut self.counters, wanted, &mut rows, target);
        }
        self.scanned = !more;
        self.out_of_range = self.out_of_range.or(rows.out_of_range());
        let origins = state.lock().origins.clone();
        let mut records = rows.encode(&origins, if self.scanned { &self.complete } else { &[] });
        if self.scanned {
            // What was forgotten since the rewrite began may be missing here.
            records.extend(state.lock().forgotten_records());
        }
        records
    }
}

impl Writer {
    /// `damaged`: what is left of the journal is written anew as soon as possible.
    pub(super) fn new(journal: Option<Journal>, damaged: bool) -> Self {
        let figures = FlushFigures {
            journal_bytes: journal.as_ref().map_or(0, Journal::bytes),
            ..FlushFigures::default()
        };
        // Length as found: the next rewrite comes when it has doubled.
        Self {
            journal,
            rewrite: None,
            damaged,
            rewritten_bytes: 0,
            failed: None,
            was_late: false,
            figures,
        }
    }

    /// Lets the disk fail, or work again at once.
    #[cfg(test)]
    pub(super) fn break_disk(&mut self, broken: bool) {
        if let Some(journal) = &mut self.journal {
            journal.broken = broken;
        }
        self.failed = None;
    }

    /// Whoever holds it holds up all writing to the disk.
    #[cfg(test)]
    pub(super) fn disk_gate(&self) -> Option<std::sync::Arc<Mutex<()>>> {
        self.journal.as_ref().map(|journal| journal.gate.clone())
    }

    fn is_poisoned(&self) -> bool {
        self.journal.as_ref().is_some_and(Journal::is_poisoned)
    }

    /// Whether the disk is left alone for a while.
    fn waits(&self) -> bool {
        self.failed.is_some_and(|failed| !failed.is_over())
    }

    /// Writes records, unless one of their numbers is `out_of_range`: a start would put them aside.
    fn write(
        &mut self,
        records: &[Bytes],
        out_of_range: Option<&'static str>,
    ) -> std::io::Result<()> {
        let Some(journal) = &mut self.journal else {
            return Ok(());
        };
        if let Some(what) = out_of_range {
            journal.poison();
            let what = format!("{what} is out of range: a start would not read it back");
            return Err(std::io::Error::other(what));
        }
        let written = journal.write(records);
        self.figures.journal_bytes = journal.bytes();
        self.figures.journal_written = journal.written_total();
        written
    }

    fn wants_rewrite(&self) -> bool {
        let long = |journal: &Journal| {
            journal.len() > REWRITE_BYTES_MIN.max(self.rewritten_bytes.saturating_mul(2))
        };
        self.rewrite.is_none()
            && !self.waits()
            && self
                .journal
                .as_ref()
                .is_some_and(|j| long(j) || j.has_older() || self.damaged)
    }

    /// Begins a new file; whatever the next writes append goes there.
    fn begin_rewrite(&mut self, state: &Mutex<State>, show: Show) -> std::io::Result<()> {
        if let Some(journal) = &mut self.journal {
            journal.begin_next()?;
            self.rewrite = Some(Rewrite::new(state, show));
        }
        Ok(())
    }

    /// Nothing of the file that was begun for all of memory counts.
    fn take_back_rewrite(&mut self) {
        if let (Some(_), Some(journal)) = (self.rewrite.take(), &mut self.journal) {
            journal.take_back_next();
            self.figures.journal_bytes = journal.bytes();
        }
    }

    /// The new file holds everything: removes the older ones.
    fn end_rewrite(&mut self) {
        self.rewrite = None;
        self.figures.rewrites += 1;
        let Some(journal) = &mut self.journal else {
            return;
        };
        self.rewritten_bytes = journal.len();
        self.damaged = false;
        if let Err(error) = journal.drop_older() {
            // They cost space and time at the next start, nothing else; the next rewrite retries.
            tracing::warn!(%error, "cannot remove older files of the grid's journal");
        }
        self.figures.journal_bytes = journal.bytes();
    }
}

impl Grid {
    /// Whoever holds it holds up all writing to the disk.
    #[cfg(test)]
    pub(crate) fn disk_gate(&self) -> std::sync::Arc<Mutex<()>> {
        let gate = self.writer.lock().disk_gate();
        gate.expect("a grid with a journal")
    }

    /// Rewrites the journal as if it had grown long.
    #[cfg(test)]
    pub(super) fn begin_rewrite_now(&self) {
        let begun = self.writer.lock().begin_rewrite(&self.state, Show::Durable);
        begun.expect("a test's disk works");
    }

    /// Makes everything written so far durable and returns the epoch that holds it.
    /// Blocks for an fsync: not for tokio's threads.
    pub fn flush(&self) -> Result<Epoch, FlushError> {
        let mut writer = self.writer.lock();
        let epoch = self.flush_with(&mut writer);
        *self.figures.lock() = writer.figures.clone();
        epoch
    }

    fn flush_with(&self, writer: &mut Writer) -> Result<Epoch, FlushError> {
        if writer.is_poisoned() {
            self.recover_journal(writer)?;
        }
        if self.state.lock().epoch >= EPOCH_LAST {
            let spent = "this incarnation has no versions left to write under: the data directory needs a new one";
            return Err(self.journal_failed(writer, &std::io::Error::other(spent)));
        }
        let begun = Instant::now();
        let sealed = seal(&self.state);
        let scanned_before = writer
            .rewrite
            .as_ref()
            .is_some_and(|rewrite| rewrite.scanned);
        let (mut records, mut out_of_range) = (sealed.records(), sealed.out_of_range);
        if let Some(rewrite) = &mut writer.rewrite {
            records.splice(..0, rewrite.head.drain(..));
            records.extend(rewrite.step(&self.state, REWRITE_STEP_BYTES));
            out_of_range = out_of_range.or(rewrite.out_of_range);
        }
        if !records.is_empty() {
            if let Err(error) = writer.write(&records, out_of_range) {
                let ticket = sealed.ticket;
                self.progress
                    .send_modify(|progress| progress.failed = ticket);
                return Err(self.journal_failed(writer, &error));
            }
            writer.figures.flushes += 1;
            writer.figures.last = begun.elapsed();
        }
        self.note_lateness(writer);
        let epoch = self.publish(sealed);
        // What the scan left out because it was not durable is in this flush.
        if scanned_before {
            writer.end_rewrite();
        }
        if writer.wants_rewrite() {
            self.begin_rewrite(writer);
        }
        Ok(epoch)
    }

    fn begin_rewrite(&self, writer: &mut Writer) {
        match writer.begin_rewrite(&self.state, Show::Durable) {
            Ok(()) => writer.failed = None,
            Err(error) => {
                if writer.failed.is_none() {
                    tracing::warn!(%error, "cannot begin a new file of the grid's journal");
                }
                writer.failed = Some(Failed::again(writer.failed));
            }
        }
    }

    /// What is about to be published is on disk: was that too late?
    fn note_lateness(&self, writer: &mut Writer) {
        let (late, age) = {
            let unwritten = &self.state.lock().unwritten;
            (unwritten.is_late(), unwritten.age())
        };
        if late && !writer.was_late {
            tracing::warn!(
                oldest_s = age.as_secs_f64(),
                "the disk is behind: writes in memory wait for it"
            );
        }
        writer.was_late = late;
        writer.figures.late += u64::from(late);
    }

    fn publish(&self, sealed: Sealed) -> Epoch {
        let ticket = sealed.ticket;
        let moved = sealed.epoch.is_some();
        let epoch = if sealed.is_empty() && sealed.positions.is_empty() {
            let mut state = self.state.lock();
            // All that was heard of peers may have been on disk before.
            state.runs.settle(ticket);
            state.durable_epoch
        } else {
            self.state.lock().settle(sealed)
        };
        if moved {
            self.epochs.send_replace(epoch);
        }
        self.show_flushes();
        self.progress.send_modify(|progress| progress.done = ticket);
        epoch
    }

    fn show_flushes(&self) {
        let number = self.state.lock().flush_number;
        self.flushes.send_if_modified(|shown| {
            let moved = *shown != number;
            *shown = number;
            moved
        });
    }

    /// From here on writes are refused: what is in memory cannot be made durable.
    fn journal_failed(&self, writer: &mut Writer, error: &std::io::Error) -> FlushError {
        writer.figures.errors += 1;
        writer.failed = Some(Failed::again(writer.failed));
        writer.rewrite = None;
        let reason = error.to_string();
        let mut state = self.state.lock();
        if state.refused.is_none() {
            tracing::error!(
                %error,
                "the grid's journal cannot be written: writes are refused until a new one can"
            );
        }
        state.refused = Some(reason.as_str().into());
        FlushError { reason }
    }

    /// Nobody knows what of the failed file is on disk, so everything in memory goes to a new
    /// file. Writes are refused meanwhile, so memory stands still.
    fn recover_journal(&self, writer: &mut Writer) -> Result<(), FlushError> {
        if writer.waits() {
            let reason = self
                .state
                .lock()
                .refused
                .as_deref()
                .unwrap_or("failed")
                .to_owned();
            return Err(FlushError { reason });
        }
        if let Err(error) = self.rewrite_all(writer) {
            writer.take_back_rewrite();
            return Err(self.journal_failed(writer, &error));
        }
        writer.end_rewrite();
        writer.failed = None;
        self.state.lock().refused = None;
        tracing::info!("the grid's journal is written again, to a new file");
        Ok(())
    }

    fn rewrite_all(&self, writer: &mut Writer) -> std::io::Result<()> {
        let sealed = seal(&self.state);
        let whole = self.state.lock().whole();
        writer.begin_rewrite(&self.state, Show::Sealed)?;
        while let Some(rewrite) = writer.rewrite.as_mut().filter(|rewrite| !rewrite.scanned) {
            let mut records = std::mem::take(&mut rewrite.head);
            records.extend(rewrite.step(&self.state, REWRITE_STEP_BYTES));
            let out_of_range = rewrite.out_of_range;
            writer.write(&records, out_of_range)?;
        }
        let epoch = self.state.lock().settle_whole(whole);
        self.epochs.send_replace(epoch);
        self.show_flushes();
        self.progress
            .send_modify(|progress| progress.done = sealed.ticket);
        Ok(())
    }
}
