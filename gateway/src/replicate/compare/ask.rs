//! The side that asks for a comparison: on schedule, and when told to.

use std::sync::Arc;
use std::time::{Duration, Instant};

use strait_transport::{LinkHandle, WireVersion};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::{debug, error, info, warn};

use super::message::{GROUP, Message, entry_id, log_name};
use super::schedule::Standing;
use super::{
    ANSWER_WAIT, CompareError, Comparer, Comparison, DIFFERING_MAX, Demand, Differing, Fingerprint,
    Inbox, NAMED_MAX, Outbox, Progress, blocking, group, groups, tell, told,
};
use crate::grid::{
    ComparisonBegun, EntryId, Fingerprints, Grid, LogDepth, LogName, RANGES, Ranges, Scope, Span,
};
use crate::streams::StreamOpen;

/// Ranges that are exchanged in one comparison: a sixteenth of all counters. On a grid that
/// changes all over, what is on its way makes every range differ.
const EXCHANGED_MAX: usize = RANGES / 16;
/// How often it is looked whether a comparison is due.
const EVERY: Duration = Duration::from_secs(1);
/// From here on a peer can be asked where logs end.
const TELLS_ENDS: WireVersion = WireVersion(5);

/// Asks until the session ends.
pub(super) async fn run(
    (grid, scope): (Arc<Grid>, Scope),
    (link, wire): (LinkHandle, WireVersion),
    (progress, comparer): (Arc<Progress>, Arc<Comparer>),
    (inbox, mut demands, mut differing): (Inbox, mpsc::Receiver<Demand>, mpsc::Receiver<Differing>),
) {
    let Ok(out) = Outbox::open(&link, &StreamOpen::CompareAsk) else {
        return;
    };
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut holes = grid.subscribe_holes();
    // Those that were found before this session.
    holes.mark_changed();
    let mut asker = Asker {
        grid,
        scope,
        link,
        tells_ends: wire >= TELLS_ENDS,
        out,
        inbox,
        progress,
        first_range: 0,
    };
    loop {
        let (demand, depth) = tokio::select! {
            demand = demands.recv() => match demand {
                Some(demand) => (Some(demand), LogDepth::Disk),
                None => return,
            },
            _ = ticks.tick() => {
                let standing = asker.standing();
                match comparer.schedule.lock().due(standing, Instant::now()) {
                    Some(depth) => (None, depth),
                    None => continue,
                }
            }
            Ok(()) = holes.changed() => {
                if let Err(error) = asker.mend_holes().await {
                    return debug!(%error, "what is lost of logs stays so");
                }
                continue;
            }
            Some((log, span)) = differing.recv() => {
                if let Err(error) = asker.mend_differing(&log, span).await {
                    return debug!(%error, "a log stays as it is");
                }
                continue;
            }
        };
        let is_doubtful = asker.standing().is_doubtful;
        comparer.schedule.lock().begun(is_doubtful, Instant::now());
        let outcome = asker.compare(depth).await;
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

/// A range of counters with other fingerprints there than here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unlike {
    pub(super) range: u16,
    ours: Fingerprint,
    theirs: Fingerprint,
}

pub(super) struct Asker {
    pub(super) grid: Arc<Grid>,
    scope: Scope,
    pub(super) link: LinkHandle,
    /// The peer can be asked where logs end.
    tells_ends: bool,
    out: Outbox,
    inbox: Inbox,
    progress: Arc<Progress>,
    /// Where the next exchange begins when not all that differ have room in one.
    first_range: usize,
}

impl Asker {
    fn standing(&self) -> Standing {
        let peer = self.link.site();
        Standing {
            // One of the two is enough by schedule.
            is_first: self.grid.origin().site < *peer,
            is_doubtful: self.grid.is_doubtful(peer),
            is_catching_up: self.progress.is_catching_up(),
        }
    }

    pub(super) fn is_catching_up(&self) -> bool {
        self.progress.is_catching_up()
    }

    async fn compare(&mut self, depth: LogDepth) -> Result<Comparison, CompareError> {
        let begun = Instant::now();
        let mut found = Comparison {
            peer: self.link.site().to_string(),
            ranges: RANGES as u64,
            catching_up: self.progress.is_catching_up(),
            ..Comparison::default()
        };
        let comparison = self.grid.begin_comparison(self.link.site(), self.scope);
        let unlike = self.differing().await?;
        found.ranges_differing = unlike.len() as u64;
        let differing: Vec<u16> = unlike.iter().map(|unlike| unlike.range).collect();
        let exchanged = self.choose(&differing);
        found.ranges_exchanged = exchanged.len() as u64;
        if !exchanged.is_empty() {
            self.exchange(exchanged, &mut found, comparison).await?;
        }
        self.grid.end_comparison(self.link.site());
        found.entries_mended = self.mend_holes().await?;
        let logs_told = self.compare_logs(depth, &mut found).await?;
        if !found.catching_up && found.ranges_differing > 0 {
            found.ranges_stuck = self.stuck().await?;
        }
        if !found.catching_up && self.tells_ends {
            found.logs_stuck = self.logs_stuck().await?;
        }
        found.logs_held_up = self.progress.logs_held_up();
        if depth == LogDepth::Disk && logs_told && !found.catching_up {
            self.settle_doubts(&mut found).await?;
        }
        found.took_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        Ok(found)
    }

    /// All logs were compared: what may be lost of ours is in no doubt any more, as far as the peer goes.
    async fn settle_doubts(&mut self, found: &mut Comparison) -> Result<(), CompareError> {
        let peer = self.link.site().clone();
        if !self.grid.is_doubtful(&peer) {
            return Ok(());
        }
        let (entries, is_all) = self.mend_doubts().await?;
        found.entries_mended += entries;
        if is_all && !self.progress.is_catching_up() {
            info!(%peer, "compared with the peer after damage: what it holds of our logs is here");
            self.grid.settle_doubts(&peer);
        }
        Ok(())
    }

    /// The ranges with other fingerprints there than here.
    pub(super) async fn differing(&mut self) -> Result<Vec<Unlike>, CompareError> {
        let (grid, scope) = (self.grid.clone(), self.scope);
        let ours: Fingerprints = blocking(move || {
            if let Err(error) = grid.flush() {
                warn!(%error, "comparing what is not on disk");
            }
            grid.fingerprints(scope)
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
                let pairs = group(&ours, number).zip(ranges).enumerate();
                let first = usize::from(number) * GROUP;
                let here = pairs.filter(|(_, (ours, theirs))| ours != theirs);
                differing.extend(here.map(|(place, (ours, theirs))| Unlike {
                    range: (first + place) as u16,
                    ours,
                    theirs,
                }));
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
        begun: ComparisonBegun,
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
                let applied =
                    blocking(move || grid.apply_compared(&site, record.into(), begun)).await?;
                let differences = super::note(self.link.site(), applied);
                found.mended_here += differences.len() as u64;
                let room = NAMED_MAX - found.named.len();
                found.named.extend(differences.iter().take(room).map(told));
            }
        }
    }

    /// Compares all logs, and mends them; whether the peer told all that it holds where they differ.
    async fn compare_logs(
        &mut self,
        depth: LogDepth,
        found: &mut Comparison,
    ) -> Result<bool, CompareError> {
        let mut compared = Vec::new();
        for (log, _) in self.grid.logs() {
            if let Some(start) = self.tell_marks(&log, depth).await? {
                compared.push((log, start));
            }
        }
        found.logs = compared.len() as u64;
        self.send(&Message::LogsEnd).await?;
        let differing = self.differing_logs().await?;
        for (log, start) in compared {
            if log.site == *self.link.site() {
                let differs = differing.iter().any(|(other, _)| *other == log);
                self.grid.set_agrees(&log, (!differs).then_some(start));
            }
        }
        let mut is_all = differing.len() < DIFFERING_MAX;
        for (log, span) in differing {
            let text = format!("{log} after {} up to {}", span.after, span.to);
            found.logs_differing.push(text);
            let mended = self.mend_differing(&log, span).await?;
            found.entries_mended += mended.added;
            is_all &= mended.reached >= span.to;
        }
        Ok(is_all)
    }

    /// Says what we hold of a log; after which id, if there is anything.
    async fn tell_marks(
        &mut self,
        log: &LogName,
        depth: LogDepth,
    ) -> Result<Option<EntryId>, CompareError> {
        let (mut start, mut after) = (None, EntryId::MIN);
        loop {
            let (grid, of) = (self.grid.clone(), log.clone());
            let marks = blocking(move || grid.log_marks(&of, after, depth)).await?;
            let Some(marks) = marks else {
                return Ok(start);
            };
            self.send(&Message::of_log(log, depth, &marks)).await?;
            start = start.or(Some(marks.start));
            after = marks.end();
        }
    }

    /// Where the peer says that logs differ; at most so many stretches as are mended at a time.
    async fn differing_logs(&mut self) -> Result<Vec<Differing>, CompareError> {
        let mut differing = Vec::new();
        loop {
            let answer = self.answer().await?;
            if answer == Message::LogsChecked {
                return Ok(differing);
            }
            if let Message::LogDiffers {
                site,
                name,
                after,
                to,
            } = answer
                && let Some(log) = log_name(&site, name)
                && differing.len() < DIFFERING_MAX
            {
                let (after, to) = (entry_id(after), entry_id(to));
                differing.push((log, Span { after, to }));
            }
        }
    }

    pub(super) async fn answer(&mut self) -> Result<Message, CompareError> {
        match timeout(ANSWER_WAIT, self.inbox.next()).await {
            Ok(Some(message)) => Ok(message),
            Ok(None) => Err(CompareError::Broken),
            Err(_) => Err(CompareError::NoAnswer(self.link.site().to_string())),
        }
    }

    pub(super) async fn send(&mut self, message: &Message) -> Result<(), CompareError> {
        self.out.send(message).await?;
        Ok(())
    }

    fn report(&self, outcome: &Result<Comparison, CompareError>) {
        let peer = self.link.site();
        match outcome {
            Err(error) => warn!(%peer, %error, "not compared with the peer"),
            Ok(found) if found.is_clean() && !found.catching_up => info!(
                %peer,
                took_ms = found.took_ms,
                "compared with the peer: both hold the same"
            ),
            Ok(found) if found.mended_here + found.mended_there == 0 => info!(
                %peer,
                ranges_differing = found.ranges_differing,
                logs_differing = found.logs_differing.len(),
                catching_up = found.catching_up,
                "compared with the peer"
            ),
            Ok(found) => error!(
                %peer,
                mended_here = found.mended_here,
                mended_there = found.mended_there,
                "counters were lost or damaged and are mended"
            ),
        }
        for range in outcome.iter().flat_map(|found| &found.ranges_stuck) {
            // Names of counters are a customer's.
            let number = range.split(':').next();
            error!(%peer, range = number, "counters differ, and nothing is on its way that changes that");
        }
        for log in outcome.iter().flat_map(|found| &found.logs_stuck) {
            error!(%peer, log, "a log ends elsewhere at the peer, and nothing is on its way that changes that");
        }
        for log in outcome.iter().flat_map(|found| &found.logs_differing) {
            error!(%peer, log, "the two sites hold different entries of a log");
        }
    }
}
