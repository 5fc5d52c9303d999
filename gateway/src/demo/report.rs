//! What the demo measured, as a table.

use std::fmt;
use std::time::Duration;

/// One row: something that was carried across.
#[derive(Clone, Debug)]
pub(super) struct Carried {
    pub(super) what: String,
    /// Operations of clients; `None` for files.
    pub(super) events: Option<u64>,
    pub(super) took: Duration,
    /// Bytes that clients wrote, or of the file.
    pub(super) logical_bytes: u64,
    /// Bytes on the link, both directions, IP and UDP headers included.
    pub(super) wire_bytes: u64,
    /// How late log lines were at the other site, sorted.
    pub(super) lags: Vec<Duration>,
}

/// Everything that the demo found.
#[derive(Clone, Debug, Default)]
pub(super) struct Report {
    pub(super) rows: Vec<Carried>,
    /// How long the link was cut, and how long both sites then took to agree.
    pub(super) cut: Option<(Duration, Duration)>,
    pub(super) digest: String,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<34} {:>9} {:>9} {:>9} {:>8} {:>17}",
            "", "events/s", "logical", "wire", "ratio", "lag p50 / p99"
        )?;
        for row in &self.rows {
            writeln!(f, "{row}")?;
        }
        if let Some((cut, converge)) = self.cut {
            writeln!(
                f,
                "\nlink cut for {:.1} s while both sites wrote; equal again {:.2} s after it healed",
                cut.as_secs_f64(),
                converge.as_secs_f64()
            )?;
        }
        write!(
            f,
            "digest of all counters and logs, the same at both sites: {}",
            self.digest
        )
    }
}

impl fmt::Display for Carried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let events = self.events.map_or_else(String::new, |events| {
            format!("{:.0}", events as f64 / self.took.as_secs_f64())
        });
        let lag = match (percentile(&self.lags, 50), percentile(&self.lags, 99)) {
            (Some(p50), Some(p99)) => {
                format!("{} / {} ms", p50.as_millis(), p99.as_millis())
            }
            _ => String::new(),
        };
        write!(
            f,
            "{:<34} {:>9} {:>9} {:>9} {:>8} {:>17}",
            self.what,
            events,
            bytes(self.logical_bytes),
            bytes(self.wire_bytes),
            format!(
                "{:.1} ×",
                self.logical_bytes as f64 / self.wire_bytes.max(1) as f64
            ),
            lag
        )
    }
}

/// The smallest value that `percent` of the sorted values do not exceed.
fn percentile(sorted: &[Duration], percent: usize) -> Option<Duration> {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied()
}

/// Bytes for people, in powers of ten.
pub(super) fn bytes(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_ranks() {
        let sorted: Vec<_> = (1..=200).map(Duration::from_millis).collect();
        assert_eq!(percentile(&sorted, 50), Some(Duration::from_millis(100)));
        assert_eq!(percentile(&sorted, 99), Some(Duration::from_millis(198)));
        assert_eq!(percentile(&sorted[..1], 99), Some(Duration::from_millis(1)));
        assert_eq!(percentile(&[], 99), None);
    }
}
