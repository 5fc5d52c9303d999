//! Where logs end: a log of which one site holds less for good shows by nothing else, as only what both
//! hold is compared entry by entry.

use std::collections::BTreeMap;

use tokio::time::sleep;

use super::answer::Answerer;
use super::ask::Asker;
use super::message::{LogEnd, Message, entry_id, id, log_name};
use super::stuck::WAITS;
use super::{CompareError, DIFFERING_MAX, NAMED_MAX, blocking};
use crate::grid::{LogName, LogPosition};

/// Logs that one message tells of, if their names are short, and bytes of the names.
const ENDS_MAX: usize = 512;
const NAMES_BYTES_MAX: usize = 32 << 10;

/// Where logs end at the two sites.
type Ends = BTreeMap<LogName, (LogPosition, LogPosition)>;

impl Asker {
    /// The logs that end elsewhere at the peer although they change at neither site any more.
    pub(super) async fn logs_stuck(&mut self) -> Result<Vec<String>, CompareError> {
        let mut seen: Option<Ends> = None;
        for wait in WAITS {
            let mut now = self.unlike_ends().await?;
            if let Some(before) = seen {
                now.retain(|log, ends| before.get(log) == Some(ends));
            }
            if now.is_empty() || self.is_catching_up() {
                return Ok(Vec::new());
            }
            seen = Some(now);
            sleep(wait).await;
        }
        let stuck = seen.unwrap_or_default();
        let named = stuck.iter().take(NAMED_MAX).map(|(log, (ours, theirs))| {
            format!(
                "{log} up to {} here, {} there, trimmed to {} here, {} there",
                ours.last, theirs.last, ours.trimmed_to, theirs.trimmed_to
            )
        });
        let more = stuck.len().saturating_sub(NAMED_MAX);
        let more = (more > 0).then(|| format!("{more} more"));
        Ok(named.chain(more).collect())
    }

    /// The logs that end elsewhere at the peer; at most so many.
    async fn unlike_ends(&mut self) -> Result<Ends, CompareError> {
        let grid = self.grid.clone();
        let logs = blocking(move || {
            // What the peer has told is on disk, too.
            drop(grid.flush());
            grid.logs()
        })
        .await?;
        let mut ours: BTreeMap<LogName, LogPosition> = logs.into_iter().collect();
        let mut unlike = Ends::new();
        self.send(&Message::AskEnds).await?;
        loop {
            let answer = self.answer().await?;
            if answer == Message::EndsEnd {
                break;
            }
            let Message::Ends(theirs) = answer else {
                continue;
            };
            for (log, theirs) in theirs.into_iter().filter_map(read) {
                let ours = ours.remove(&log).unwrap_or_default();
                if ours != theirs && unlike.len() < DIFFERING_MAX {
                    unlike.insert(log, (ours, theirs));
                }
            }
        }
        let nothing = LogPosition::default();
        let only_here = ours.into_iter().filter(|(_, ours)| *ours != nothing);
        unlike.extend(
            only_here
                .take(DIFFERING_MAX)
                .map(|(log, ours)| (log, (ours, nothing))),
        );
        Ok(unlike)
    }
}

impl Answerer {
    /// Tells where all logs end here.
    pub(super) async fn tell_ends(&mut self) -> Result<(), CompareError> {
        let grid = self.grid.clone();
        let logs = blocking(move || grid.logs()).await?;
        let (mut ends, mut bytes) = (Vec::new(), 0);
        for (log, position) in logs {
            bytes += log.name.len();
            ends.push(told(&log, position));
            if ends.len() == ENDS_MAX || bytes > NAMES_BYTES_MAX {
                self.send(&Message::Ends(std::mem::take(&mut ends))).await?;
                bytes = 0;
            }
        }
        self.send(&Message::Ends(ends)).await?;
        Ok(self.send(&Message::EndsEnd).await?)
    }
}

fn told(log: &LogName, position: LogPosition) -> LogEnd {
    LogEnd {
        site: log.site.to_string(),
        name: log.name.to_vec(),
        last: id(position.last),
        trimmed_to: id(position.trimmed_to),
        revision: position.revision,
    }
}

fn read(end: LogEnd) -> Option<(LogName, LogPosition)> {
    let position = LogPosition {
        last: entry_id(end.last),
        trimmed_to: entry_id(end.trimmed_to),
        revision: end.revision,
    };
    Some((log_name(&end.site, end.name)?, position))
}
