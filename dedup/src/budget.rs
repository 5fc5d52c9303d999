//! How a store's caps are divided among the histories of its links (rule H7).

use crate::history::{Index, SEGMENT_BYTES};

/// What a store may take in all.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    pub(crate) memory_bytes_max: u64,
    /// `None` where nothing is kept on disk.
    pub(crate) disk_bytes_max: Option<u64>,
    /// Links among which that is divided, two histories each.
    pub(crate) links: usize,
    /// Memory of a link's tables that have a fixed size.
    pub(crate) tables_bytes: u64,
}

/// What one history may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Share {
    /// Most bytes of history.
    pub(crate) history_bytes_max: u64,
    /// Most of them in memory.
    pub(crate) memory_bytes_max: u64,
    /// Most chunks in the index.
    pub(crate) chunks_max: u64,
}

/// Average length of a chunk, in bytes.
const CHUNK_BYTES: u64 = crate::chunker::CHUNK_BYTES_AVG as u64;
/// On disk there may be besides the history: the newest segment before the oldest goes, what of the
/// oldest is no longer referred to, and one that was put aside.
const SPARE_BYTES: u64 = 3 * SEGMENT_BYTES;

impl Budget {
    /// The share of each history. Its index is taken from the memory; where that would take more
    /// than half of it, less history is kept.
    pub(crate) fn share(&self) -> Share {
        let histories = self.links.max(1) as u64 * 2;
        let memory = (self.memory_bytes_max / histories).saturating_sub(self.tables_bytes / 2);
        let wanted = match self.disk_bytes_max.map(|bytes| bytes / histories) {
            Some(disk) => disk - (disk / 2).min(SPARE_BYTES),
            None => memory,
        };
        let chunks_max = (wanted / CHUNK_BYTES).min(memory / 2 / Index::CHUNK_BYTES_MAX);
        let memory_bytes_max = memory - chunks_max * Index::CHUNK_BYTES_MAX;
        let history_bytes_max = match self.disk_bytes_max {
            Some(_) => wanted.min(chunks_max * CHUNK_BYTES),
            None => memory_bytes_max,
        };
        Share {
            history_bytes_max,
            memory_bytes_max,
            chunks_max,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn share(memory: u64, disk: Option<u64>, links: usize) -> Share {
        let budget = Budget {
            memory_bytes_max: memory,
            disk_bytes_max: disk,
            links,
            tables_bytes: 4 * MIB,
        };
        let share = budget.share();
        let index = share.chunks_max * Index::CHUNK_BYTES_MAX;
        let histories = 2 * links as u64;
        assert!(histories * (share.memory_bytes_max + index + 2 * MIB) <= memory);
        share
    }

    #[test]
    fn the_index_comes_out_of_the_memory() {
        let in_memory = share(256 * MIB, None, 1);
        assert!(in_memory.history_bytes_max > 125 * MIB);
        let on_disk = share(256 * MIB, Some(4096 * MIB), 1);
        assert_eq!(on_disk.history_bytes_max, 2000 * MIB);
        assert!(on_disk.memory_bytes_max > 121 * MIB);
        let halved = share(256 * MIB, Some(4096 * MIB), 2);
        assert_eq!(halved.history_bytes_max, 976 * MIB);
    }

    #[test]
    fn a_disk_too_large_for_the_memorys_index_is_not_filled() {
        let share = share(64 * MIB, Some(1 << 40), 1);
        assert!(share.history_bytes_max < 10 << 30 && share.history_bytes_max > 7 << 30);
        assert!(share.memory_bytes_max >= 15 * MIB);
    }
}
