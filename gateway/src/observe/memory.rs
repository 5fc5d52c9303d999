//! Where the memory of a gateway is.

use serde::{Deserialize, Serialize};

/// Where the memory of a gateway is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MemoryReport {
    /// What the kernel counts as this process's.
    pub resident_bytes: u64,
    /// Where it is.
    pub parts: Vec<MemoryPart>,
    /// The most that it may come to with this configuration, all parts at their caps at once.
    pub bytes_max: u64,
}

/// One of the parts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MemoryPart {
    /// Its name: a label in metrics.
    pub part: String,
    /// Its bytes.
    pub bytes: u64,
}
