//! Trims logs to what the configuration keeps of them, and says how long memory lasts.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tracing::{error, info};

use crate::config::{LogRule, OnFull};
use crate::grid::{Grid, GridStats, LogLimits, now_ms};
use crate::resp::glob;

/// How often logs are looked at.
const EVERY: Duration = Duration::from_secs(2);
/// Weight of the newest look in the growth that is shown.
const NEWEST: f64 = 0.1;
/// Memory may be used up to this share before held entries are let go.
const FULL: f64 = 0.95;

/// Keeps the logs of a running gateway within their limits.
#[derive(Debug)]
pub(super) struct Retention {
    rules: Vec<LogRule>,
    on_full: OnFull,
    growth: Mutex<Growth>,
    log_growth: Mutex<Growth>,
    disk_growth: Mutex<Growth>,
}

/// How fast memory, or the disk, fills.
#[derive(Clone, Copy, Debug, Default)]
struct Growth {
    last: Option<(Instant, u64)>,
    bytes_s: f64,
}

impl Growth {
    fn note(&mut self, at: Instant, bytes: u64) {
        if let Some((then, before)) = self.last {
            let seconds = at.saturating_duration_since(then).as_secs_f64().max(0.001);
            let now = (bytes as f64 - before as f64) / seconds;
            self.bytes_s += NEWEST * (now - self.bytes_s);
        }
        self.last = Some((at, bytes));
    }

    /// Seconds until `free` bytes are used up, if it grows; what is full grows no more.
    fn lasts_s(&self, free: u64) -> Option<f64> {
        (free == 0 || self.bytes_s >= 1.0).then(|| free as f64 / self.bytes_s.max(1.0))
    }
}

impl Retention {
    pub(super) fn new(rules: Vec<LogRule>, on_full: OnFull) -> Self {
        Self {
            rules,
            on_full,
            growth: Mutex::default(),
            log_growth: Mutex::default(),
            disk_growth: Mutex::default(),
        }
    }

    /// Seconds until memory is full, or what of it logs may take, if it goes on like this.
    pub(super) fn full_in_s(&self, grid: &GridStats) -> Option<f64> {
        let free = grid.memory_bytes_max.saturating_sub(grid.memory_bytes);
        let free_for_logs = grid.log_bytes_max.saturating_sub(grid.log_bytes);
        let lasts_s = self.growth.lock().lasts_s(free);
        let logs_last_s = self.log_growth.lock().lasts_s(free_for_logs);
        lasts_s.into_iter().chain(logs_last_s).reduce(f64::min)
    }

    /// Seconds until the disk for logs is, likewise.
    pub(super) fn disk_full_in_s(&self, used: u64, max: u64) -> Option<f64> {
        let free = (max > 0).then(|| max.saturating_sub(used))?;
        self.disk_growth.lock().lasts_s(free)
    }

    /// Looks at the logs now and then, for ever.
    pub(super) async fn run(self: Arc<Self>, grid: Arc<Grid>) {
        loop {
            tokio::time::sleep(EVERY).await;
            let (own, grid) = (self.clone(), grid.clone());
            drop(tokio::task::spawn_blocking(move || own.look(&grid)).await);
        }
    }

    fn look(&self, grid: &Grid) {
        if !self.rules.is_empty() {
            let gone = grid.retain_logs(|log| self.limits_of(log), now_ms());
            if gone > 0 {
                info!(entries = gone, "trimmed logs to what is kept of them");
            }
        }
        let stats = grid.stats();
        let now = Instant::now();
        self.growth.lock().note(now, stats.memory_bytes);
        self.disk_growth.lock().note(now, stats.cold_bytes);
        self.log_growth.lock().note(now, stats.log_bytes);
        let is_full = |bytes: u64, max: u64| bytes as f64 > FULL * max as f64;
        let full = is_full(stats.memory_bytes, stats.memory_bytes_max)
            || is_full(stats.log_bytes, stats.log_bytes_max);
        if full && self.on_full == OnFull::Shed && stats.held_bytes > 0 {
            let bytes = grid.shed_held();
            if bytes > 0 {
                error!(
                    bytes,
                    "memory is full: trimmed entries are let go that a peer lacks"
                );
            }
        }
    }

    /// The first rule that matches counts.
    fn limits_of(&self, log: &[u8]) -> Option<LogLimits> {
        let matches = |rule: &&LogRule| glob::matches(rule.pattern.as_bytes(), log);
        self.rules.iter().find(matches).map(|rule| rule.limits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_grows_says_how_long_it_lasts() {
        let mut growth = Growth::default();
        let start = Instant::now();
        for second in 0..200 {
            growth.note(start + Duration::from_secs(second), 1000 * second);
        }
        let lasts = growth.lasts_s(50_000).unwrap();
        assert!((49.0..=51.0).contains(&lasts), "{lasts}");
        for second in 200..400 {
            growth.note(start + Duration::from_secs(second), 200_000);
        }
        assert_eq!(growth.lasts_s(50_000), None);
        assert_eq!(growth.lasts_s(0), Some(0.0), "it is full already");
    }
}
