//! Each link, its classes and its streams.

use super::super::{Metric, Value, counter, gauge};
use super::some;
use crate::observe::link::{ClassReport, LinkPhase, LinkReport, StreamReport};
use crate::replicate::compare::Comparison;

pub(in super::super) const LINK: &[Metric<LinkReport>] = &[
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
        "Stretches of logs that differed in the last comparison: must stay 0",
        |l| last_compared(l, |last| last.logs_differing.len() as u64),
    ),
    gauge(
        "strait_compare_ranges_stuck",
        "Ranges of counters that differ, and in which nothing changes: must stay 0",
        |l| last_compared(l, |last| last.ranges_stuck.len() as u64),
    ),
    gauge(
        "strait_compare_logs_stuck",
        "Logs that end elsewhere at the peer and change at neither site: must stay 0",
        |l| last_compared(l, |last| last.logs_stuck.len() as u64),
    ),
    gauge(
        "strait_compare_logs_held_up",
        "Logs of which the peer cannot be sent all, because some of it is lost here",
        |l| last_compared(l, |last| last.logs_held_up),
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
        "Times that the peer acknowledged nothing for peer.stall_s",
        |l| some(l.stalls),
    ),
    counter(
        "strait_link_copies",
        "Times that a second gateway with the peer's key was turned away",
        |l| some(l.copies),
    ),
    gauge(
        "strait_link_refused_as_copy",
        "1 when the peer refuses this gateway as a copy of the one it is linked with",
        |l| some(l.refused_as_copy.is_some()),
    ),
];

pub(in super::super) const TRANSPORT: &[Metric<bool>] = &[gauge(
    "strait_link_transport",
    "1 for what carries the link, 0 for the other",
    |is_now| some(*is_now),
)];

pub(in super::super) const PHASE: &[Metric<bool>] = &[gauge(
    "strait_link_phase",
    "1 for the phase that the link is in, 0 for the others",
    |is_now| some(*is_now),
)];

pub(in super::super) const CLASS: &[Metric<ClassReport>] = &[
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

pub(in super::super) const STREAM: &[Metric<StreamReport>] = &[
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
        "Records of the peer that were not taken: must stay 0",
        |s| some(s.refused_records),
    ),
    gauge(
        "strait_stream_refusing",
        "1 while something that the peer sends is not taken, nor confirmed to it",
        |s| some(s.refusing.is_some()),
    ),
    gauge(
        "strait_stream_refused_by_peer",
        "1 while the peer does not take, nor confirm, something of what it is sent",
        |s| some(s.refused_by_peer.is_some()),
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

/// What the last comparison over a link found.
fn last_compared(link: &LinkReport, figure: fn(&Comparison) -> u64) -> Option<Value> {
    link.compared.last.as_ref().map(|last| figure(last).into())
}
