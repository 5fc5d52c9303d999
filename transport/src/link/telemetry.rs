//! What a link knows about its connections, for status and metrics.

use std::time::{Duration, SystemTime};

use quinn::ConnectionStats;

use super::events::PeerInfo;
use crate::class::Class;
use crate::status::Phase;

/// What came in of a class.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ReceivedTotals {
    pub(super) batches: u64,
    pub(super) bytes: u64,
}

/// UDP traffic.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct UdpTotals {
    pub(super) sent_bytes: u64,
    pub(super) received_bytes: u64,
    pub(super) sent_packets: u64,
    pub(super) received_packets: u64,
}

/// The two connections at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sample {
    pub(super) control: ConnectionStats,
    pub(super) bulk: ConnectionStats,
    pub(super) rate_bytes_s: Option<f64>,
    pub(super) in_flight_bytes: u64,
}

#[derive(Debug)]
pub(super) struct Telemetry {
    pub(super) phase: Phase,
    pub(super) since: SystemTime,
    /// Who was there last.
    pub(super) peer: Option<PeerInfo>,
    pub(super) last_error: Option<String>,
    /// Times that the link came up.
    pub(super) ups: u64,
    pub(super) received: [ReceivedTotals; Class::COUNT],
    /// Of the present connection.
    pub(super) sample: Option<Sample>,
    /// Of all connections before.
    past: UdpTotals,
}

impl Telemetry {
    pub(super) fn new(now: SystemTime) -> Self {
        Self {
            phase: Phase::Connecting,
            since: now,
            peer: None,
            last_error: None,
            ups: 0,
            received: Default::default(),
            sample: None,
            past: UdpTotals::default(),
        }
    }

    pub(super) fn set_phase(&mut self, phase: Phase) {
        if self.phase != phase {
            self.phase = phase;
            self.since = SystemTime::now();
        }
        if phase == Phase::Up {
            self.ups += 1;
        }
    }

    /// The connection is gone, or a dial failed.
    pub(super) fn disconnected(&mut self, phase: Phase, reason: &str) {
        self.past = self.udp();
        self.sample = None;
        self.set_phase(phase);
        self.last_error = Some(reason.to_owned());
    }

    pub(super) fn udp(&self) -> UdpTotals {
        let mut udp = self.past;
        if let Some(sample) = &self.sample {
            for stats in [&sample.control, &sample.bulk] {
                udp.sent_bytes += stats.udp_tx.bytes;
                udp.received_bytes += stats.udp_rx.bytes;
                udp.sent_packets += stats.udp_tx.datagrams;
                udp.received_packets += stats.udp_rx.datagrams;
            }
        }
        udp
    }

    pub(super) fn rtt(&self) -> Option<Duration> {
        self.sample.map(|sample| sample.control.path.rtt)
    }

    pub(super) fn lost_percent(&self) -> f64 {
        let paths = self.sample.map(|s| [s.control.path, s.bulk.path]);
        let paths = paths.unwrap_or_default();
        let lost: u64 = paths.iter().map(|path| path.lost_packets).sum();
        let sent: u64 = paths.iter().map(|path| path.sent_packets).sum();
        100.0 * lost as f64 / sent.max(1) as f64
    }
}
