//! Watched folders and forwards.

use super::super::{Metric, counter, gauge};
use super::some;
use crate::bulk::SyncReport;
use crate::forward::ForwardReport;

pub(in super::super) const SYNC: &[Metric<SyncReport>] = &[
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

pub(in super::super) const FORWARD: &[Metric<ForwardReport>] = &[
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
