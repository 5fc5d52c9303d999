//! The side that answers a comparison.

use std::sync::Arc;

use strait_transport::{LinkHandle, SendError};
use tokio::sync::mpsc;
use tracing::debug;

use super::message::{Message, entry_id, id, log_name, marks};
use super::{
    CompareError, Differing, FETCHED_BYTES_MAX, FETCHED_RECORDS_MAX, Inbox, Outbox, blocking,
    group, groups, tell,
};
use crate::grid::{
    ComparisonBegun, EntryId, Fingerprints, Grid, LogDepth, LogMarks, LogName, LogPosition, Ranges,
    Scope,
};
use crate::streams::StreamOpen;

/// Answers until the session ends.
pub(super) async fn run(
    (grid, scope): (Arc<Grid>, Scope),
    link: LinkHandle,
    (mut inbox, differing): (Inbox, mpsc::Sender<Differing>),
) {
    let Ok(out) = Outbox::open(&link, &StreamOpen::CompareAnswer) else {
        return;
    };
    let mut answerer = Answerer {
        begun: ComparisonBegun::NEVER,
        grid,
        scope,
        link,
        out,
        ranges: Vec::new(),
        differences: 0,
        differing,
    };
    while let Some(message) = inbox.next().await {
        if let Err(error) = answerer.handle(message).await {
            debug!(%error, "no answer to a comparison");
            return;
        }
    }
}

pub(super) struct Answerer {
    pub(super) grid: Arc<Grid>,
    scope: Scope,
    /// When the comparison began that is under way.
    begun: ComparisonBegun,
    link: LinkHandle,
    out: Outbox,
    /// What is being exchanged.
    ranges: Vec<u16>,
    differences: u64,
    /// Stretches of logs that differ, for our own asking side to mend.
    differing: mpsc::Sender<Differing>,
}

impl Answerer {
    async fn handle(&mut self, message: Message) -> Result<(), CompareError> {
        match message {
            Message::Groups(theirs) => {
                self.begun = self.grid.begin_comparison(self.link.site(), self.scope);
                self.compare(&theirs).await
            }
            Message::Exchange(ranges) => {
                (self.ranges, self.differences) = (ranges, 0);
                Ok(())
            }
            Message::Record(record) => {
                let (grid, site) = (self.grid.clone(), self.link.site().clone());
                let begun = self.begun;
                let applied =
                    blocking(move || grid.apply_compared(&site, record.into(), begun)).await?;
                let found = super::note(self.link.site(), applied);
                self.differences += found.len() as u64;
                Ok(())
            }
            Message::RecordsEnd { .. } => {
                self.grid.end_comparison(self.link.site());
                self.tell_ranges().await
            }
            Message::Log {
                site,
                name,
                disk,
                start,
                marks: theirs,
            } => match log_name(&site, name) {
                Some(log) => self.compare_log(log, disk, marks(start, theirs)).await,
                None => Ok(()),
            },
            Message::LogsEnd => {
                // Where no range differs nothing was exchanged.
                self.grid.end_comparison(self.link.site());
                Ok(self.send(&Message::LogsChecked).await?)
            }
            Message::Fetch {
                site,
                name,
                after,
                to,
            } => match log_name(&site, name) {
                Some(log) => self.tell_entries(log, entry_id(after), entry_id(to)).await,
                None => Ok(()),
            },
            Message::Ranges { .. }
            | Message::RangesEnd
            | Message::LogDiffers { .. }
            | Message::LogsChecked
            | Message::Entries(_)
            | Message::EntriesEnd { .. }
            | Message::Ends(_)
            | Message::EndsEnd => Ok(()),
            Message::AskEnds => self.tell_ends().await,
        }
    }

    async fn compare(&mut self, theirs: &[super::Fingerprint]) -> Result<(), CompareError> {
        let (grid, scope) = (self.grid.clone(), self.scope);
        let ours: Fingerprints = blocking(move || grid.fingerprints(scope)).await?;
        let pairs = groups(&ours).into_iter().zip(theirs);
        let differing = (0..=u8::MAX).zip(pairs).filter(|(_, (a, b))| a != *b);
        for (number, _) in differing {
            let ranges = group(&ours, number).collect();
            let message = Message::Ranges {
                group: number,
                ranges,
            };
            self.send(&message).await?;
        }
        Ok(self.send(&Message::RangesEnd).await?)
    }

    async fn tell_ranges(&mut self) -> Result<(), CompareError> {
        let ranges: Ranges = std::mem::take(&mut self.ranges).into_iter().collect();
        tell(&self.grid, ranges, &mut self.out).await?;
        let differences = self.differences;
        Ok(self.send(&Message::RecordsEnd { differences }).await?)
    }

    async fn compare_log(
        &mut self,
        log: LogName,
        disk: bool,
        theirs: LogMarks,
    ) -> Result<(), CompareError> {
        let depth = match disk {
            true => LogDepth::Disk,
            false => LogDepth::Memory,
        };
        let (grid, of, start) = (self.grid.clone(), log.clone(), theirs.start);
        let differing = blocking(move || grid.compare_log(&of, &theirs, depth)).await?;
        if log.site == *self.link.site() {
            let agrees = differing.is_empty().then_some(start);
            self.grid.set_agrees(&log, agrees);
        }
        for span in differing {
            let message = Message::LogDiffers {
                site: log.site.to_string(),
                name: log.name.to_vec(),
                after: id(span.after),
                to: id(span.to),
            };
            self.send(&message).await?;
            // With too many at once the next comparison finds the others.
            drop(self.differing.try_send((log.clone(), span)));
        }
        Ok(())
    }

    /// Tells what we hold of a log up to `to`, as far as a fetch goes and nothing is lost.
    async fn tell_entries(
        &mut self,
        log: LogName,
        after: EntryId,
        to: EntryId,
    ) -> Result<(), CompareError> {
        let mut have = LogPosition {
            last: after,
            ..LogPosition::default()
        };
        // What is beyond a doubt of ours says nothing about what is in it.
        let told_to = self.grid.doubtless_to(&log, after).min(to);
        for _ in 0..FETCHED_RECORDS_MAX {
            if have.last >= told_to {
                break;
            }
            let (grid, of) = (self.grid.clone(), log.clone());
            let next = blocking(move || grid.log_after(&of, have, FETCHED_BYTES_MAX)).await?;
            let Some((record, reached)) = next.filter(|(_, reached)| reached.last > have.last)
            else {
                break;
            };
            self.send(&Message::Entries(record.to_vec())).await?;
            have.last = reached.last;
        }
        let reached = match told_to < to {
            true => have.last.min(told_to),
            false => have.last,
        };
        let message = Message::EntriesEnd {
            reached: id(reached),
            agrees: self.grid.agrees(&log, after),
        };
        Ok(self.send(&message).await?)
    }

    pub(super) async fn send(&mut self, message: &Message) -> Result<(), SendError> {
        self.out.send(message).await
    }
}
