//! Moving the oldest entries in memory to the disk.

use std::collections::BinaryHeap;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::super::blocks::{Span, Stretch};
use super::super::state::{LogId, State};
use super::super::{EntryId, Grid, LogName, now_ms};
use super::block::section;
use super::scrub::Scrub;
use super::{Cold, ColdStore};

/// Memory of the entries in one block.
pub(super) const BLOCK_BYTES_MAX: usize = 900 << 10;
/// Blocks that share an fsync.
const BLOCKS_A_ROUND: usize = 16;
/// How often the thread looks at what logs take.
const EVERY: Duration = Duration::from_millis(50);
/// How long a disk that failed is left alone.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Figures about what is on disk.
#[derive(Clone, Debug, Default)]
pub(in crate::grid) struct SpillFigures {
    /// Files of cold blocks, in bytes.
    pub(in crate::grid) bytes: u64,
    /// Blocks written.
    pub(in crate::grid) blocks: u64,
    /// Attempts that the disk refused.
    pub(in crate::grid) errors: u64,
    /// The cap on disk is reached, or the disk refuses: entries stay in memory.
    pub(in crate::grid) is_held_up: bool,
}

/// What only the thread that spills may touch.
#[derive(Debug)]
pub(in crate::grid) struct Spill {
    store: ColdStore,
    failed_at: Option<Instant>,
    figures: SpillFigures,
}

impl Spill {
    pub(in crate::grid) fn new(store: ColdStore) -> Self {
        let figures = SpillFigures {
            bytes: store.bytes(),
            ..SpillFigures::default()
        };
        Self {
            store,
            failed_at: None,
            figures,
        }
    }

    pub(super) fn store(&mut self) -> &mut ColdStore {
        &mut self.store
    }

    /// Lets the disk fail, or work again at once.
    #[cfg(test)]
    pub(in crate::grid) fn break_disk(&mut self, broken: bool) {
        self.store.broken = broken;
        self.failed_at = None;
    }
}

/// A block on its way to the disk.
struct Moving {
    log: LogId,
    stretch: Stretch,
}

/// Logs by what they could give back, the most first.
type Candidates = BinaryHeap<(usize, usize)>;

impl State {
    /// The next block to go to the disk: of the log that has most in memory, until it has no more.
    fn next_stretch(&self, logs: &mut Candidates, after: &[Moving]) -> Option<Moving> {
        while let Some((_, place)) = logs.peek() {
            let id = LogId(*place);
            let moving = after.last().filter(|moving| moving.log == id);
            let after = moving.map_or(EntryId::MIN, |moving| moving.stretch.last);
            let span = Span { after, ..Span::ALL };
            if let Some(stretch) = self.log(id).stretch(span, BLOCK_BYTES_MAX) {
                return Some(Moving { log: id, stretch });
            }
            logs.pop();
        }
        None
    }

    /// The name and the entries of a block.
    fn copy_stretch(&self, moving: &Moving) -> (LogName, bytes::Bytes) {
        let (log, stretch) = (self.log(moving.log), &moving.stretch);
        let mut copy = section(&log.name, stretch.prev);
        for (id, payload) in log.physical(stretch.first, stretch.last) {
            copy.add(id, payload);
        }
        (log.name.clone(), copy.finish())
    }
}

impl Grid {
    /// Moves the oldest entries to the disk until logs take no more memory than they may; how many
    /// blocks. Waits for the disk and compresses: not for tokio's threads.
    pub fn spill(&self) -> u64 {
        let mut spill = self.cold.lock();
        let Some(spill) = spill.as_mut() else {
            return 0;
        };
        let waits = spill.failed_at.is_some_and(|at| at.elapsed() < RETRY_AFTER);
        let before = spill.figures.blocks;
        if let (Some(config), false) = (self.config.cold, waits) {
            let mut more = true;
            while more && self.state.lock().log_bytes as u64 > config.memory_bytes_max {
                spill.figures.is_held_up = spill.store.bytes() >= config.disk_bytes_max;
                more =
                    !spill.figures.is_held_up && self.spill_round(spill, config.memory_bytes_max);
            }
        }
        spill.store.sweep();
        self.publish_cold(spill);
        spill.figures.blocks - before
    }

    pub(super) fn publish_cold(&self, spill: &mut Spill) {
        spill.figures.bytes = spill.store.bytes();
        *self.cold_figures.lock() = spill.figures.clone();
    }

