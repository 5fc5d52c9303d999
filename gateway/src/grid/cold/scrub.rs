//! Reading blocks that nobody reads, slowly: what rots on disk is found while a peer still has it.

use std::time::{Duration, Instant};

use super::super::logs::LOGS_SLICE;
use super::super::state::{LogId, State};
use super::super::{EntryId, Grid};
use super::{Absent, Cold, ColdError};

/// How long it waits at the start, and where there is nothing to read.
const IDLE: Duration = Duration::from_secs(60);

/// Walks over all blocks on disk, again and again.
#[derive(Debug)]
pub(in crate::grid) struct Scrub {
    /// How long it takes for all of them.
    every: Duration,
    /// Each waits so long for the next.
    wait: Duration,
    next: Instant,
    /// The last that was read; none: a walk begins.
    at: Option<(LogId, EntryId)>,
    /// Where the first walk begins, so that a gateway which often starts anew gets round too.
    seed: u64,
    /// File and beginning of a group in which a block is damaged: those behind it cannot be read.
    broken: Option<(u64, u64)>,
}

impl Scrub {
    /// Reads all blocks once in `every`, from `now` on.
    pub(in crate::grid) fn new(every: Duration, now: Instant, seed: u64) -> Self {
        Self {
            every,
            wait: IDLE,
            next: now + IDLE,
            at: None,
            seed,
            broken: None,
        }
    }

    /// Reads a block if one is due by `now`. Waits for the disk: not for tokio's threads.
    pub(in crate::grid) fn step(&mut self, grid: &Grid, now: Instant) {
        if now < self.next {
            return;
        }
        let found = self.following(grid);
        if let Some((log, absent)) = &found {
            self.check(grid, *log, absent);
        }
        self.at = found.map(|(log, absent)| (log, absent.first));
        self.next = now + self.wait;
    }

    /// The next block; none at the end of a walk.
    fn following(&mut self, grid: &Grid) -> Option<(LogId, Absent)> {
        let mut at = match self.at {
            Some(at) => at,
            None => self.begin(grid)?,
        };
        loop {
            let state = grid.lock();
            let end = at.0.0 + LOGS_SLICE;
            let found = state.next_cold(at, end);
            if found.is_some() || end >= state.logs.len() {
                return found;
            }
            at = (LogId(end), EntryId::MIN);
        }
    }

    /// Where a walk begins, at a pace that depends on how many blocks there are; none without any.
    fn begin(&mut self, grid: &Grid) -> Option<(LogId, EntryId)> {
        let state = grid.lock();
        let blocks: usize = state.logs.iter().map(|log| log.cold()).sum();
        let Some(count) = u32::try_from(blocks).ok().filter(|count| *count > 0) else {
            self.wait = IDLE;
            return None;
        };
        self.wait = self.every / count;
        let mut skip = std::mem::take(&mut self.seed) as usize % blocks;
        for (place, log) in state.logs.iter().enumerate() {
            if skip < log.cold() {
                return Some((LogId(place), log.before_cold(skip)));
            }
            skip -= log.cold();
        }
        None
    }

    fn check(&mut self, grid: &Grid, log: LogId, absent: &Absent) {
        let Some(cold) = &absent.cold else { return };
        let group = cold.group();
        let checked = match self.broken == Some(group) {
            true => Err(cold.damaged("one before it in its group is")),
            false => cold.check(),
        };
        match checked {
            Ok(()) => {}
            Err(error @ ColdError::Damaged { .. }) => {
                self.broken = Some(group);
                grid.lose(log, absent, &error);
            }
            Err(error) => tracing::warn!(%error, "a block of a log is not checked"),
        }
        grid.lock().tally.scrubbed_blocks += 1;
    }
}

impl State {
    /// The first block on disk after `at`, of the logs before the one at `end`.
    fn next_cold(&self, (log, after): (LogId, EntryId), end: usize) -> Option<(LogId, Absent)> {
        let logs = self.logs.iter().enumerate().take(end).skip(log.0);
        let mut found = logs.filter_map(|(place, other)| {
            let after = if place == log.0 { after } else { EntryId::MIN };
            Some((LogId(place), other.cold_after(after)?))
        });
        found.next()
    }
}

impl Cold {
    /// File and beginning of the blocks that are read one after the other.
    pub(super) fn group(&self) -> (u64, u64) {
        let (number, offset) = self.place();
        (number, offset.saturating_sub(u64::from(self.since)))
    }

    /// Reads the block, without unpacking it.
    fn check(&self) -> Result<(), ColdError> {
        let read = self.segment.open();
        let record = read.and_then(|file| self.segment.record(&file, self.offset));
        match record.map_err(|error| self.segment.failed(self.offset, error))? {
            Some(_) => Ok(()),
            None => Err(self.damaged("it fails its check")),
        }
    }

    fn damaged(&self, what: &'static str) -> ColdError {
        self.segment.damaged(self.offset, what)
    }
}
