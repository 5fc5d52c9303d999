//! What befalls a history on disk: to be logged by whoever runs the link.

use std::fmt;

/// What befell a link's history on disk. The link goes on; it costs bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HistoryEvent {
    /// Bytes could not be read, or failed their check: they are not read again, and what refers to
    /// them is sent as literals.
    Quarantined {
        /// The history's directory.
        dir: String,
        /// Where in the history they stood.
        at: u64,
        /// How many.
        len: u64,
    },
    /// The disk is full or failing: the history goes on in memory.
    Unwritable {
        /// The history's directory.
        dir: String,
        /// What the operating system said.
        reason: String,
    },
    /// The history is written to disk again.
    Writable {
        /// The history's directory.
        dir: String,
    },
}

impl fmt::Display for HistoryEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Quarantined { dir, at, len } => write!(
                f,
                "{dir}: {len} damaged bytes at position {at} are quarantined, and will be sent again"
            ),
            Self::Unwritable { dir, reason } => write!(
                f,
                "{dir}: cannot be written, so the history goes on in memory: {reason}"
            ),
            Self::Writable { dir } => write!(f, "{dir}: is written again"),
        }
    }
}
