//! Time that two processes of one machine share.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Now, in nanoseconds since 1970.
pub(super) fn unix_nanos() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_nanos() as u64
}

/// Until a moment; none if it is past.
pub(super) fn until(unix_nanos_then: u64) -> Duration {
    Duration::from_nanos(unix_nanos_then.saturating_sub(unix_nanos()))
}

/// Processor time of this process so far, seconds.
pub(super) fn cpu_s() -> anyhow::Result<f64> {
    // Fields 14 and 15 of proc_pid_stat(5), in ticks of 10 ms; the name before them may
    // contain spaces, but ends with the last parenthesis.
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks = after_name.split_whitespace().skip(11).take(2);
    Ok(ticks.filter_map(|t| t.parse::<f64>().ok()).sum::<f64>() / 100.0)
}