    /// Moves some blocks; false if there are none, or the disk refuses.
    fn spill_round(&self, spill: &mut Spill, memory_bytes_max: u64) -> bool {
        let moving = self.pin_stretches(memory_bytes_max);
        let written = self.write_stretches(&mut spill.store, &moving);
        let mut state = self.state.lock();
        match written {
            Ok(colds) => {
                for (Moving { log, stretch }, cold) in moving.iter().zip(colds) {
                    state.rehouse_log(*log, |log| log.freeze(stretch, cold));
                }
                spill.figures.blocks += moving.len() as u64;
                spill.failed_at = None;
            }
            Err(error) => {
                if spill.failed_at.is_none() {
                    tracing::error!(%error, "entries of logs stay in memory: the disk refuses them");
                }
                spill.figures.errors += 1;
                spill.figures.is_held_up = true;
                spill.failed_at = Some(Instant::now());
            }
        }
        for Moving { log, .. } in &moving {
            state.rehouse_log(*log, |log| log.pin(None));
        }
        // Under the lock: who sees the memory given back sees the disk taken.
        self.publish_cold(spill);
        !moving.is_empty() && spill.failed_at.is_none()
    }

    fn candidates(&self) -> Candidates {
        let mut found = Vec::new();
        self.each_log(|LogId(place), log| {
            let bytes = log.spillable_bytes();
            if bytes > 0 {
                found.push((bytes, place));
            }
        });
        found.into()
    }

    /// Picks blocks, and keeps them in memory until they have been written.
    fn pin_stretches(&self, memory_bytes_max: u64) -> Vec<Moving> {
        let mut candidates = self.candidates();
        let (mut moving, mut bytes) = (Vec::<Moving>::new(), 0);
        while moving.len() < BLOCKS_A_ROUND {
            let mut state = self.state.lock();
            if (state.log_bytes as u64).saturating_sub(bytes) <= memory_bytes_max {
                break;
            }
            let Some(next) = state.next_stretch(&mut candidates, &moving) else {
                break;
            };
            bytes += u64::from(next.stretch.bytes_hot);
            if !moving.iter().any(|known| known.log == next.log) {
                state.rehouse_log(next.log, |log| log.pin(Some(next.stretch.first)));
            }
            moving.push(next);
        }
        moving
    }

    /// Moves one block, which was pinned, to the disk.
    pub(super) fn spill_one(
        &self,
        spill: &mut Spill,
        log: LogId,
        stretch: Stretch,
    ) -> io::Result<()> {
        let moving = [Moving { log, stretch }];
        let colds = self.write_stretches(&mut spill.store, &moving)?;
        let mut state = self.state.lock();
        for cold in colds {
            state.rehouse_log(log, |log| log.freeze(&stretch, cold));
        }
        spill.figures.blocks += 1;
        Ok(())
    }

    fn write_stretches(&self, store: &mut ColdStore, moving: &[Moving]) -> io::Result<Vec<Cold>> {
        let mut colds = Vec::with_capacity(moving.len());
        for next in moving {
            let (log, section) = self.state.lock().copy_stretch(next);
            colds.push(store.append(&log, next.stretch, &section)?);
        }
        store.sync()?;
        Ok(colds)
    }
}

/// The running thread. Dropping it without [`Spiller::stop`] leaves it running.
#[derive(Debug)]
pub struct Spiller {
    stop: Arc<Stop>,
    thread: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Stop {
    asked: Mutex<bool>,
    changed: Condvar,
}

impl Spiller {
    /// Starts the thread. It reads each block on disk once in `scrub_every`, if that is to be.
    pub fn spawn(grid: Arc<Grid>, scrub_every: Option<Duration>) -> io::Result<Self> {
        let mut scrub = scrub_every.map(|every| Scrub::new(every, Instant::now(), now_ms()));
        let stop = Arc::new(Stop::default());
        let own = stop.clone();
        let thread = std::thread::Builder::new()
            .name("grid-spill".to_owned())
            .spawn(move || {
                let mut asked = own.asked.lock();
                while !*asked {
                    drop(asked);
                    grid.spill();
                    if let Some(scrub) = &mut scrub {
                        scrub.step(&grid, Instant::now());
                    }
                    asked = own.asked.lock();
                    if !*asked {
                        own.changed.wait_for(&mut asked, EVERY);
                    }
                }
                drop(asked);
                grid.close_cold();
            })?;
        Ok(Self { stop, thread })
    }

    /// Ends the thread when what it is writing is on disk.
    pub fn stop(self) {
        *self.stop.asked.lock() = true;
        self.stop.changed.notify_all();
        if self.thread.join().is_err() {
            tracing::error!("the thread that moves entries of logs to the disk has panicked");
        }
    }
}

impl Grid {
    pub(in crate::grid) fn close_cold(&self) {
        let mut spill = self.cold.lock();
        if let Some(Err(error)) = spill.as_mut().map(|spill| spill.store.close()) {
            // The next start reads those files through.
            tracing::debug!(%error, "files of cold blocks have no index");
        }
    }
}
