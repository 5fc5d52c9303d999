//! What a link says about itself.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use crate::class::Class;
use crate::session::Gauge;

/// Whether a link is usable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// No connection; dialing, or waiting for the peer to dial.
    Connecting,
    /// Batches flow.
    Up,
    /// Stopped on request.
    Paused,
    /// The node was closed.
    Closed,
}

impl Phase {
    /// Lower-case name, as metrics show it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Up => "up",
            Self::Paused => "paused",
            Self::Closed => "closed",
        }
    }
}

/// What carries a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// QUIC over UDP.
    Quic,
    /// TLS over TCP, where UDP does not get through.
    Tcp,
}

impl Transport {
    /// Lower-case name, as metrics show it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Quic => "quic",
            Self::Tcp => "tcp",
        }
    }
}

/// Bytes of a stream or a link at each step on their way out. What was sent again after
/// a broken connection counts again in all but `logical_bytes`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Raw bytes that were handed in.
    pub logical_bytes: u64,
    /// Raw bytes left after references.
    pub after_references_bytes: u64,
    /// Bytes of encoded batches.
    pub compressed_bytes: u64,
    /// Encoded batches with their frame headers, before QUIC.
    pub wire_bytes: u64,
    /// Batches that wait for their turn.
    pub queued_batches: u64,
    /// Their raw bytes.
    pub queued_bytes: u64,
    /// Batches sent and not yet acknowledged.
    pub unacked_batches: u64,
    /// Their raw bytes.
    pub unacked_bytes: u64,
}

impl Ledger {
    pub(crate) fn count(&mut self, literal_bytes: u64, compressed: usize, wire: usize) {
        self.after_references_bytes += literal_bytes;
        self.compressed_bytes += compressed as u64;
        self.wire_bytes += wire as u64;
    }

    pub(crate) fn with_gauge(mut self, gauge: Gauge) -> Self {
        self.queued_batches = gauge.queued_batches;
        self.queued_bytes = gauge.queued_bytes;
        self.unacked_batches = gauge.unacked_batches;
        self.unacked_bytes = gauge.unacked_bytes;
        self
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.logical_bytes += other.logical_bytes;
        self.after_references_bytes += other.after_references_bytes;
        self.compressed_bytes += other.compressed_bytes;
        self.wire_bytes += other.wire_bytes;
        self.queued_batches += other.queued_batches;
        self.queued_bytes += other.queued_bytes;
        self.unacked_batches += other.unacked_batches;
        self.unacked_bytes += other.unacked_bytes;
    }
}

/// One class of a link.
#[derive(Clone, Copy, Debug)]
pub struct ClassStatus {
    /// Which.
    pub class: Class,
    /// What went out in this class.
    pub ledger: Ledger,
    /// [`EncodedBatch::level`](crate::EncodedBatch::level) of the last batch.
    pub level: i32,
    /// Batches that came in, in order.
    pub received_batches: u64,
    /// Their raw bytes.
    pub received_bytes: u64,
}

/// A link at one moment.
#[derive(Clone, Debug)]
pub struct LinkStatus {
    /// Whether it is usable.
    pub phase: Phase,
    /// Since when.
    pub since: SystemTime,
    /// Where the peer is, while up.
    pub peer_address: Option<SocketAddr>,
    /// What carries the link, while up.
    pub transport: Option<Transport>,
    /// The peer's incarnation, once it was heard of.
    pub peer_incarnation: Option<u64>,
    /// Smoothed round trip of the control connection, while up.
    pub rtt: Option<Duration>,
    /// Packets lost of those sent, both connections, since the link came up; 0 to 100.
    pub lost_percent: f64,
    /// Congestion window of the bulk connection; 0 over TCP.
    pub window_bytes: u64,
    /// Encoded bytes handed to QUIC and not yet acknowledged by it; 0 over TCP.
    pub in_flight_bytes: u64,
    /// Memory of batches: those that wait or are not acknowledged, either way, as they are and as they
    /// go over the wire; and of the sockets from which we dialed.
    pub memory_bytes: u64,
    /// Estimated rate of the bulk connection, where the controller knows one.
    pub rate_bytes_s: Option<f64>,
    /// UDP payload bytes sent, since the node started.
    pub udp_sent_bytes: u64,
    /// UDP payload bytes received.
    pub udp_received_bytes: u64,
    /// UDP datagrams sent.
    pub udp_sent_packets: u64,
    /// UDP datagrams received.
    pub udp_received_packets: u64,
    /// TCP payload bytes sent, TLS records included, since the node started.
    pub tcp_sent_bytes: u64,
    /// TCP payload bytes received.
    pub tcp_received_bytes: u64,
    /// Times that the link came up after the first.
    pub reconnects: u64,
    /// Times that a newer pair of connections took over while the link was up.
    pub handovers: u64,
    /// Times that the peer acknowledged nothing for too long, with batches under way: see
    /// [`PeerConfig::stalls_after`](crate::PeerConfig::stalls_after).
    pub stalls: u64,
    /// Times that a gateway of the peer's site was turned away because another one is linked.
    pub copies: u64,
    /// The peer refuses this gateway as a copy, for as long as it runs: its words.
    pub refused_as_copy: Option<String>,
    /// Why the last connection or dial failed.
    pub last_error: Option<String>,
    /// All classes together.
    pub ledger: Ledger,
    /// Each class, most urgent first.
    pub classes: [ClassStatus; Class::COUNT],
}
