//! What the encoder knows of history, and what it cuts and samples it by.

use super::noise::is_noise_chunk;
use crate::chunker::{Chunker, ChunkerKey};
use crate::history::{ChunkNote, Index, Position, Threads};
use crate::similarity::{Sampler, Similar, SuperFeatures};

/// What follows from the deployment's key.
#[derive(Debug)]
pub(super) struct Cutting {
    pub(super) chunker: Chunker,
    sampler: Sampler,
}

impl Cutting {
    pub(super) fn new(key: ChunkerKey) -> Self {
        Self {
            chunker: Chunker::new(key),
            sampler: Sampler::new(key),
        }
    }

    /// What a chunk has in common with those like it; `None` if nothing can be told.
    ///
    /// Random chunks are not sampled: an edited copy of one is found by where its neighbours stand.
    pub(super) fn features(&self, chunk: &[u8]) -> Option<SuperFeatures> {
        (!is_noise_chunk(chunk)).then(|| self.sampler.sample(chunk))?
    }
}

/// Where in what we sent things stand. All of it is hints that are checked against the bytes.
#[derive(Debug)]
pub(super) struct Tables {
    pub(super) index: Index,
    pub(super) threads: Threads,
    pub(super) similar: Similar,
}

/// Memory of the tables that have a fixed size.
pub(crate) const TABLES_BYTES: u64 = Threads::BYTES + Similar::BYTES;

impl Tables {
    pub(super) fn with_room(chunks: u64) -> Self {
        Self {
            index: Index::with_room(chunks),
            threads: Threads::default(),
            similar: Similar::default(),
        }
    }

    pub(super) fn enter(&mut self, chunk: ChunkNote) {
        self.index.insert(chunk.fingerprint, chunk.extent);
        if let Some(features) = chunk.features {
            self.similar.insert(features, chunk.extent.at);
        }
    }

    /// Forgets the chunks outside `oldest..tail`; the other tables age by themselves.
    pub(super) fn retain(&mut self, oldest: Position, tail: Position) {
        self.index.retain(oldest, tail);
    }
}
