//! Moves bytes while a pair of connections stands.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{interval, sleep_until, timeout};

use super::core::Generation;
use super::decoder::DecoderJob;
use super::drain::Drain;
use super::establish::Pair;
use super::shared::Shared;
use super::stall::Stall;
use super::starvation::{Progress, Starvation};
use super::telemetry::Sample;
use super::{read, write};
use crate::class::Class;
use crate::congestion::Prospect;
use crate::identity::PublicKey;
use crate::line::{Connection, Goodbye, IDLE_MAX, Purpose};
use crate::shaping::Shaper;
use crate::status::Transport;

const SAMPLE_EVERY: Duration = Duration::from_millis(50);
/// A path that loses more is lossy.
const LOSSY_PERCENT: f64 = 0.02;
/// How long a goodbye may take to reach the peer.
const GOODBYE_MAX: Duration = Duration::from_millis(500);
/// How long a pair may take to hand over what is still under way.
const DRAIN_MAX: Duration = Duration::from_secs(10);

/// What every task of a pair needs.
#[derive(Clone, Debug)]
pub(super) struct Carrier {
    pub(super) link: Arc<Shared>,
    pub(super) generation: Generation,
    pub(super) decoder: mpsc::Sender<DecoderJob>,
    pub(super) shaper: Arc<Shaper>,
    /// We dialed it, so it is on us to find a better one.
    pub(super) dialed: bool,
    pub(super) drain: Arc<Drain>,
    /// Bytes handed to the connections and not acknowledged by the peer's end.
    pub(super) in_flight: Arc<AtomicU64>,
    /// The path has been seen to lose packets.
    pub(super) is_lossy: Arc<AtomicBool>,
}

/// A pair of connections at work. Dropped, it is gone without a word.
#[derive(Debug)]
pub(super) struct RunningPair {
    /// Names it among the pairs of its link.
    id: u64,
    link: Arc<Shared>,
    connections: [Connection; 2],
    drain: Arc<Drain>,
    tasks: JoinSet<String>,
    /// When the peer last answered.
    answered: watch::Receiver<Instant>,
    /// Hardly anything gets through.
    starved: watch::Receiver<bool>,
    /// Once retired: by then nothing is under way any more.
    dry_by: Option<Instant>,
}

impl RunningPair {
    pub(super) fn start(carrier: Carrier, pair: Pair) -> Self {
        let mut tasks = JoinSet::new();
        let link = Arc::clone(&carrier.link);
        let (id, known_bytes_s) = {
            let telemetry = &mut link.lock().telemetry;
            (telemetry.begin_pair(), telemetry.known_bytes_s)
        };
        let prospect = Prospect {
            congestion: link.settings().congestion,
            link_bytes_s: carrier.shaper.link_bytes_s(),
            known_bytes_s,
        };
        let (control, bulk) = (pair.control.connection, pair.bulk.connection);
        let connections = [control.clone(), bulk.clone()];
        // Who is dialed does not know before which of the two it answers.
        control.set_windows(Purpose::Control);
        bulk.configure(prospect);
        // Its traffic is thin: it has no use for a rate that bulk had.
        control.configure(Prospect {
            known_bytes_s: None,
            ..prospect
        });
        let (fault, faults) = tokio::sync::mpsc::channel(1);
        tasks.spawn(first(faults));
        for connection in &connections {
            let (read, closed) = (connection.clone(), connection.clone());
            tasks.spawn(async move { closed.closed().await.reason });
            tasks.spawn(read::batches(carrier.clone(), read, fault.clone()));
        }
        tasks.spawn(read::messages(carrier.clone(), pair.control.recv));
        tasks.spawn(write::messages(carrier.clone(), pair.control.send));
        for class in Class::ALL {
            let connection = match class {
                Class::Control | Class::Interactive => control.clone(),
                Class::Bulk => bulk.clone(),
            };
            tasks.spawn(write::batches(carrier.clone(), connection, class));
        }
        let (answers, answered) = watch::channel(Instant::now());
        let (starves, starved) = watch::channel(false);
        let drain = Arc::clone(&carrier.drain);
        tasks.spawn(carrier.sample(id, [control, bulk], answers, starves));
        Self {
            id,
            link,
            connections,
            drain,
            tasks,
            answered,
            starved,
            dry_by: None,
        }
    }

    /// The control connection.
    pub(super) fn control(&self) -> &Connection {
        &self.connections[0]
    }

    pub(super) fn transport(&self) -> Transport {
        self.connections[0].transport()
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.connections[0].address()
    }

    /// The keys that the peer proved to have, one on each connection.
    pub(super) fn keys(&self) -> [Option<PublicKey>; 2] {
        self.connections.each_ref().map(Connection::key)
    }

    /// Changes whenever the peer answers.
    pub(super) fn answered(&self) -> watch::Receiver<Instant> {
        self.answered.clone()
    }

