//! Where a gateway's memory is, and how much it may become.

use std::sync::Arc;
use std::time::Duration;

use strait_dedup::CODEC_BYTES_MAX;
use strait_transport::{LINK_MEMORY_BYTES_MAX, SOCKET_BYTES};

use super::parts::Parts;
use crate::config::Config;
use crate::grid::{Feed, GridStats, known_bytes_max};
use crate::heap::Heap;
use crate::observe::{HistoryReport, MemoryPart, MemoryReport};
use crate::resp::{CLIENT_BYTES, CLIENT_BYTES_MAX, ClientFigures, Endpoint, tls_bytes_max};

/// How often free memory is given back.
const GIVE_BACK_EVERY: Duration = Duration::from_secs(5);
/// The program, what is free in the heap, and what is in nobody's books.
const FIXED_BYTES: u64 = 64 << 20;
/// Files on their way here wait in so much memory, all together; and what flows have not passed on.
const FILES_BYTES_MAX: u64 = 256 << 20;
const FLOWS_BYTES_MAX: u64 = 256 << 20;

/// Gives free memory back now and then, for ever.
pub(super) async fn give_back(parts: Arc<Parts>) {
    loop {
        tokio::time::sleep(GIVE_BACK_EVERY).await;
        let parts = parts.clone();
        let give_back = move || {
            let untouched = parts.store.figures().untouched_bytes;
            parts.heap.give_back(untouched);
        };
        drop(tokio::task::spawn_blocking(give_back).await);
    }
}

impl Parts {
    /// The parts in the order of docs/OPERATING.md, section "Memory".
    pub(super) fn memory_report(
        &self,
        grid: &GridStats,
        history: &HistoryReport,
        clients: &ClientFigures,
    ) -> MemoryReport {
        // All links that were dialed from afar share a socket.
        let (mut links, mut known) = (SOCKET_BYTES, 0);
        for link in self.peers.present() {
            links += link.handle.status().memory_bytes;
            let feeds = Feed::ALL.map(|feed| link.progress.figures(feed).known_bytes);
            known += feeds.iter().sum::<u64>();
        }
        let booked = [
            ("counters", grid.counter_bytes),
            ("logs", grid.all_log_bytes),
            ("flushes", grid.flush_bytes),
            ("packing", known),
            ("history", history.memory_bytes),
            ("codec", history.codec_bytes),
            ("links", links),
            (
                "clients",
                clients.unread_bytes + clients.connected * CLIENT_BYTES,
            ),
        ];
        let heap = self.heap.look().unwrap_or_default();
        let heap = heap.without(history.untouched_bytes);
        MemoryReport {
            resident_bytes: heap.resident_bytes,
            parts: parts(heap, &booked),
            bytes_max: bytes_max(&self.config),
        }
    }
}

/// All parts, from what the gateway's own books say of some. What is allocated beyond them is another
/// part, and so are what the heap has free and the program.
fn parts(heap: Heap, booked: &[(&str, u64)]) -> Vec<MemoryPart> {
    let in_books: u64 = booked.iter().map(|(_, bytes)| bytes).sum();
    let live = heap.live_bytes.unwrap_or_else(|| heap.own_bytes());
    let rest = [
        ("other", live.saturating_sub(in_books)),
        ("free", heap.free_bytes().unwrap_or(0)),
        ("program", heap.file_bytes),
    ];
    let part = |&(part, bytes): &(&str, u64)| MemoryPart {
        part: part.to_owned(),
        bytes,
    };
    booked.iter().chain(&rest).map(part).collect()
}

/// All caps together.
fn bytes_max(config: &Config) -> u64 {
    let grid = config.grid.memory_bytes_max;
    let link = LINK_MEMORY_BYTES_MAX + CODEC_BYTES_MAX + known_bytes_max(grid);
    let tls = match config.listen.grid.iter().any(Endpoint::is_tls) {
        true => tls_bytes_max(config.grid.clients_max),
        false => 0,
    };
    let clients = config.grid.limits.unread_bytes_max as u64
        + config.grid.clients_max as u64 * CLIENT_BYTES_MAX
        + tls;
    let flows = match config.forwards.is_empty() && config.allow.is_empty() {
        true => 0,
        false => FLOWS_BYTES_MAX,
    };
    grid + config.history.memory_bytes_max
        + config.peers.len() as u64 * link
        + clients
        + FILES_BYTES_MAX
        + flows
        + FIXED_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn the_parts_add_up_to_what_the_kernel_says() {
        let heap = Heap {
            resident_bytes: 100 * MIB,
            file_bytes: 14 * MIB,
            live_bytes: Some(70 * MIB),
        };
        let parts = parts(heap, &[("counters", 40 * MIB), ("logs", 20 * MIB)]);
        let parts: Vec<_> = parts.iter().map(|p| (&*p.part, p.bytes / MIB)).collect();
        let expected = [
            ("counters", 40),
            ("logs", 20),
            ("other", 10),
            ("free", 16),
            ("program", 14),
        ];
        assert_eq!(parts, expected);
    }
}
