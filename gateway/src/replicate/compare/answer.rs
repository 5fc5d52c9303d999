//! The side that answers a comparison.

use std::sync::Arc;

use strait_transport::{Class, LinkHandle, OutStream, SendError};
use tracing::debug;

use super::message::{Message, entry_id, id, log_name, marks};
use super::{CompareError, Inbox, blocking, group, groups, tell};
use crate::grid::{Fingerprints, Grid, LogName, Ranges};
use crate::streams::StreamOpen;

/// Answers until the session ends.
pub(super) async fn run(grid: Arc<Grid>, link: LinkHandle, mut inbox: Inbox) {
    let open = link.open(Class::Bulk, StreamOpen::CompareAnswer.encode());
    let Ok(out) = open else { return };
    let mut answerer = Answerer {
        grid,
        link,
        out,
        ranges: Vec::new(),
        differences: 0,
    };
    while let Some(message) = inbox.next().await {
        if let Err(error) = answerer.handle(message).await {
            debug!(%error, "no answer to a comparison");
            return;
        }
    }
}

struct Answerer {
    grid: Arc<Grid>,
    link: LinkHandle,
    out: OutStream,
    /// What is being exchanged.
    ranges: Vec<u16>,
    differences: u64,
}

impl Answerer {
    async fn handle(&mut self, message: Message) -> Result<(), CompareError> {
        match message {
            Message::Groups(theirs) => self.compare(&theirs).await,
            Message::Exchange(ranges) => {
                (self.ranges, self.differences) = (ranges, 0);
                Ok(())
            }
            Message::Record(record) => {
                let (grid, site) = (self.grid.clone(), self.link.site().clone());
                let applied = blocking(move || grid.apply_compared(&site, record.into())).await?;
                let found = super::note(self.link.site(), applied);
                self.differences += found.len() as u64;
                Ok(())
            }
            Message::RecordsEnd { .. } => self.tell_ranges().await,
            Message::Log {
                site,
                name,
                start,
                marks: theirs,
            } => {
                let Some(log) = log_name(&site, name) else {
                    return Ok(());
                };
                let (grid, of) = (self.grid.clone(), log.clone());
                let theirs = marks(theirs);
                let compare = move || grid.compare_log(&of, entry_id(start), &theirs);
                match blocking(compare).await? {
                    Some(after) => self.log_differs(&log, id(after)).await,
                    None => Ok(()),
                }
            }
            Message::LogsEnd => Ok(self.send(&Message::LogsChecked).await?),
            Message::Ranges { .. }
            | Message::RangesEnd
            | Message::LogDiffers { .. }
            | Message::LogsChecked => Ok(()),
        }
    }

    async fn compare(&mut self, theirs: &[super::Fingerprint]) -> Result<(), CompareError> {
        let grid = self.grid.clone();
        let ours: Fingerprints = blocking(move || grid.fingerprints()).await?;
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

    async fn log_differs(&mut self, log: &LogName, after: (u64, u64)) -> Result<(), CompareError> {
        let message = Message::LogDiffers {
            site: log.site.to_string(),
            name: log.name.to_vec(),
            after,
        };
        Ok(self.send(&message).await?)
    }

    async fn send(&mut self, message: &Message) -> Result<(), SendError> {
        self.out.send(message.encode(), false).await.map(|_| ())
    }
}
