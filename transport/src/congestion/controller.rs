use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use quinn::congestion::{Controller, ControllerFactory, ControllerMetrics, CubicConfig};
use quinn_proto::RttEstimator;

use super::model::{self, Ack, Model};

/// What a controller tells those who look at it from outside, and they tell it.
#[derive(Debug, Default)]
pub(super) struct Readings {
    pub(super) rate_bytes_s: AtomicU64,
    /// Told to it, or 0: see [`Prospect`](super::Prospect).
    pub(super) link_bytes_s: AtomicU64,
    pub(super) known_bytes_s: AtomicU64,
    pub(super) is_cubic: AtomicBool,
}

/// Fits the model to QUIC, or stands aside for quinn's CUBIC where that is asked for.
pub(super) struct Strait {
    model: Model,
    readings: Arc<Readings>,
    cubic: Option<Box<dyn Controller>>,
    mtu: u16,
}

impl Strait {
    pub(super) fn new(mtu: u16) -> Self {
        Self {
            model: Model::new(mtu),
            readings: Arc::default(),
            cubic: None,
            mtu,
        }
    }

    pub(super) fn readings(&self) -> &Readings {
        &self.readings
    }

    /// What was told to us since.
    fn heed_prospect(&mut self) {
        let link_bytes_s = self.readings.link_bytes_s.swap(0, Ordering::Relaxed);
        if link_bytes_s > 0 {
            self.model.set_link_rate(link_bytes_s as f64);
        }
        let known_bytes_s = self.readings.known_bytes_s.swap(0, Ordering::Relaxed);
        if known_bytes_s > 0 {
            self.model.set_known_rate(known_bytes_s as f64);
        }
    }

    fn cubic(&mut self, now: Instant) -> Option<&mut dyn Controller> {
        if self.cubic.is_none() && self.readings.is_cubic.load(Ordering::Relaxed) {
            // What was measured so far says nothing of what CUBIC makes of the link.
            self.readings.rate_bytes_s.store(0, Ordering::Relaxed);
            let factory = Arc::new(CubicConfig::default());
            self.cubic = Some(factory.build(now, self.mtu));
        }
        match &mut self.cubic {
            Some(cubic) => Some(cubic.as_mut()),
            None => None,
        }
    }
}

impl Controller for Strait {
    fn on_sent(&mut self, now: Instant, bytes: u64, last_packet_number: u64) {
        match self.cubic(now) {
            Some(cubic) => cubic.on_sent(now, bytes, last_packet_number),
            None => {
                self.heed_prospect();
                self.model.handle_sent(now);
            }
        }
    }

    fn on_ack(
        &mut self,
        now: Instant,
        sent: Instant,
        bytes: u64,
        app_limited: bool,
        rtt: &RttEstimator,
    ) {
        match self.cubic(now) {
            Some(cubic) => cubic.on_ack(now, sent, bytes, app_limited, rtt),
            None => self.model.handle_ack(Ack {
                now,
                sent,
                bytes,
                app_limited,
            }),
        }
    }

    fn on_end_acks(
        &mut self,
        now: Instant,
        in_flight: u64,
        app_limited: bool,
        largest_packet_num_acked: Option<u64>,
    ) {
        if let Some(cubic) = self.cubic(now) {
            cubic.on_end_acks(now, in_flight, app_limited, largest_packet_num_acked);
            return;
        }
        self.heed_prospect();
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
        sent: Instant,
        is_persistent_congestion: bool,
        lost_bytes: u64,
    ) {
        if let Some(cubic) = self.cubic(now) {
            cubic.on_congestion_event(now, sent, is_persistent_congestion, lost_bytes);
        } else if is_persistent_congestion {
            self.model.handle_blackout(now);
        } else if lost_bytes == 0 {
            self.model.handle_marked(now);
        } else {
            self.model.handle_lost(lost_bytes);
        }
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.mtu = new_mtu;
        self.model.set_mtu(new_mtu);
        if let Some(cubic) = &mut self.cubic {
            cubic.on_mtu_update(new_mtu);
        }
    }

    fn window(&self) -> u64 {
        match &self.cubic {
            Some(cubic) => cubic.window(),
            None => self.model.window_bytes(),
        }
    }

    fn metrics(&self) -> ControllerMetrics {
        let mut metrics = ControllerMetrics::default();
        metrics.congestion_window = self.window();
        metrics.pacing_rate = self.model.rate_bytes_s().map(|rate| 8 * rate as u64);
        metrics
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(Self {
            model: self.model.clone(),
            readings: Arc::clone(&self.readings),
            cubic: self.cubic.as_ref().map(|cubic| cubic.clone_box()),
            mtu: self.mtu,
        })
    }

    fn initial_window(&self) -> u64 {
        model::INITIAL_WINDOW_BYTES
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}
