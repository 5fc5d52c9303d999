//! Comparing what two sites hold, range by range, on schedule and on demand.
//!
//! Replication sends what changed; this finds what should be there and is not: a component that
//! a damaged disk lost, a sum that went wrong in memory. One site asks with fingerprints of its
//! ranges of counters and of its logs; the other answers with what differs; both then tell each
//! other all they hold there. Records merge as always, so whatever is found is mended by that.

mod answer;
mod ask;
mod ends;
mod mend;
mod message;
mod outbox;
mod schedule;
mod stuck;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use strait_transport::{LinkHandle, LogPace, Received, SendError, SiteName, WireVersion};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tracing::{debug, warn};

use super::Progress;
use crate::grid::{
    Applied, ApplyError, Difference, Fingerprints, Grid, LogName, RangeScan, Ranges, Scope, Span,
};
use crate::streams::StreamOpen;
use message::{Fingerprint, GROUP, Message};
use outbox::Outbox;
use schedule::Schedule;

/// How long the other side may take for one answer: it reads its whole grid for the first.
const ANSWER_WAIT: Duration = Duration::from_secs(300);
/// Differences that are named one by one.
const NAMED_MAX: usize = 100;
/// Records of a log that are told for one question, and bytes of each, or one entry: more than the largest
/// block on disk.
const FETCHED_RECORDS_MAX: usize = 20;
const FETCHED_BYTES_MAX: usize = 256 << 10;
/// Bytes of each record of counters.
const COUNTERS_BYTES_MAX: usize = 64 << 10;
/// Stretches of logs that the answering side found to differ and that are still to be mended.
const DIFFERING_MAX: usize = 1024;

/// From this version of the wire on gateways forget deleted counters, and leave them out of fingerprints.
const FORGETS: WireVersion = WireVersion(5);

/// Where a log differs.
type Differing = (LogName, Span);

/// What a comparison found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Comparison {
    /// The other site.
    pub peer: String,
    /// Ranges of counters, all of them.
    pub ranges: u64,
    /// Those with different fingerprints: damage, or changes on their way.
    pub ranges_differing: u64,
    /// Those of which both sides then told each other everything; the others' turn comes next.
    pub ranges_exchanged: u64,
    /// Counters that were lost or damaged here, and are as the peer has them now.
    pub mended_here: u64,
    /// Counters that were lost or damaged at the peer, and are mended there.
    pub mended_there: u64,
    /// Logs that were compared.
    pub logs: u64,
    /// Stretches of logs of which the two sites held different entries: both mend what they can.
    pub logs_differing: Vec<String>,
    /// Entries of logs that were lost here and came from the peer.
    #[serde(default)]
    pub entries_mended: u64,
    /// One of the two sites was being sent what it lacked as the link came up: that was not compared.
    #[serde(default)]
    pub catching_up: bool,
    /// What was mended here: counter, origin, version and sum of both sites.
    pub named: Vec<String>,
    /// Ranges that differ although nothing changes in them at either site any more, with counters of them.
    #[serde(default)]
    pub ranges_stuck: Vec<String>,
    /// Logs that end elsewhere at the peer, although they change at neither site any more.
    #[serde(default)]
    pub logs_stuck: Vec<String>,
    /// Logs of which the peer cannot be sent all, because some of it is lost here.
    #[serde(default)]
    pub logs_held_up: u64,
    pub took_ms: u64,
}

impl Comparison {
    /// Nothing was lost, damaged or left out of what both sites hold.
    pub fn is_clean(&self) -> bool {
        self.mended_here + self.mended_there + self.entries_mended == 0
            && self.logs_differing.is_empty()
            && self.ranges_stuck.is_empty()
            && self.logs_stuck.is_empty()
            && self.logs_held_up == 0
            && self.ranges_exchanged == self.ranges_differing
    }
}

/// Why there is no comparison.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompareError {
    #[error("{0} is no peer of this site")]
    NoSuchPeer(String),
    #[error("the link to {0} is not up")]
    NotLinked(String),
    #[error("{0} does not answer: it may be of another release")]
    NoAnswer(String),
    #[error("the link broke meanwhile")]
    Broken,
}

impl From<SendError> for CompareError {
    fn from(_: SendError) -> Self {
        Self::Broken
    }
}

type Demand = oneshot::Sender<Result<Comparison, CompareError>>;

/// The comparisons over one link, kept across its sessions.
#[derive(Debug)]
pub struct Comparer {
    schedule: Mutex<Schedule>,
    demands: Mutex<Option<mpsc::Sender<Demand>>>,
    rounds: AtomicU64,
    failed: AtomicU64,
    last: Mutex<Option<Comparison>>,
}

impl Comparer {
    /// With comparisons so far apart; none: only on demand.
    pub fn new(every: Option<Duration>) -> Self {
        Self {
            schedule: Mutex::new(Schedule::new(every, Instant::now())),
            demands: Mutex::default(),
            rounds: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            last: Mutex::default(),
        }
    }

    /// Compares now.
    pub async fn compare(&self, peer: &str) -> Result<Comparison, CompareError> {
        let not_linked = || CompareError::NotLinked(peer.to_owned());
        let (answer, answered) = oneshot::channel();
        let demands = self.demands.lock().clone().ok_or_else(not_linked)?;
        demands.send(answer).await.map_err(|_| not_linked())?;
        answered.await.map_err(|_| CompareError::Broken)?
    }