    /// Whether the path lets hardly anything of what we send through.
    pub(super) fn starved(&self) -> watch::Receiver<bool> {
        self.starved.clone()
    }

    /// Waits until something ends it. May be cancelled.
    pub(super) async fn ended(&mut self) -> String {
        match self.tasks.join_next().await {
            Some(ended) => ended.unwrap_or_else(|error| error.to_string()),
            None => "nothing is left of it".into(),
        }
    }

    /// Whether the peer took leave with these words.
    pub(super) fn has_left(&self, goodbye: Goodbye) -> bool {
        let mut ends = self.connections.iter().filter_map(Connection::ended);
        ends.any(|ended| ended.goodbye == Some(goodbye))
    }

    /// A newer pair has taken over: sends nothing new.
    pub(super) fn retire(&mut self) {
        self.dry_by = Some(Instant::now() + DRAIN_MAX);
        self.drain.retire();
    }

    /// After [`RunningPair::retire`]: waits until nothing is under way any more. An error if
    /// something was lost with it. May be cancelled.
    pub(super) async fn drained(&mut self) -> Result<(), String> {
        let drain = Arc::clone(&self.drain);
        let dry_by = self.dry_by.unwrap_or_else(Instant::now);
        let over = tokio::select! {
            biased;
            () = drain.over() => Ok(()),
            reason = self.ended() => Err(reason),
            () = sleep_until(dry_by.into()) => Err("the old connection did not run dry".to_owned()),
        };
        // The peer, which has everything, may have been first to close.
        match over {
            Err(_) if drain.has_all() && self.has_left(Goodbye::Replaced) => Ok(()),
            over => over,
        }
    }

    /// Says goodbye and waits a moment for it to get through.
    pub(super) async fn close(self, goodbye: Goodbye, reason: &str) {
        for connection in &self.connections {
            connection.close(goodbye, reason);
        }
        // Aborts them; what they had under way belongs to a generation that is over, or is
        // with the peer already.
        drop(self.tasks);
        let [control, bulk] = &self.connections;
        let gone = async { tokio::join!(control.gone(), bulk.gone()) };
        // The peer is told or it is not: it notices by itself, too.
        drop(timeout(GOODBYE_MAX, gone).await);
        self.link.lock().telemetry.end_pair(self.id);
    }
}

impl Carrier {
    /// Looks at the connections now and then.
    async fn sample(
        self,
        id: u64,
        [control, bulk]: [Connection; 2],
        answered: watch::Sender<Instant>,
        starved: watch::Sender<bool>,
    ) -> String {
        let mut ticks = interval(SAMPLE_EVERY);
        let mut answers = 0;
        let mut starvation = Starvation::default();
        let mut stall = Stall::new(self.link.settings().stalls_after, Instant::now());
        loop {
            ticks.tick().await;
            let transport = control.transport();
            // One who listens has one socket for all links.
            let has_sockets = self.dialed && transport == Transport::Quic;
            let sample = Sample {
                address: control.address(),
                transport,
                control: control.sample(),
                bulk: bulk.sample(),
                in_flight_bytes: self.in_flight.load(Ordering::Relaxed),
                socket_bytes: if has_sockets {
                    2 * crate::SOCKET_BYTES
                } else {
                    0
                },
            };
            if sample.control.answers != answers {
                answers = sample.control.answers;
                answered.send_replace(Instant::now());
            }
            // The listener says little by itself, and hears from us when this ends.
            if self.dialed && answered.borrow().elapsed() > IDLE_MAX {
                return "the peer does not answer".into();
            }
            let progress = Progress {
                delivered_bytes: sample.delivered_bytes(),
                waiting_bytes: sample.in_flight_bytes,
                silent: answered.borrow().elapsed(),
            };
            starved.send_replace(starvation.poll(Instant::now(), progress));
            let mut core = self.link.lock();
            core.telemetry.set_sample(id, sample);
            let is_lossy = core.telemetry.lost_percent() > LOSSY_PERCENT;
            self.is_lossy.store(is_lossy, Ordering::Relaxed);
            if !self.drain.is_retired() {
                let rate = sample.bulk.rate_bytes_s;
                // A link that waits for its encoder is faster than it was found to be.
                let is_busy = core.has_queued() || core.bulk_flows_at(Instant::now());
                let waits = sample.has_room() && is_busy;
                core.set_drain(rate.filter(|_| !waits));
                let (acked, unacked) = core.acked_and_unacked();
                if stall.poll(Instant::now(), acked, unacked) {
                    core.telemetry.stalls += 1;
                    drop(core);
                    tracing::warn!(
                        site = %self.link.site, unacked,
                        "the peer acknowledges nothing: it does not read, or cannot write"
                    );
                }
            }
        }
    }
}

async fn first(mut faults: tokio::sync::mpsc::Receiver<String>) -> String {
    match faults.recv().await {
        Some(fault) => fault,
        None => std::future::pending().await,
    }
}
