//! Figures about the grid.

use serde::{Deserialize, Serialize};

use super::Grid;
use super::counter::Counter;
use super::state::{Kind, State};

/// Memory of a counter, with its place in an index, without its name.
pub(super) const COUNTER_BYTES: usize = size_of::<Counter>() + 2 * size_of::<u64>();

/// Figures for metrics and `INFO`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct GridStats {
    /// Visible keys: counters, hashes and logs.
    pub keys: u64,
    /// Visible fields of hashes.
    pub fields: u64,
    /// Visible logs.
    pub logs: u64,
    /// Visible entries of logs.
    pub entries: u64,
    /// Memory taken by data and its indexes, estimated.
    pub memory_bytes: u64,
    /// Cap on the former.
    pub memory_bytes_max: u64,
    /// Of it, counters and what leads to them.
    pub counter_bytes: u64,
    /// Of it, logs: their entries, and the logs themselves.
    pub all_log_bytes: u64,
    /// Of it, what waits for the next flush, and flushes that are kept for peers.
    pub flush_bytes: u64,
    /// Counters and logs changed since the last flush.
    pub dirty: u64,
    /// The last durable epoch.
    pub epoch: u64,
    /// Flushes that wrote something.
    pub flushes_total: u64,
    /// Flushes that failed.
    pub flush_errors_total: u64,
    /// Age of the oldest change that is not on disk; 0 if all is.
    pub unwritten_seconds: f64,
    /// Flushes that reached the disk later than the window of loss allows: writes waited for them.
    pub late_flushes_total: u64,
    /// How long the last flush took, fsync included.
    pub flush_seconds_last: f64,
    /// Bytes of the journal's files now.
    pub journal_bytes: u64,
    /// Bytes ever written to the journal.
    pub journal_written_bytes_total: u64,
    /// Times the journal was rewritten in short form.
    pub compactions_total: u64,
    /// Writes are refused because the journal failed.
    pub journal_failed: bool,
    /// Writes by clients that changed something.
    pub writes_total: u64,
    /// Keys that have a deadline.
    pub expiring: u64,
    /// Keys that were deleted and are kept until every site is known to hold that.
    pub dead: u64,
    /// Keys that were forgotten for good, each time that they were.
    pub forgotten_total: u64,
    /// Sites for which those are kept: they have not said that they hold as much as we do.
    pub dead_kept_for: Vec<String>,
    /// Keys deleted because their deadline had passed.
    pub expired_total: u64,
    /// Records merged from peers.
    pub applied_records_total: u64,
    /// Records from peers that were refused because entries before them are missing.
    pub applied_gaps_total: u64,
    /// Records of peers with counters of this site that its own journal did not have: it has lost
    /// something that was durable.
    pub own_from_peers_total: u64,
    /// Records by which a peer told counters or entries of this site that it has not written.
    pub false_claims_total: u64,
    /// Records of peers with a clock reading more than a day ahead.
    pub clocks_refused_total: u64,
    /// Sums of peers that contradict what is held here: memory, a disk or a program went wrong.
    pub conflicts_total: u64,
    /// Bytes of trimmed entries that are kept because a peer lacks them.
    pub held_bytes: u64,
    /// Bytes of those that were let go all the same: `grid.on_full = "shed"`.
    pub shed_bytes_total: u64,
    /// Memory of entries of logs, and of where those on disk are.
    pub log_bytes: u64,
    /// Cap on the former.
    pub log_bytes_max: u64,
    /// Blocks of older entries on disk.
    pub cold_blocks: u64,
    /// Disk that those take.
    pub cold_bytes: u64,
    /// Cap on the former; 0: older entries stay in memory.
    pub cold_bytes_max: u64,
    /// Blocks written since the start.
    pub cold_blocks_written_total: u64,
    /// Attempts to write some that the disk refused.
    pub cold_errors_total: u64,
    /// Entries that should be on disk stay in memory: the cap is reached, or the disk refuses.
    pub cold_held_up: bool,
    /// Blocks that were damaged on disk, and stretches of entries that are missing there.
    pub lost_blocks_total: u64,
    /// Blocks that were read to see whether they still can be.
    pub scrubbed_blocks_total: u64,
    /// Stretches of entries that are lost here now: reading across one is an error.
    pub log_holes: u64,
    /// Peers that are to be compared because the disk was damaged: last entries of own logs may be lost.
    pub doubted_peers: u64,
    /// Entries of logs that were lost here and came back from a peer.
    pub mended_entries_total: u64,
    /// Counters of which comparing with peers showed that something was lost or damaged.
    pub differences_total: u64,
}

