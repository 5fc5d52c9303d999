//! Congestion control of our own, for long fat links that lose packets.
//!
//! The model (`model`) is pure: it is told what was sent, acknowledged and lost, and when. This
//! file fits it to QUIC, and lets a link look at it while it runs.

mod model;
mod rounds;
mod samples;
#[cfg(test)]
mod simulation;

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use quinn::congestion::{Controller, ControllerFactory, ControllerMetrics};
use quinn_proto::RttEstimator;

use self::model::{Ack, Model};

/// Makes a controller for each connection.
#[derive(Debug, Default)]
pub(crate) struct StraitFactory;

impl ControllerFactory for StraitFactory {
    fn build(self: Arc<Self>, _now: Instant, current_mtu: u16) -> Box<dyn Controller> {
        Box::new(Strait {
            model: Model::new(current_mtu),
            readings: Arc::default(),
        })
    }
}

/// What a controller tells those who look at it from outside, and they tell it.
#[derive(Debug, Default)]
struct Readings {
    rate_bytes_s: AtomicU64,
    /// Told to it: the link's rate as configured, or 0.
    link_bytes_s: AtomicU64,
}

/// Tells a connection's controller how fast its link is: it starts at that rate and sends no
/// faster.
pub(crate) fn set_link_rate(connection: &quinn::Connection, bytes_s: f64) {
    let controller = connection.congestion_state().into_any();
    if let Ok(controller) = controller.downcast::<Strait>() {
        let link_bytes_s = &controller.readings.link_bytes_s;
        link_bytes_s.store(bytes_s as u64, Ordering::Relaxed);
    }
}

/// The estimated rate of a connection in bytes per second, where it is controlled by us and has
/// been measured.
pub(crate) fn rate_bytes_s(connection: &quinn::Connection) -> Option<f64> {
    let controller = connection.congestion_state().into_any();
    let controller = controller.downcast::<Strait>().ok()?;
    let rate = controller.readings.rate_bytes_s.load(Ordering::Relaxed);
    (rate > 0).then_some(rate as f64)
}

#[derive(Clone, Debug)]
struct Strait {
    model: Model,
    readings: Arc<Readings>,
}

impl Controller for Strait {
    fn on_sent(&mut self, now: Instant, _bytes: u64, _last_packet_number: u64) {
        self.model.handle_sent(now);
    }

    fn on_ack(
        &mut self,
        now: Instant,
        sent: Instant,
        bytes: u64,
        app_limited: bool,
        _rtt: &RttEstimator,
    ) {
        self.model.handle_ack(Ack {
            now,
            sent,
            bytes,
            app_limited,
        });
    }

    fn on_end_acks(
        &mut self,
        now: Instant,
        in_flight: u64,
        app_limited: bool,
        _largest_packet_num_acked: Option<u64>,
    ) {
        let link_bytes_s = self.readings.link_bytes_s.load(Ordering::Relaxed);
        if link_bytes_s > 0 {
            self.model.set_link_rate(link_bytes_s as f64);
        }
        let before = self.model.phase_name();
        self.model.handle_acks_end(now, in_flight, app_limited);
        let phase = self.model.phase_name();
        if phase != before {
            let window_bytes = self.window();
            tracing::trace!(phase, window_bytes, in_flight, "congestion control");
        }
        let rate = self.model.rate_bytes_s().unwrap_or(0.0) as u64;
        self.readings.rate_bytes_s.store(rate, Ordering::Relaxed);
    }

    fn on_congestion_event(
        &mut self,
        now: Instant,
        _sent: Instant,
        is_persistent_congestion: bool,
        lost_bytes: u64,
    ) {
        if is_persistent_congestion {
            self.model.handle_blackout(now);
        } else if lost_bytes == 0 {
            self.model.handle_marked(now);
        } else {
            self.model.handle_lost(lost_bytes);
        }
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.model.set_mtu(new_mtu);
    }

    fn window(&self) -> u64 {
        self.model.window_bytes()
    }

    fn metrics(&self) -> ControllerMetrics {
        let mut metrics = ControllerMetrics::default();
        metrics.congestion_window = self.window();
        metrics.pacing_rate = self.model.rate_bytes_s().map(|rate| 8 * rate as u64);
        metrics
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(self.clone())
    }

    fn initial_window(&self) -> u64 {
        model::INITIAL_WINDOW_BYTES
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}
