//! The side that asks for a comparison: on schedule, and when told to.

use std::sync::Arc;
use std::time::{Duration, Instant};

use strait_transport::{Class, LinkHandle, OutStream};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tracing::{error, info, warn};

use super::message::{GROUP, Message, entry_id, log_name};
use super::{
    ANSWER_WAIT, CompareError, Comparer, Comparison, Demand, Inbox, NAMED_MAX, blocking, group,
    groups, tell, told,
};
use crate::grid::{Fingerprints, Grid, RANGES, Ranges};
use crate::streams::StreamOpen;

/// Ranges that are exchanged in one comparison: a sixteenth of all counters. On a grid that
/// changes all over, what is on its way makes every range differ.
const EXCHANGED_MAX: usize = RANGES / 16;

/// Asks until the session ends.
pub(super) async fn run(
    grid: Arc<Grid>,
    link: LinkHandle,
    comparer: Arc<Comparer>,
    (inbox, mut demands): (Inbox, mpsc::Receiver<Demand>),
) {
    let open = link.open(Class::Bulk, StreamOpen::CompareAsk.encode());
    let Ok(out) = open else { return };
    // One of the two is enough by schedule.
    let own = grid.origin().site;
    let every = comparer.every.filter(|_| own < *link.site());
    let mut asker = Asker {
        grid,
        link,
        out,
        inbox,
        first_range: 0,
    };
    loop {
        let demand = tokio::select! {
            demand = demands.recv() => match demand {
                Some(demand) => Some(demand),
                None => return,
            },
            () = due(every) => None,
        };
        let outcome = asker.compare().await;
        comparer.note(&outcome);
        asker.report(&outcome);
        let ended = outcome.is_err();
        if let Some(demand) = demand {
            // Whoever asked may have gone.
            drop(demand.send(outcome));
        }
        if ended {
            // What still comes belongs to a round that nobody waits for: a new session begins anew.
            return;
        }
    }
}

async fn due(every: Option<Duration>) {
    match every {
        Some(every) => sleep(every).await,
        None => std::future::pending().await,
    }
}

struct Asker {
    grid: Arc<Grid>,
    link: LinkHandle,
    out: OutStream,
    inbox: Inbox,
    /// Where the next exchange begins when not all that differ have room in one.
    first_range: usize,
}

impl Asker {
    async fn compare(&mut self) -> Result<Comparison, CompareError> {
        let begun = Instant::now();
        let mut found = Comparison {
            peer: self.link.site().to_string(),
            ranges: RANGES as u64,
            ..Comparison::default()
        };
        let differing = self.differing().await?;
        found.ranges_differing = differing.len() as u64;
        let exchanged = self.choose(&differing);
        found.ranges_exchanged = exchanged.len() as u64;
        if !exchanged.is_empty() {
            self.exchange(exchanged, &mut found).await?;
        }
        self.compare_logs(&mut found).await?;
        found.took_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        Ok(found)
    }

    /// The ranges with other fingerprints there than here.
    async fn differing(&mut self) -> Result<Vec<u16>, CompareError> {
        let grid = self.grid.clone();
        let ours: Fingerprints = blocking(move || {
            if let Err(error) = grid.flush() {
                warn!(%error, "comparing what is not on disk");
            }
            grid.fingerprints()
        })
        .await?;
        self.send(&Message::Groups(groups(&ours))).await?;
        let mut differing = Vec::new();
        loop {
            let answer = self.answer().await?;
            if answer == Message::RangesEnd {
                return Ok(differing);
            }
            if let Message::Ranges {
                group: number,
                ranges,
            } = answer
            {
                let pairs = group(&ours, number).zip(&ranges).enumerate();
                let first = usize::from(number) * GROUP;
                let here = pairs.filter(|(_, (ours, theirs))| ours != *theirs);
                differing.extend(here.map(|(place, _)| (first + place) as u16));
            }
        }
    }

    /// As many of them as one exchange takes, in turn.
    fn choose(&mut self, differing: &[u16]) -> Vec<u16> {
        if differing.len() <= EXCHANGED_MAX {
            return differing.to_vec();
        }
        let first = differing.partition_point(|range| usize::from(*range) < self.first_range);
        let in_turn = differing[first..].iter().chain(&differing[..first]);
        let chosen: Vec<u16> = in_turn.take(EXCHANGED_MAX).copied().collect();
        self.first_range = chosen.last().map_or(0, |last| usize::from(*last) + 1);
        chosen
    }

    async fn exchange(
        &mut self,
        ranges: Vec<u16>,
        found: &mut Comparison,
    ) -> Result<(), CompareError> {
        let held: Ranges = ranges.iter().copied().collect();
        self.send(&Message::Exchange(ranges)).await?;
        tell(&self.grid, held, &mut self.out).await?;
        self.send(&Message::RecordsEnd { differences: 0 }).await?;
        loop {
            let answer = self.answer().await?;
            if let Message::RecordsEnd { differences } = answer {
                found.mended_there = differences;
                return Ok(());
            }
            if let Message::Record(record) = answer {
                let (grid, site) = (self.grid.clone(), self.link.site().clone());
                let applied = blocking(move || grid.apply_compared(&site, record.into())).await?;
                let differences = super::note(self.link.site(), applied);
                found.mended_here += differences.len() as u64;
                let room = NAMED_MAX - found.named.len();
                found.named.extend(differences.iter().take(room).map(told));
            }
        }
    }

    async fn compare_logs(&mut self, found: &mut Comparison) -> Result<(), CompareError> {
        for (log, _) in self.grid.logs() {
            let (grid, of) = (self.grid.clone(), log.clone());
            let marks = blocking(move || grid.log_marks(&of)).await?;
            let Some((start, marks)) = marks else {
                continue;
            };
            found.logs += 1;
            for message in Message::of_log(&log, start, &marks) {
                self.send(&message).await?;
            }
        }
        self.send(&Message::LogsEnd).await?;
        loop {
            let answer = self.answer().await?;
            if answer == Message::LogsChecked {
                return Ok(());
            }
            if let Message::LogDiffers { site, name, after } = answer
                && let Some(log) = log_name(&site, name)
            {
                let after = entry_id(after);
                found.logs_differing.push(format!("{log} after {after}"));
            }
        }
    }

    async fn answer(&mut self) -> Result<Message, CompareError> {
        match timeout(ANSWER_WAIT, self.inbox.next()).await {
            Ok(Some(message)) => Ok(message),
            Ok(None) => Err(CompareError::Broken),
            Err(_) => Err(CompareError::NoAnswer(self.link.site().to_string())),
        }
    }

    async fn send(&mut self, message: &Message) -> Result<(), CompareError> {
        self.out.send(message.encode(), false).await?;
        Ok(())
    }

    fn report(&self, outcome: &Result<Comparison, CompareError>) {
        let peer = self.link.site();
        match outcome {
            Err(error) => warn!(%peer, %error, "not compared with the peer"),
            Ok(found) if found.is_clean() => info!(
                %peer,
                took_ms = found.took_ms,
                "compared with the peer: both hold the same"
            ),
            Ok(found) if found.mended_here + found.mended_there == 0 => info!(
                %peer,
                ranges_differing = found.ranges_differing,
                logs_differing = found.logs_differing.len(),
                "compared with the peer"
            ),
            Ok(found) => error!(
                %peer,
                mended_here = found.mended_here,
                mended_there = found.mended_there,
                "counters were lost or damaged and are mended"
            ),
        }
        for log in outcome.iter().flat_map(|found| &found.logs_differing) {
            error!(%peer, log, "the two sites hold different entries of a log");
        }
    }
}
