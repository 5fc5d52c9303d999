//! What the replication of a link needs: positions, recent flushes, catching up, applying.

use std::sync::Arc;

use bytes::Bytes;
use strait_transport::SiteName;
use tokio::sync::watch;

use super::{
    Digest, EntryId, Epoch, FlushError, Grid, GridStats, LogName, LogPosition, Origin, Positions,
    Ticket,
};

/// All that one flush made durable, as records for peers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flushed {
    /// Its number.
    pub epoch: Epoch,
    /// Records of counters. The last one says that everything of ours up to `epoch` is held.
    pub counters: Vec<Bytes>,
    /// Records of new entries and trims of our own logs.
    pub logs: Vec<Bytes>,
}

/// What a record changed here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applied {
    /// For [`Grid::durable`].
    pub ticket: Ticket,
    /// Counters that the record named.
    pub counters: u64,
    /// Entries that were new.
    pub entries: u64,
}

/// Why a peer's record was not applied. Nothing of it was.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The peer's fault.
    #[error("the peer sent a record that cannot be read: {0}")]
    Malformed(&'static str),
    /// Entries before the record's first are missing: ask again from `have`.
    #[error("log {log} has a gap: we hold it up to {}", have.last)]
    Gap { log: LogName, have: LogPosition },
    /// Our own fault: the journal or the memory cap. Try again later.
    #[error("records are refused for now: {0}")]
    Refused(String),
}

/// A scan over all counters for a peer that was away too long for [`Grid::flushed`].
#[derive(Debug)]
pub struct CounterScan {
    epoch: Epoch,
}

impl CounterScan {
    /// After the scan, go on with the flush that follows this one.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The next record, at most `bytes_max` long; none at the end.
    ///
    /// Blocks: the last step waits for a flush. Not for tokio's threads.
    pub fn next(&mut self, _bytes_max: usize) -> Result<Option<Bytes>, FlushError> {
        Ok(None)
    }
}

impl Grid {
    /// What our components are signed with.
    pub fn origin(&self) -> Origin {
        Origin {
            site: self.config.site.clone(),
            incarnation: self.config.incarnation,
        }
    }

    /// Makes everything written so far durable and returns the epoch that holds it.
    /// Blocks for an fsync: not for tokio's threads.
    pub fn flush(&self) -> Result<Epoch, FlushError> {
        Ok(Epoch(0))
    }

    /// Wakes the thread that flushes, ahead of its tick.
    pub fn flush_soon(&self) {}

    /// The last durable epoch, as it moves.
    pub fn subscribe(&self) -> watch::Receiver<Epoch> {
        watch::channel(Epoch(0)).1
    }

    /// What we hold durably, of our own and of others: what a peer needs to know to go on.
    pub fn positions(&self) -> Positions {
        Positions::default()
    }

    /// One of the recent flushes; none when it is too old (then scan) or has not happened yet.
    pub fn flushed(&self, _epoch: Epoch) -> Option<Arc<Flushed>> {
        None
    }

    /// Starts a scan of all that somebody who holds `have` lacks of the counters.
    pub fn scan_counters(self: &Arc<Self>, _have: Positions) -> CounterScan {
        CounterScan { epoch: Epoch(0) }
    }

    /// All logs, our own and others', with what of them is durable here.
    pub fn logs(&self) -> Vec<(LogName, LogPosition)> {
        Vec::new()
    }

    /// The next record of `log` for somebody who holds it up to `have`, and what they hold with
    /// it; none when they lack nothing.
    pub fn log_after(
        &self,
        _log: &LogName,
        _have: LogPosition,
        _bytes_max: usize,
    ) -> Option<(Bytes, LogPosition)> {
        None
    }

    /// Every peer holds `log` up to `id`: what was trimmed up to there may go.
    pub fn set_log_floor(&self, _log: &LogName, _id: EntryId) {}

    /// `site` has told us that it durably holds all our flushes up to `epoch`, counters and logs.
    /// `WAIT` counts these.
    pub fn set_peer_acked(&self, _site: &SiteName, _epoch: Epoch) {}

    /// Merges a peer's record into memory and queues it for the journal.
    pub fn apply(&self, _record: Bytes) -> Result<Applied, ApplyError> {
        Ok(Applied {
            ticket: Ticket(0),
            counters: 0,
            entries: 0,
        })
    }

    /// Waits until what `ticket` stands for is fsynced.
    pub async fn durable(&self, _ticket: Ticket) {}

    /// One figure over all counters and logs, in whatever order: equal at two sites that hold the
    /// same. Takes long on large grids: not for tokio's threads.
    pub fn digest(&self) -> Digest {
        Digest::default()
    }

    /// Figures for metrics and `INFO`.
    pub fn stats(&self) -> GridStats {
        GridStats::default()
    }
}
