//! The gateway itself, its clients and its grid; and the rooms beside the grid.

use super::super::{Metric, Value, counter, gauge};
use super::some;
use crate::observe::memory::MemoryPart;
use crate::observe::status::{RefusalReport, Status};

pub(in super::super) const GRID: &[Metric<Status>] = &[
    gauge("strait_ready", "1 if clients are served", |s| {
        some(s.not_ready.is_empty())
    }),
    gauge(
        "strait_uptime_seconds",
        "Time since the gateway was started",
        |s| some(s.gateway.uptime_s),
    ),
    gauge(
        "strait_memory_max_bytes",
        "The most that the process may come to, all parts of it at their caps at once",
        |s| some(s.memory.bytes_max),
    ),
    counter(
        "strait_clock_steps",
        "Times that the machine's clock was set by a second or more, ahead or back",
        |s| some(s.clock_steps),
    ),
    gauge(
        "strait_grid_clients",
        "Redis clients that are connected",
        |s| some(s.clients.connected),
    ),
    gauge(
        "strait_grid_blocked_clients",
        "Of those, how many wait: for room, WAIT, XREAD BLOCK",
        |s| some(s.clients.blocked),
    ),
    counter(
        "strait_grid_connections",
        "Connections of Redis clients that were served",
        |s| some(s.clients.connections),
    ),
    counter(
        "strait_grid_turned_away",
        "Connections beyond grid.clients_max, which were closed",
        |s| some(s.clients.turned_away),
    ),
    gauge(
        "strait_grid_unread_bytes",
        "Memory that Redis clients hold with unread replies, unfinished requests and transactions; \
         less than 64 KiB of a client does not count",
        |s| some(s.clients.unread_bytes),
    ),
    counter(
        "strait_grid_cut_off",
        "Redis clients that were cut off as they all held more than grid.unread_bytes_max",
        |s| some(s.clients.cut_off),
    ),
    counter(
        "strait_grid_wrong_passwords",
        "Wrong passwords of Redis clients",
        |s| some(s.clients.wrong_passwords),
    ),
    counter(
        "strait_grid_unauthenticated_closed",
        "Connections closed before the client gave the password: after 10 s, or for another client",
        |s| some(s.clients.unauthenticated),
    ),
    counter(
        "strait_grid_http_closed",
        "Connections of Redis clients that were closed as they spoke HTTP",
        |s| some(s.clients.http),
    ),
    counter(
        "strait_grid_denied",
        "Commands of Redis clients whose user has no right to them",
        |s| some(s.clients.denied),
    ),
    counter(
        "strait_grid_tls_handshakes",
        "TLS handshakes with Redis clients that succeeded",
        |s| some(s.clients.handshakes),
    ),
    counter(
        "strait_grid_tls_failed",
        "TLS handshakes with Redis clients that failed, or took longer than 10 s",
        |s| some(s.clients.failed_handshakes),
    ),
    counter(
        "strait_grid_commands",
        "Commands of Redis clients, whatever they were answered",
        |s| some(s.clients.commands),
    ),
    gauge(
        "strait_grid_keys",
        "Visible keys: counters, hashes and logs",
        |s| some(s.grid.keys),
    ),
    gauge("strait_grid_fields", "Visible fields of hashes", |s| {
        some(s.grid.fields)
    }),
    gauge("strait_grid_logs", "Visible logs", |s| some(s.grid.logs)),
    gauge("strait_grid_entries", "Visible entries of logs", |s| {
        some(s.grid.entries)
    }),
    gauge(
        "strait_grid_memory_bytes",
        "Memory of counters and logs, estimated",
        |s| some(s.grid.memory_bytes),
    ),
    gauge(
        "strait_grid_memory_max_bytes",
        "Cap on the former: grid.memory_bytes_max",
        |s| some(s.grid.memory_bytes_max),
    ),
    gauge(
        "strait_grid_dirty",
        "Counters and logs changed since the last flush",
        |s| some(s.grid.dirty),
    ),
    counter(
        "strait_grid_writes",
        "Writes by clients that changed something",
        |s| some(s.grid.writes_total),
    ),
    counter("strait_grid_flushes", "Flushes that wrote something", |s| {
        some(s.grid.flushes_total)
    }),
    counter("strait_grid_flush_errors", "Flushes that failed", |s| {
        some(s.grid.flush_errors_total)
    }),
    gauge(
        "strait_grid_unwritten_seconds",
        "Age of the oldest change that is not on disk",
        |s| some(s.grid.unwritten_seconds),
    ),
    counter(
        "strait_grid_late_flushes",
        "Flushes that reached the disk later than grid.loss_window_ms allows: writes waited for them",
        |s| some(s.grid.late_flushes_total),
    ),
    gauge(
        "strait_grid_flush_last_seconds",
        "Time of the last flush with its fsync",
        |s| some(s.grid.flush_seconds_last),
    ),
    gauge(
        "strait_grid_journal_bytes",
        "Size of the journal's files",
        |s| some(s.grid.journal_bytes),
    ),
    counter(
        "strait_grid_journal_written_bytes",
        "Bytes written to the journal",
        |s| some(s.grid.journal_written_bytes_total),
    ),
    gauge(
        "strait_grid_journal_failed",
        "1 if writes are refused because the journal failed",
        |s| some(s.grid.journal_failed),
    ),
    counter(
        "strait_grid_compactions",
        "Times that the journal was rewritten",
        |s| some(s.grid.compactions_total),
    ),
    gauge(
        "strait_grid_expiring_keys",
        "Keys that have a deadline",
        |s| some(s.grid.expiring),
    ),
    counter(
        "strait_grid_expired_keys",
        "Keys deleted because their deadline had passed",
        |s| some(s.grid.expired_total),
    ),
    counter(
        "strait_grid_own_from_peers",
        "Records by which a peer gave back what our journal had lost",
        |s| some(s.grid.own_from_peers_total),
    ),
    counter(
        "strait_grid_false_claims",
        "Records by which a peer told counters or entries of this site that it has not written: those were not taken",
        |s| some(s.grid.false_claims_total),
    ),
    counter(
        "strait_grid_refused_clocks",
        "Records of peers that were refused for a clock reading more than a day ahead",
        |s| some(s.grid.clocks_refused_total),
    ),
    gauge(
        "strait_grid_full_seconds",
        "Time until the grid's memory, or the logs' share of it, is full, if it goes on growing like this",
        |s| s.full_in_s.map(Value::from),
    ),
    gauge(
        "strait_grid_held_bytes",
        "Trimmed log entries that are kept because a peer lacks them",
        |s| some(s.grid.held_bytes),
    ),
    counter(
        "strait_grid_shed_bytes",
        "Bytes of such entries that were let go because memory was full",
        |s| some(s.grid.shed_bytes_total),
    ),
    gauge(
        "strait_grid_log_bytes",
        "Memory of entries of logs, and of where those on disk are",
        |s| some(s.grid.log_bytes),
    ),
    gauge(
        "strait_grid_log_max_bytes",
        "Cap on the former: three quarters of grid.memory_bytes_max",
        |s| some(s.grid.log_bytes_max),
    ),
    gauge(
        "strait_grid_cold_bytes",
        "Older entries of logs on disk: grid.on_full = \"spill\"",
        |s| some(s.grid.cold_bytes),
    ),
    gauge(
        "strait_grid_cold_max_bytes",
        "Cap on the former: grid.logs_disk_bytes_max; 0: they stay in memory",
        |s| some(s.grid.cold_bytes_max),
    ),
    gauge(
        "strait_grid_cold_full_seconds",
        "Time until that is reached, if it goes on growing like this",
        |s| s.disk_full_in_s.map(Value::from),
    ),
    gauge(
        "strait_grid_cold_blocks",
        "Blocks of older entries on disk",
        |s| some(s.grid.cold_blocks),
    ),
    counter(
        "strait_grid_cold_blocks_written",
        "Blocks of entries that went to the disk",
        |s| some(s.grid.cold_blocks_written_total),
    ),
    counter(
        "strait_grid_cold_errors",
        "Attempts to write such blocks that the disk refused",
        |s| some(s.grid.cold_errors_total),
    ),
    gauge(
        "strait_grid_cold_held_up",
        "1 if entries that should go to the disk stay in memory: the cap is reached, or the disk refuses",
        |s| some(s.grid.cold_held_up),
    ),
    counter(
        "strait_grid_lost_blocks",
        "Blocks of entries that were found damaged or missing on disk",
        |s| some(s.grid.lost_blocks_total),
    ),
    counter(
        "strait_grid_scrubbed_blocks",
        "Blocks on disk that were read to see whether they still can be: grid.scrub_hours",
        |s| some(s.grid.scrubbed_blocks_total),
    ),
    gauge(
        "strait_grid_log_holes",
        "Stretches of entries that are lost here now, or may be, until a peer has them",
        |s| some(s.grid.log_holes),
    ),
    gauge(
        "strait_grid_doubted_peers",
        "Peers that are to be compared because the disk was damaged: they may hold lost entries",
        |s| some(s.grid.doubted_peers),
    ),
    counter(
        "strait_grid_mended_entries",
        "Entries of logs that were lost here and came back from a peer",
        |s| some(s.grid.mended_entries_total),
    ),
    counter(
        "strait_grid_differences",
        "Counters that comparing with peers showed to be lost or damaged",
        |s| some(s.grid.differences_total),
    ),
    counter(
        "strait_grid_conflicts",
        "Sums and log entries of peers that contradict what is held here",
        |s| some(s.grid.conflicts_total),
    ),
];

