//! The process, under the names that every Prometheus library uses.

use super::super::{Metric, Value, counter, gauge};
use super::some;
use crate::observe::process::ProcessFigures;

pub(in super::super) const PROCESS: &[Metric<ProcessFigures>] = &[
    counter(
        "process_cpu_seconds",
        "CPU time of this process, user and system",
        |p| some(p.user_seconds + p.system_seconds),
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
    gauge(
        "process_max_fds",
        "How many it may have: LimitNOFILE of its unit",
        |p| p.fds_max.map(Value::from),
    ),
    gauge(
        "process_start_time_seconds",
        "When it was started, since 1970",
        |p| p.started_s.map(Value::from),
    ),
    counter(
        "strait_log_lost_lines",
        "Lines of the log that standard error did not take",
        |p| some(p.lost_log_lines),
    ),
];
