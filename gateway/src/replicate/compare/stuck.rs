//! What is on its way comes to an end: ranges that differ are looked at again, and those in which nothing
//! changes any more, at either site, differ for good.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::sleep;

use super::ask::{Asker, Unlike};
use super::{CompareError, NAMED_MAX, blocking};

/// Between one look and the next: a link carries what is flushed in far less, and where it does not, the
/// sites are catching up.
pub(super) const WAITS: [Duration; 3] = [
    Duration::from_secs(1),
    Duration::from_secs(3),
    Duration::from_secs(6),
];
/// Counters that are named of a range.
const NAMES_MAX: usize = 10;

impl Asker {
    /// The ranges that still differ, after both told each other all of them, and in which nothing has changed
    /// since; with names of counters here.
    pub(super) async fn stuck(&mut self) -> Result<Vec<String>, CompareError> {
        let mut seen: Option<Vec<Unlike>> = None;
        for wait in WAITS {
            sleep(wait).await;
            let now = self.differing().await?;
            let left = match seen {
                None => now,
                Some(before) => unchanged(&before, &now),
            };
            if left.is_empty() || self.is_catching_up() {
                return Ok(Vec::new());
            }
            seen = Some(left);
        }
        self.named(&seen.unwrap_or_default()).await
    }

    async fn named(&self, stuck: &[Unlike]) -> Result<Vec<String>, CompareError> {
        let mut named = Vec::new();
        for unlike in stuck.iter().take(NAMED_MAX) {
            let (grid, range) = (self.grid.clone(), unlike.range);
            let names = blocking(move || grid.names_in(range, NAMES_MAX)).await?;
            named.push(match names.is_empty() {
                true => format!("{range}: no counter here"),
                false => format!("{range}: {}", names.join(", ")),
            });
        }
        if stuck.len() > NAMED_MAX {
            named.push(format!("{} more", stuck.len() - NAMED_MAX));
        }
        Ok(named)
    }
}

/// Those of `now` that are as they were before.
fn unchanged(before: &[Unlike], now: &[Unlike]) -> Vec<Unlike> {
    let before: BTreeMap<u16, &Unlike> =
        before.iter().map(|unlike| (unlike.range, unlike)).collect();
    let is_same = |unlike: &&Unlike| before.get(&unlike.range) == Some(unlike);
    now.iter().filter(is_same).copied().collect()
}