pub(in super::super) const ROOMS: &[Metric<Status>] = &[
    gauge(
        "strait_snapshots",
        "Snapshots of the counters that are kept",
        |s| some(s.snapshots.kept),
    ),
    gauge("strait_snapshots_bytes", "Size of the snapshots", |s| {
        some(s.snapshots.bytes)
    }),
    gauge(
        "strait_snapshot_last_timestamp_seconds",
        "When the last snapshot was begun",
        |s| s.snapshots.last_time_s.map(Value::from),
    ),
    counter("strait_snapshots_taken", "Snapshots taken", |s| {
        some(s.snapshots.taken)
    }),
    counter(
        "strait_snapshots_failed",
        "Attempts at a snapshot that failed",
        |s| some(s.snapshots.failed),
    ),
    gauge(
        "strait_history_chunks",
        "Content chunks in the index",
        |s| some(s.history.chunks),
    ),
    gauge(
        "strait_history_memory_bytes",
        "Memory of the history",
        |s| some(s.history.memory_bytes),
    ),
    gauge(
        "strait_history_memory_max_bytes",
        "Cap on the former: history.memory_bytes_max",
        |s| some(s.history.memory_bytes_max),
    ),
    gauge("strait_history_disk_bytes", "Disk of the history", |s| {
        some(s.history.disk_bytes)
    }),
    gauge(
        "strait_history_disk_max_bytes",
        "Cap on the former: history.disk_bytes_max",
        |s| some(s.history.disk_bytes_max),
    ),
    counter(
        "strait_history_quarantined_records",
        "Records of the history that failed their check, and are not read again",
        |s| some(s.history.quarantined),
    ),
    gauge(
        "strait_history_unwritable",
        "Histories in memory only, because their disk is full or failing",
        |s| some(s.history.unwritable),
    ),
    gauge("strait_bulk_sending", "Files on their way to peers", |s| {
        some(s.bulk.sending)
    }),
    gauge("strait_bulk_receiving", "Files on their way here", |s| {
        some(s.bulk.receiving)
    }),
    counter(
        "strait_bulk_sent_files",
        "Files that arrived whole at peers",
        |s| some(s.bulk.sent_files),
    ),
    counter(
        "strait_bulk_sent_bytes",
        "File bytes handed to links",
        |s| some(s.bulk.sent_bytes),
    ),
    counter(
        "strait_bulk_received_files",
        "Files that arrived whole here",
        |s| some(s.bulk.received_files),
    ),
    counter(
        "strait_bulk_received_bytes",
        "File bytes that came from links",
        |s| some(s.bulk.received_bytes),
    ),
    counter(
        "strait_bulk_failed",
        "Transfers of files that failed, either way; a file that is not there is none",
        |s| some(s.bulk.failed),
    ),
    counter(
        "strait_bulk_malformed",
        "Messages of peers about files that could not be read",
        |s| some(s.bulk.malformed),
    ),
    gauge(
        "strait_bulk_stored_entries",
        "Files, folders and links under bulk.dir",
        |s| some(s.bulk.stored_entries),
    ),
    gauge(
        "strait_bulk_stored_bytes",
        "Bytes of files under bulk.dir",
        |s| some(s.bulk.stored_bytes),
    ),
];

pub(in super::super) const MEMORY: &[Metric<MemoryPart>] = &[gauge(
    "strait_memory_bytes",
    "Memory of this process, part by part",
    |part| some(part.bytes),
)];

pub(in super::super) const REFUSAL: &[Metric<RefusalReport>] = &[counter(
    "strait_refused_connections",
    "Connections from others that were turned away",
    |r| some(r.connections),
)];
