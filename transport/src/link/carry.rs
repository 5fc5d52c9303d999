//! Moves bytes while a pair of connections stands.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use quinn::Connection;
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};

use super::core::Generation;
use super::decoder::DecoderJob;
use super::driver::Call;
use super::establish::Pair;
use super::shared::Shared;
use super::telemetry::Sample;
use super::{read, write};
use crate::class::Class;
use crate::congestion;
use crate::quic::{self, Goodbye};
use crate::shaping::Shaper;

const SAMPLE_EVERY: Duration = Duration::from_millis(50);
/// How long a goodbye may take to reach the peer.
const GOODBYE_MAX: Duration = Duration::from_millis(500);

/// How a pair of connections ended.
#[derive(Debug)]
pub(super) enum End {
    /// The link was paused or closed.
    Command,
    /// The peer dialed anew.
    Replaced(Call),
    /// For the reason given.
    Broken(String),
}

/// What every task of a pair needs.
#[derive(Clone, Debug)]
pub(super) struct Carrier {
    pub(super) link: Arc<Shared>,
    pub(super) generation: Generation,
    pub(super) decoder: mpsc::Sender<DecoderJob>,
    /// Bytes handed to QUIC and not acknowledged by it.
    pub(super) in_flight: Arc<AtomicU64>,
    pub(super) shaper: Arc<Shaper>,
}

impl Carrier {
    pub(super) fn new(
        link: &Arc<Shared>,
        generation: Generation,
        decoder: mpsc::Sender<DecoderJob>,
        shaper: &Arc<Shaper>,
    ) -> Self {
        Self {
            link: Arc::clone(link),
            generation,
            decoder,
            in_flight: Arc::default(),
            shaper: Arc::clone(shaper),
        }
    }

    /// Runs until something ends it, then closes both connections.
    pub(super) async fn run(self, pair: Pair, call: impl Future<Output = Call>) -> End {
        let connections = [
            pair.control.connection.clone(),
            pair.bulk.connection.clone(),
        ];
        let endpoints = [pair.control.endpoint.clone(), pair.bulk.endpoint.clone()];
        let link = Arc::clone(&self.link);
        let mut tasks = self.spawn(pair);
        let end = tokio::select! {
            call = call => End::Replaced(call),
            () = link.command.notified() => End::Command,
            Some(ended) = tasks.join_next() => {
                End::Broken(ended.unwrap_or_else(|error| error.to_string()))
            }
        };
        let (goodbye, reason) = match &end {
            End::Command => (
                Goodbye::Stopping,
                "the gateway stops, or its link was paused",
            ),
            End::Replaced(_) => (Goodbye::Replaced, "a newer connection takes over"),
            End::Broken(reason) => (Goodbye::Violation, reason.as_str()),
        };
        for connection in &connections {
            connection.close(goodbye.code(), reason.as_bytes());
        }
        // Aborts them; what they had under way belongs to a generation that is over.
        drop(tasks);
        let idle = endpoints.map(|endpoint| async move {
            if let Some(endpoint) = endpoint {
                endpoint.wait_idle().await;
            }
        });
        let [control, bulk] = idle;
        // It is told or it is not: the peer notices by itself, too.
        drop(timeout(GOODBYE_MAX, async { tokio::join!(control, bulk) }).await);
        end
    }

    /// One task for each direction of each thing; the first to end gives the reason.
    fn spawn(self, pair: Pair) -> JoinSet<String> {
        let mut tasks = JoinSet::new();
        let (control, bulk) = (pair.control.connection, pair.bulk.connection);
        if let Some(bytes_s) = self.shaper.link_bytes_s() {
            congestion::set_link_rate(&control, bytes_s);
            congestion::set_link_rate(&bulk, bytes_s);
        }
        let (fault, faults) = tokio::sync::mpsc::channel(1);
        tasks.spawn(first(faults));
        for connection in [&control, &bulk] {
            tasks.spawn(closed(connection.clone()));
            tasks.spawn(read::batches(
                self.clone(),
                connection.clone(),
                fault.clone(),
            ));
        }
        tasks.spawn(read::messages(self.clone(), pair.control.recv));
        tasks.spawn(write::messages(self.clone(), pair.control.send));
        for class in Class::ALL {
            let connection = match class {
                Class::Control | Class::Interactive => control.clone(),
                Class::Bulk => bulk.clone(),
            };
            tasks.spawn(write::batches(self.clone(), connection, class));
        }
        tasks.spawn(self.sample(control, bulk));
        tasks
    }

    /// Looks at the connections now and then, and lets QUIC hold as much as they need.
    async fn sample(self, control: Connection, bulk: Connection) -> String {
        let mut ticks = interval(SAMPLE_EVERY);
        loop {
            ticks.tick().await;
            let sample = Sample {
                control: control.stats(),
                bulk: bulk.stats(),
                rate_bytes_s: congestion::rate_bytes_s(&bulk),
                in_flight_bytes: self.in_flight.load(Ordering::Relaxed),
            };
            for (connection, stats) in [(&control, &sample.control), (&bulk, &sample.bulk)] {
                connection.set_send_window(quic::send_window_bytes(stats.path.cwnd));
            }
            let mut core = self.link.lock();
            if !core.is_current(self.generation) {
                return "replaced".into();
            }
            core.telemetry.sample = Some(sample);
            core.set_drain(sample.rate_bytes_s);
        }
    }
}

async fn closed(connection: Connection) -> String {
    quic::explain(&connection.closed().await)
}

async fn first(mut faults: tokio::sync::mpsc::Receiver<String>) -> String {
    match faults.recv().await {
        Some(fault) => fault,
        None => std::future::pending().await,
    }
}
