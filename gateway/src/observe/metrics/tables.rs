//! Every metric: its name, what it says, and where its value is in the status document.
//! docs/OPERATING.md lists the same names; a test keeps the two together.

use super::{Metric, Value, counter, gauge};
use crate::bulk::SyncReport;
use crate::forward::ForwardReport;
use crate::observe::link::{ClassReport, LinkPhase, LinkReport, StreamReport};
use crate::observe::process::ProcessFigures;
use crate::observe::status::Status;
use crate::replicate::compare::Comparison;

fn some(value: impl Into<Value>) -> Option<Value> {
    Some(value.into())
}

pub(super) const STATUS: &[Metric<Status>] = &[
    gauge("strait_ready", "1 if clients are served", |s| {
        some(s.not_ready.is_empty())
    }),
    gauge(
        "strait_uptime_seconds",
        "Time since the gateway was started",
        |s| some(s.gateway.uptime_s),
    ),
    gauge(
        "strait_grid_clients",
        "Redis clients that are connected",
        |s| some(s.gateway.clients),
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
    gauge(
        "strait_grid_full_seconds",
        "Time until the grid's memory is full, if it goes on growing like this",
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
    counter(
        "strait_grid_differences",
        "Counters that comparing with peers showed to be lost or damaged",
        |s| some(s.grid.differences_total),
    ),
    counter(
        "strait_grid_conflicts",
        "Sums of peers that contradict what is held here",
        |s| some(s.grid.conflicts_total),
    ),
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
        "Transfers of files that failed, either way",
        |s| some(s.bulk.failed),
    ),
    gauge(
        "strait_bulk_stored_bytes",
        "Bytes of files under bulk.dir",
        |s| some(s.bulk.stored_bytes),
    ),
];

pub(super) const LINK: &[Metric<LinkReport>] = &[
    gauge(
        "strait_link_heard_all",
        "1 when all that the peer held as the session began is here",
        |l| some(l.heard_all),
    ),
    counter(
        "strait_compare_rounds",
        "Comparisons with the peer that this site asked for",
        |l| some(l.compared.rounds),
    ),
    counter(
        "strait_compare_failed",
        "Comparisons that did not come to an end",
        |l| some(l.compared.failed),
    ),
    gauge(
        "strait_compare_ranges_differing",
        "Ranges of counters that differed in the last comparison",
        |l| last_compared(l, |last| last.ranges_differing),
    ),
    gauge(
        "strait_compare_logs_differing",
        "Logs that differed in the last comparison: must stay 0",
        |l| last_compared(l, |last| last.logs_differing.len() as u64),
    ),
    gauge("strait_link_up", "1 if the link is connected", |l| {
        some(l.phase == LinkPhase::Replicating)
    }),
    gauge(
        "strait_link_phase_seconds",
        "Time since the link last went up or down",
        |l| some(l.since_s),
    ),
    gauge(
        "strait_link_rtt_seconds",
        "Smoothed round trip; absent while down",
        |l| l.rtt_ms.map(|ms| Value::Real(ms / 1000.0)),
    ),
    gauge(
        "strait_link_lost_ratio",
        "Packets lost of those sent since the link came up: 0 to 1",
        |l| some(l.lost_percent / 100.0),
    ),
    gauge(
        "strait_link_window_bytes",
        "Congestion window of the bulk connection",
        |l| some(l.window_bytes),
    ),
    gauge(
        "strait_link_in_flight_bytes",
        "Encoded bytes sent and not yet acknowledged",
        |l| some(l.in_flight_bytes),
    ),
    gauge(
        "strait_link_rate_bytes_per_second",
        "Estimated rate of the link; absent if unknown",
        |l| l.rate_bytes_s.map(Value::Real),
    ),
    counter(
        "strait_link_reconnects",
        "Times that the link came up after the first",
        |l| some(l.reconnects),
    ),
    counter("strait_link_udp_sent_bytes", "UDP payload sent", |l| {
        some(l.udp_sent_bytes)
    }),
    counter(
        "strait_link_udp_received_bytes",
        "UDP payload received",
        |l| some(l.udp_received_bytes),
    ),
    counter("strait_link_udp_sent_packets", "UDP datagrams sent", |l| {
        some(l.udp_sent_packets)
    }),
    counter(
        "strait_link_udp_received_packets",
        "UDP datagrams received",
        |l| some(l.udp_received_packets),
    ),
    counter("strait_link_tcp_sent_bytes", "TCP payload sent", |l| {
        some(l.tcp_sent_bytes)
    }),
    counter(
        "strait_link_tcp_received_bytes",
        "TCP payload received",
        |l| some(l.tcp_received_bytes),
    ),
    counter(
        "strait_link_handovers",
        "Times that a newer connection took over while the link was up",
        |l| some(l.handovers),
    ),
    counter(
        "strait_link_stalls",
        "Times that the peer acknowledged nothing for a minute",
        |l| some(l.stalls),
    ),
];

pub(super) const TRANSPORT: &[Metric<bool>] = &[gauge(
    "strait_link_transport",
    "1 for what carries the link, 0 for the other",
    |is_now| some(*is_now),
)];

/// What the last comparison over a link found.
fn last_compared(link: &LinkReport, figure: fn(&Comparison) -> u64) -> Option<Value> {
    link.compared.last.as_ref().map(|last| figure(last).into())
}

pub(super) const PHASE: &[Metric<bool>] = &[gauge(
    "strait_link_phase",
    "1 for the phase that the link is in, 0 for the others",
    |is_now| some(*is_now),
)];

pub(super) const CLASS: &[Metric<ClassReport>] = &[
    counter(
        "strait_class_logical_bytes",
        "Raw bytes handed to the link",
        |c| some(c.ledger.logical_bytes),
    ),
    counter(
        "strait_class_after_references_bytes",
        "Raw bytes left after references",
        |c| some(c.ledger.after_references_bytes),
    ),
    counter(
        "strait_class_compressed_bytes",
        "Bytes of encoded batches",
        |c| some(c.ledger.compressed_bytes),
    ),
    counter(
        "strait_class_wire_bytes",
        "Encoded batches with their frame headers",
        |c| some(c.ledger.wire_bytes),
    ),
    gauge(
        "strait_class_level",
        "zstd level of the last batch, 0 where it went as it is",
        |c| some(u64::from(c.level)),
    ),
    gauge(
        "strait_class_queued_batches",
        "Batches that wait to be sent",
        |c| some(c.ledger.queued_batches),
    ),
    gauge(
        "strait_class_queued_bytes",
        "Raw bytes of batches that wait",
        |c| some(c.ledger.queued_bytes),
    ),
    gauge(
        "strait_class_unacked_batches",
        "Batches that the peer has not acknowledged",
        |c| some(c.ledger.unacked_batches),
    ),
    gauge("strait_class_unacked_bytes", "Raw bytes of those", |c| {
        some(c.ledger.unacked_bytes)
    }),
    counter(
        "strait_class_received_batches",
        "Batches that came in",
        |c| some(c.received_batches),
    ),
    counter("strait_class_received_bytes", "Raw bytes of those", |c| {
        some(c.received_bytes)
    }),
];

pub(super) const STREAM: &[Metric<StreamReport>] = &[
    gauge(
        "strait_stream_lag_seconds",
        "Age of the oldest change that the peer lacks",
        |s| some(s.lag_s),
    ),
    gauge(
        "strait_stream_lag_records",
        "Records that the peer has not confirmed",
        |s| some(s.lag_records),
    ),
    gauge("strait_stream_lag_bytes", "Bytes of those", |s| {
        some(s.lag_bytes)
    }),
    gauge(
        "strait_stream_catching_up",
        "1 while the peer is sent what it missed",
        |s| some(s.catching_up),
    ),
    counter("strait_stream_sent_records", "Records sent", |s| {
        some(s.sent_records)
    }),
    counter(
        "strait_stream_applied_records",
        "Records of the peer that were merged",
        |s| some(s.applied_records),
    ),
    counter(
        "strait_stream_refused_records",
        "Unreadable records of the peer: must stay 0",
        |s| some(s.refused_records),
    ),
    counter(
        "strait_stream_gaps",
        "Times that missing entries were asked for again",
        |s| some(s.gaps),
    ),
    counter(
        "strait_stream_catch_ups",
        "Times that catching up began",
        |s| some(s.catch_ups),
    ),
];

pub(super) const PROCESS: &[Metric<ProcessFigures>] = &[
    counter(
        "process_cpu_seconds",
        "CPU time of this process, user and system",
        |p| some(p.cpu_seconds),
    ),
    gauge(
        "process_resident_memory_bytes",
        "Memory of this process",
        |p| some(p.resident_bytes),
    ),
    gauge(
        "process_open_fds",
        "Open file descriptors of this process",
        |p| some(p.open_fds),
    ),
];

pub(super) const SYNC: &[Metric<SyncReport>] = &[
    counter(
        "strait_sync_shipped_files",
        "Files that the peer has taken",
        |s| some(s.shipped_files),
    ),
    counter("strait_sync_failed", "Attempts that failed", |s| {
        some(s.failed)
    }),
    gauge(
        "strait_sync_waiting_files",
        "Files that are whole and not yet at the peer",
        |s| some(s.waiting_files),
    ),
];

pub(super) const FORWARD: &[Metric<ForwardReport>] = &[
    gauge("strait_forward_open", "Flows that are open", |f| {
        some(f.open)
    }),
    counter("strait_forward_opened", "Flows so far", |f| some(f.opened)),
    counter(
        "strait_forward_reset",
        "Flows that were refused or reset, whoever did it",
        |f| some(f.reset),
    ),
    counter(
        "strait_forward_bypassed",
        "Connections that went straight to the target, the peer being away",
        |f| some(f.bypassed),
    ),
    counter("strait_forward_sent_bytes", "Bytes to the peer", |f| {
        some(f.sent_bytes)
    }),
    counter(
        "strait_forward_received_bytes",
        "Bytes from the peer",
        |f| some(f.received_bytes),
    ),
];
