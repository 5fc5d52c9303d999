//! A gateway's stored bytes and the links that share them.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::{Decoder, Encoder};

/// All of a gateway's stored bytes, shared by the encoders and decoders of its links.
#[derive(Clone, Debug)]
pub struct Store {
    config: Arc<StoreConfig>,
}

/// Where a gateway stores its history and how much of it.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// The directory of the segments; `None` keeps the history in memory only.
    pub dir: Option<PathBuf>,
    /// Hard cap on history kept in memory, in bytes.
    pub memory_bytes_max: u64,
    /// Hard cap on history kept on disk, in bytes.
    pub disk_bytes_max: u64,
}

/// What opening a store found and repaired.
#[derive(Clone, Debug, Default)]
pub struct Recovery {}

impl fmt::Display for Recovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("history: empty, in memory")
    }
}

/// Why a store could not be opened at all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The history's directory can't be made or read.
    #[error("cannot use the history directory {}: {source}", dir.display())]
    Directory {
        /// The directory.
        dir: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
}

impl Store {
    /// Opens the store, repairing what it can: damaged history costs bytes on the link, never a
    /// start.
    pub fn open(config: StoreConfig) -> Result<(Self, Recovery), OpenError> {
        let config = Arc::new(config);
        Ok((Self { config }, Recovery::default()))
    }

    /// The caps and the place it was opened with.
    pub fn config(&self) -> &StoreConfig {
        &self.config
    }

    /// The encoder and decoder of the link to `peer`, a stable name: its public key's text.
    pub fn link(&self, _peer: &str) -> (Encoder, Decoder) {
        (Encoder::new(), Decoder::new())
    }
}
