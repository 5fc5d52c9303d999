//! Congestion control of our own, for long fat links that lose packets.
//!
//! The model (`model`) is pure: it is told what was sent, acknowledged and lost, and when.
//! `controller` fits it to QUIC, and lets a link look at it while it runs.

mod controller;
mod model;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use quinn::Connection;
use quinn::congestion::{Controller, ControllerFactory};

use self::controller::{Readings, Strait};
use crate::config::Congestion;

/// Makes a controller for each connection.
#[derive(Debug, Default)]
pub(crate) struct StraitFactory;

impl ControllerFactory for StraitFactory {
    fn build(self: Arc<Self>, _now: Instant, current_mtu: u16) -> Box<dyn Controller> {
        Box::new(Strait::new(current_mtu))
    }
}

/// What a link knows before it is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Prospect {
    pub(crate) congestion: Congestion,
    /// The rate that is configured: sending starts at it and goes no faster.
    pub(crate) link_bytes_s: Option<f64>,
    /// The rate of the connection before: sending starts at half of it.
    pub(crate) known_bytes_s: Option<f64>,
}

/// Tells both ends' controllers alike: an end that is dialed knows its peer, and so what is
/// configured for it, only once the connection stands.
pub(crate) fn configure(connection: &Connection, prospect: Prospect) {
    with_readings(connection, |readings| {
        let is_cubic = prospect.congestion == Congestion::Cubic;
        readings.is_cubic.store(is_cubic, Ordering::Relaxed);
        for (reading, bytes_s) in [
            (&readings.link_bytes_s, prospect.link_bytes_s),
            (&readings.known_bytes_s, prospect.known_bytes_s),
        ] {
            reading.store(bytes_s.unwrap_or(0.0) as u64, Ordering::Relaxed);
        }
    });
}

/// The estimated rate of a connection in bytes per second, where it is controlled by us and has
/// been measured.
pub(crate) fn rate_bytes_s(connection: &Connection) -> Option<f64> {
    let read = |readings: &Readings| readings.rate_bytes_s.load(Ordering::Relaxed);
    let rate = with_readings(connection, read)?;
    (rate > 0).then_some(rate as f64)
}

fn with_readings<T>(connection: &Connection, look: impl FnOnce(&Readings) -> T) -> Option<T> {
    let controller = connection.congestion_state().into_any();
    let controller = controller.downcast::<Strait>().ok()?;
    Some(look(controller.readings()))
}
