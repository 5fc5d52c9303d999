//! An index of what came the other way: a restore must not ship the backup again.

use super::tables::Cutting;
use crate::chunker::{Fingerprint, OpenChunk};
use crate::history::{ChunkNote, Extent, HistoryId, Index, Ledger, Position};

/// Most bytes indexed before a batch is encoded, so that no batch waits long for it.
const BYTES_PER_BATCH: usize = 4 << 20;

/// The chunks of what we received, cut by our own key when we next send.
#[derive(Debug)]
pub(super) struct Reverse {
    index: Index,
    history: Option<(HistoryId, u64)>,
    indexed: Position,
    /// The tail when last looked at.
    seen: Position,
}

impl Reverse {
    pub(super) fn with_room(chunks: u64) -> Self {
        Self {
            index: Index::with_room(chunks),
            history: None,
            indexed: Position(0),
            seen: Position(0),
        }
    }

    pub(super) fn index(&self) -> &Index {
        &self.index
    }

    /// Begins with the chunks that the disk knows, and goes on from there.
    pub(super) fn recover(&mut self, received: &Ledger) {
        self.index.clear();
        self.history = received.identity();
        (self.indexed, self.seen) = (Position(0), Position(0));
        received.visit_chunks(|chunk| {
            self.index.insert(chunk.fingerprint, chunk.extent);
            self.indexed = self.indexed.max(chunk.extent.end());
        });
    }

    /// Goes on indexing.
    pub(super) fn catch_up(&mut self, received: &mut Ledger, cutting: &Cutting) {
        if received.identity() != self.history || received.tail() < self.indexed {
            self.recover(received);
        }
        if received.tail() == self.seen {
            return;
        }
        let at = self.indexed.max(received.oldest());
        let len = received.tail().since(at).min(BYTES_PER_BATCH);
        self.seen = at.after(len);
        let mut bytes = Vec::with_capacity(len);
        if len == 0 || received.read(Extent { at, len }, &mut bytes).is_err() {
            self.indexed = at.after(len);
            return;
        }
        let (mut from, mut open) = (0, OpenChunk::default());
        while let Some(len) = cutting.chunker.next_cut(&mut open, &bytes[from..]) {
            let fingerprint = cutting.chunker.fingerprint(&bytes[from..from + len]);
            let extent = Extent {
                at: at.after(from),
                len,
            };
            self.index.insert(fingerprint, extent);
            received.note(ChunkNote {
                extent,
                fingerprint,
                features: None,
            });
            from += len;
        }
        // The last chunk is cut again once it has an end.
        self.indexed = at.after(from);
    }

    pub(super) fn get(&self, fingerprint: Fingerprint) -> Option<Extent> {
        let held = self.index.get(fingerprint)?;
        Some(Extent {
            at: held.at.of_received(),
            ..held
        })
    }
}
