//! What a link knows about its connections, for status and metrics.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::SystemTime;

use super::events::PeerInfo;
use crate::class::Class;
use crate::line::{Figures, Traffic};
use crate::status::{Phase, Transport};

/// What came in of a class.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ReceivedTotals {
    pub(super) batches: u64,
    pub(super) bytes: u64,
}

/// A pair of connections at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) address: SocketAddr,
    pub(super) transport: Transport,
    pub(super) control: Figures,
    pub(super) bulk: Figures,
    pub(super) in_flight_bytes: u64,
    /// Memory of the sockets that are the connections' own.
    pub(super) socket_bytes: u64,
}

impl Sample {
    /// Whether bulk could have more under way than it has.
    pub(super) fn has_room(&self) -> bool {
        self.in_flight_bytes < self.bulk.window_bytes
    }

    /// Bytes that were sent over QUIC, less those that were lost.
    pub(super) fn delivered_bytes(&self) -> u64 {
        let delivered = |f: Figures| f.traffic.udp_sent_bytes.saturating_sub(f.lost_bytes);
        delivered(self.control) + delivered(self.bulk)
    }

    fn add_to(&self, traffic: &mut Traffic) {
        *traffic += self.control.traffic;
        *traffic += self.bulk.traffic;
    }
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
    /// Times that a newer pair of connections took over while the link was up.
    pub(super) handovers: u64,
    /// Times that the peer acknowledged nothing for long.
    pub(super) stalls: u64,
    /// Times that a gateway of the peer's site was turned away because another one is linked.
    pub(super) copies: u64,
    /// The peer has refused us as a copy: its words.
    pub(super) refused_as_copy: Option<String>,
    /// The rate of bulk as last measured, over whatever pair.
    pub(super) known_bytes_s: Option<f64>,
    next_pair: u64,
    /// Of each pair that stands; the newest is the present one.
    samples: BTreeMap<u64, Option<Sample>>,
    /// Of all pairs before.
    past: Traffic,
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
            handovers: 0,
            stalls: 0,
            copies: 0,
            refused_as_copy: None,
            known_bytes_s: None,
            next_pair: 0,
            samples: BTreeMap::new(),
            past: Traffic::default(),
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
        self.set_phase(phase);
        self.last_error = Some(reason.to_owned());
    }

    /// A pair of connections begins: its name.
    pub(super) fn begin_pair(&mut self) -> u64 {
        self.next_pair += 1;
        self.samples.insert(self.next_pair, None);
        self.next_pair
    }

    pub(super) fn set_sample(&mut self, pair: u64, sample: Sample) {
        self.known_bytes_s = sample.bulk.rate_bytes_s.or(self.known_bytes_s);
        if let Some(last) = self.samples.get_mut(&pair) {
            *last = Some(sample);
        }
    }

    pub(super) fn end_pair(&mut self, pair: u64) {
        if let Some(sample) = self.samples.remove(&pair).flatten() {
            sample.add_to(&mut self.past);
        }
    }

    /// The present pair of connections.
    pub(super) fn sample(&self) -> Option<&Sample> {
        self.samples.values().rev().find_map(Option::as_ref)
    }

    pub(super) fn traffic(&self) -> Traffic {
        let mut traffic = self.past;
        for sample in self.samples.values().flatten() {
            sample.add_to(&mut traffic);
        }
        traffic
    }

    pub(super) fn lost_percent(&self) -> f64 {
        let connections = self.sample().map(|s| [s.control, s.bulk]);
        let connections = connections.unwrap_or_default();
        let lost: u64 = connections.iter().map(|c| c.lost_packets).sum();
        let sent: u64 = connections.iter().map(|c| c.sent_packets).sum();
        100.0 * lost as f64 / sent.max(1) as f64
    }
}