impl State {
    /// Memory that `key` takes, estimated: of a hash from at most `samples` of its fields, of a log
    /// what of it is in memory. None where nothing stands behind the key.
    pub(crate) fn bytes_of(&self, key: &[u8], samples: u64) -> Option<u64> {
        let value = match self.kind(key)? {
            Kind::Counter => 0,
            Kind::Log(id) => self.log(id).bytes() as u64,
            Kind::Hash => {
                let (mut seen, mut bytes) = (0, 0);
                let found = |field: &[u8], _| {
                    seen += 1;
                    bytes += (field.len() + COUNTER_BYTES) as u64;
                };
                self.fields(key, 0, samples, found).ok()?;
                bytes * self.fields_len(key).ok()? / seen.max(1)
            }
        };
        Some((key.len() + COUNTER_BYTES) as u64 + value)
    }
}

impl Grid {
    /// Figures for metrics and `INFO`.
    pub fn stats(&self) -> GridStats {
        let logs = self.log_sums();
        let figures = self.figures.lock().clone();
        let state = self.state.lock();
        let cold = self.cold_figures.lock().clone();
        let kept_for = state.forgetting.kept_for.iter();
        GridStats {
            keys: state.visible,
            fields: state.keys.fields_live,
            logs: logs.visible,
            entries: logs.entries,
            memory_bytes: state.bytes() as u64,
            memory_bytes_max: state.memory_bytes_max as u64,
            counter_bytes: state.counter_bytes() as u64,
            all_log_bytes: state.all_log_bytes() as u64,
            flush_bytes: state.flush_bytes() as u64,
            dirty: (state.dirty.len() + state.dirty_logs.len()) as u64,
            epoch: state.durable_epoch.0,
            flushes_total: figures.flushes,
            flush_errors_total: figures.errors,
            unwritten_seconds: state.unwritten.age().as_secs_f64(),
            late_flushes_total: figures.late,
            flush_seconds_last: figures.last.as_secs_f64(),
            journal_bytes: figures.journal_bytes,
            journal_written_bytes_total: figures.journal_written,
            compactions_total: figures.rewrites,
            journal_failed: state.refused.is_some(),
            writes_total: state.tally.writes.iter().sum(),
            expiring: state.expiring(),
            dead: state.forgetting.dead,
            forgotten_total: state.forgetting.total,
            dead_kept_for: kept_for.map(ToString::to_string).collect(),
            expired_total: state.tally.expired,
            applied_records_total: state.tally.applied,
            applied_gaps_total: state.tally.gaps,
            own_from_peers_total: state.tally.own_from_peers,
            false_claims_total: state.tally.false_claims,
            clocks_refused_total: state.tally.clocks_refused,
            conflicts_total: state.tally.conflicts,
            held_bytes: logs.held_bytes,
            shed_bytes_total: state.tally.shed_bytes,
            log_bytes: state.log_bytes as u64,
            log_bytes_max: state.log_bytes_max() as u64,
            cold_blocks: logs.cold_blocks,
            cold_bytes: cold.bytes,
            cold_bytes_max: self.config.cold.map_or(0, |cold| cold.disk_bytes_max),
            cold_blocks_written_total: cold.blocks,
            cold_errors_total: cold.errors,
            cold_held_up: cold.is_held_up,
            lost_blocks_total: state.tally.lost_blocks,
            scrubbed_blocks_total: state.tally.scrubbed_blocks,
            log_holes: logs.holes,
            doubted_peers: state.doubts.waiting().len() as u64,
            mended_entries_total: state.tally.mended_entries,
            differences_total: state.tally.differences,
        }
    }

    /// There may be very many logs: the lock is given back in between.
    fn log_sums(&self) -> LogSums {
        let mut sums = LogSums::default();
        self.each_log(|_, log| {
            sums.visible += u64::from(log.exists());
            sums.entries += log.len();
            sums.held_bytes += log.held_bytes() as u64;
            sums.cold_blocks += log.cold() as u64;
            sums.holes += log.lost() as u64;
        });
        sums
    }
}

/// Over all logs.
#[derive(Debug, Default)]
struct LogSums {
    visible: u64,
    entries: u64,
    held_bytes: u64,
    cold_blocks: u64,
    holes: u64,
}