    /// How often it was compared, how often that failed, and what came out last.
    pub fn figures(&self) -> (u64, u64, Option<Comparison>) {
        let read = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        (
            read(&self.rounds),
            read(&self.failed),
            self.last.lock().clone(),
        )
    }

    fn note(&self, outcome: &Result<Comparison, CompareError>) {
        match outcome {
            Ok(comparison) => {
                self.rounds.fetch_add(1, Ordering::Relaxed);
                *self.last.lock() = Some(comparison.clone());
            }
            Err(_) => {
                self.failed.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// Both roles in one session; they end when this is dropped.
pub(super) struct Roles {
    asks: mpsc::UnboundedSender<Received>,
    answers: mpsc::UnboundedSender<Received>,
    tasks: [JoinHandle<()>; 2],
}

impl Roles {
    pub(super) fn start(
        grid: &Arc<Grid>,
        (link, wire): (&LinkHandle, WireVersion),
        (progress, comparer): (&Arc<Progress>, &Arc<Comparer>),
    ) -> Self {
        let scope = match wire >= FORGETS {
            true => Scope::Living,
            false => Scope::All,
        };
        let (asks, asked) = mpsc::unbounded_channel();
        let (answers, answered) = mpsc::unbounded_channel();
        let (demands, demanded) = mpsc::channel(4);
        *comparer.demands.lock() = Some(demands);
        let (differing, differs) = mpsc::channel(DIFFERING_MAX);
        let inbox = (Inbox::new(asked), differing);
        let answering = answer::run((grid.clone(), scope), link.clone(), inbox);
        let asking = ask::run(
            (grid.clone(), scope),
            (link.clone(), wire),
            (progress.clone(), comparer.clone()),
            (Inbox::new(answered), demanded, differs),
        );
        Self {
            asks,
            answers,
            tasks: [tokio::spawn(answering), tokio::spawn(asking)],
        }
    }

    /// Takes a batch of one of the two streams.
    pub(super) fn handle(&self, open: &StreamOpen, received: Received) {
        let asks = *open == StreamOpen::CompareAsk;
        let to = if asks { &self.asks } else { &self.answers };
        // Gone only when the session is about to be.
        drop(to.send(received));
    }
}

impl Drop for Roles {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// What the peer sends on one of the streams.
struct Inbox {
    batches: mpsc::UnboundedReceiver<Received>,
    /// About batches that cannot be read.
    lines: LogPace,
}

impl Inbox {
    fn new(batches: mpsc::UnboundedReceiver<Received>) -> Self {
        Self {
            batches,
            lines: LogPace::default(),
        }
    }

    /// The next message, acknowledged as it is taken: so what waits here is bounded by the link.
    /// Batches that cannot be read are left out.
    async fn next(&mut self) -> Option<Message> {
        loop {
            let received = self.batches.recv().await?;
            let message = Message::decode(&received.bytes);
            received.ack();
            match message {
                Ok(message) => return Some(message),
                Err(error) => {
                    if let Some(more) = self.lines.is_due(Instant::now()) {
                        warn!(%error, more, "batch put aside");
                    }
                }
            }
        }
    }
}

/// Sums over groups of ranges.
fn groups(fingerprints: &Fingerprints) -> Vec<Fingerprint> {
    let groups = fingerprints.0.chunks(GROUP);
    let sums = groups.map(|group| {
        group
            .iter()
            .fold(0, |sum: u128, one| sum.wrapping_add(*one))
    });
    sums.map(u128::to_le_bytes).collect()
}

fn group(fingerprints: &Fingerprints, group: u8) -> impl Iterator<Item = Fingerprint> {
    let start = usize::from(group) * GROUP;
    let ranges = fingerprints.0[start..start + GROUP].iter();
    ranges.map(|range| range.to_le_bytes())
}

fn told(difference: &Difference) -> String {
    let Difference {
        name,
        origin,
        ours,
        theirs,
    } = difference;
    format!(
        "{name} of {origin}: version {} sum {} here, version {} sum {} there",
        ours.0, ours.1, theirs.0, theirs.1
    )
}

/// Tells the other side all that is held in `ranges`.
async fn tell(grid: &Arc<Grid>, ranges: Ranges, out: &mut Outbox) -> Result<(), CompareError> {
    let mut scan = RangeScan::new(ranges);
    loop {
        let grid = grid.clone();
        let (rest, record) = blocking(move || {
            let record = grid.next_of_ranges(&mut scan, COUNTERS_BYTES_MAX);
            (scan, record)
        })
        .await?;
        let Some(record) = record else { return Ok(()) };
        out.send(&Message::Record(record.to_vec())).await?;
        scan = rest;
    }
}

/// Runs what takes long away from tokio's threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, CompareError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| CompareError::Broken)
}

/// Tells the log what a record of a comparison showed.
fn note(
    peer: &SiteName,
    applied: Result<(Applied, Vec<Difference>), ApplyError>,
) -> Vec<Difference> {
    match applied {
        Ok((_, found)) => {
            for difference in &found {
                // A counter's name is a customer's.
                debug!(%peer, difference = told(difference), "a difference between the sites");
            }
            found
        }
        Err(error) => {
            warn!(%peer, %error, "what a comparison brought was not merged");
            Vec::new()
        }
    }
}
