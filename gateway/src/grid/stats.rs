//! Figures about the grid.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One figure over the grid's whole state; equal at two sites that hold the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Digest(pub [u8; 32]);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

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
    /// Counters and logs changed since the last flush.
    pub dirty: u64,
    /// The last durable epoch.
    pub epoch: u64,
    /// Flushes that wrote something.
    pub flushes_total: u64,
    /// Flushes that failed.
    pub flush_errors_total: u64,
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
    /// Records merged from peers.
    pub applied_records_total: u64,
    /// Records from peers that were refused because entries before them are missing.
    pub applied_gaps_total: u64,
}
