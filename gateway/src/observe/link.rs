//! A link to a peer, as the status document shows it.

use std::fmt;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use strait_transport::{ClassStatus, Ledger, LinkStatus, Phase, PublicKey, SiteName};

use crate::datadir::Incarnation;
use crate::replicate::compare::Comparison;

/// A link that is connecting for longer than this is called down.
const CONNECTING_MAX: Duration = Duration::from_secs(10);

/// Whether a link carries anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LinkPhase {
    /// Connected; what changes here goes to the peer at once.
    Replicating,
    /// Not connected for up to ten seconds.
    Connecting,
    /// Not connected for longer. Dialing goes on.
    Down,
    /// Stopped on request.
    Paused,
}

impl LinkPhase {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Replicating,
        Self::Connecting,
        Self::Down,
        Self::Paused,
    ];

    /// Lower-case name: a label in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Replicating => "replicating",
            Self::Connecting => "connecting",
            Self::Down => "down",
            Self::Paused => "paused",
        }
    }
}

impl fmt::Display for LinkPhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.name().to_uppercase())
    }
}

/// A link at one moment. Totals count since the gateway was started.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LinkReport {
    /// The peer's site.
    pub peer: String,
    /// Its pinned key.
    pub key: String,
    /// Whether the link carries anything.
    pub phase: LinkPhase,
    /// Seconds since the link last went up or down.
    pub since_s: f64,
    /// Where the peer is, while connected.
    pub peer_address: Option<String>,
    /// What carries it, while connected: `quic`, or `tcp` where UDP does not get through.
    pub transport: Option<String>,
    /// The peer's incarnation, once it was heard of.
    pub peer_incarnation: Option<Incarnation>,
    /// Smoothed round trip, while connected.
    pub rtt_ms: Option<f64>,
    /// Packets lost of those sent since the link came up: 0 to 100.
    pub lost_percent: f64,
    /// Congestion window of the bulk connection.
    pub window_bytes: u64,
    /// Encoded bytes sent and not yet acknowledged.
    pub in_flight_bytes: u64,
    /// Estimated rate of the link, where known.
    pub rate_bytes_s: Option<f64>,
    /// UDP payload sent.
    pub udp_sent_bytes: u64,
    /// UDP payload received.
    pub udp_received_bytes: u64,
    /// UDP datagrams sent.
    pub udp_sent_packets: u64,
    /// UDP datagrams received.
    pub udp_received_packets: u64,
    /// TCP payload sent, with TLS records.
    pub tcp_sent_bytes: u64,
    /// TCP payload received.
    pub tcp_received_bytes: u64,
    /// Times that the link came up after the first.
    pub reconnects: u64,
    /// Times that a newer connection took over while the link was up.
    pub handovers: u64,
    /// Times that the peer acknowledged nothing for `peer.stall_s`, with batches under way.
    #[serde(default)]
    pub stalls: u64,
    /// Times that a second gateway with the peer's key was turned away.
    #[serde(default)]
    pub copies: u64,
    /// The peer refuses this gateway as a copy: its words.
    #[serde(default)]
    pub refused_as_copy: Option<String>,
    /// Why the last connection or dial failed.
    pub last_error: Option<String>,
    /// What went out, all classes together.
    pub ledger: ByteLedger,
    /// Each class, most urgent first.
    pub classes: Vec<ClassReport>,
    /// How far the peer is behind, each kind of stream for itself.
    pub streams: Vec<StreamReport>,
    /// Everything that the peer held when the session began is here.
    #[serde(default)]
    pub heard_all: bool,
    /// Comparisons of what both sites hold.
    #[serde(default)]
    pub compared: CompareReport,
}

/// Comparisons of what both sites of a link hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompareReport {
    /// Comparisons that this site asked for and that came to an end.
    pub rounds: u64,
    /// Those that did not.
    pub failed: u64,
    /// What the last one found.
    pub last: Option<Comparison>,
}

/// Bytes at each step on their way out, and what waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ByteLedger {
    /// Raw bytes handed to the link.
    pub logical_bytes: u64,
    /// Raw bytes left after references.
    pub after_references_bytes: u64,
    /// Bytes of encoded batches.
    pub compressed_bytes: u64,
    /// Encoded batches with their frame headers.
    pub wire_bytes: u64,
    /// Batches that wait to be sent.
    pub queued_batches: u64,
    /// Their raw bytes.
    pub queued_bytes: u64,
    /// Batches sent and not yet acknowledged by the peer.
    pub unacked_batches: u64,
    /// Their raw bytes.
    pub unacked_bytes: u64,
}

/// One class of a link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassReport {
    /// `control`, `interactive` or `bulk`.
    pub class: String,
    /// What went out in it.
    pub ledger: ByteLedger,
    /// zstd level of its last batch; 0 where that went as it is.
    #[serde(default)]
    pub level: u32,
    /// Batches that came in.
    pub received_batches: u64,
    /// Their raw bytes.
    pub received_bytes: u64,
}

/// How far a peer is behind in what we send it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StreamReport {
    /// The stream's name: `counters` or `logs`.
    pub stream: String,
    /// Age of the oldest change that the peer has not confirmed as durable; 0 if there
    /// is none.
    pub lag_s: f64,
    /// Records that the peer has not confirmed.
    pub lag_records: u64,
    /// Their bytes.
    pub lag_bytes: u64,
    /// The peer is being sent what it missed while it was away.
    pub catching_up: bool,
    /// Records sent.
    pub sent_records: u64,
    /// Records of the peer that were merged here.
    pub applied_records: u64,
    /// Records of the peer that were not taken. Must stay 0.
    pub refused_records: u64,
    /// Why something of what the peer sends is not taken, nor confirmed to it.
    #[serde(default)]
    pub refusing: Option<String>,
    /// Why the peer does not take, nor confirm, something of what it is sent.
    #[serde(default)]
    pub refused_by_peer: Option<String>,
    /// Times that entries were missing and were asked for again.
    pub gaps: u64,
    /// Times that catching up began.
    pub catch_ups: u64,
}

impl LinkReport {
    /// What the transport says of a link, without streams.
    pub fn new(site: &SiteName, key: PublicKey, status: &LinkStatus, now: SystemTime) -> Self {
        // A clock that was set back says "just now".
        let since = now.duration_since(status.since).unwrap_or_default();
        Self {
            peer: site.to_string(),
            key: key.to_string(),
            phase: phase(status.phase, since),
            since_s: since.as_secs_f64(),
            peer_address: status.peer_address.map(|address| address.to_string()),
            transport: status.transport.map(|t| t.name().to_owned()),
            peer_incarnation: status.peer_incarnation.map(Incarnation),
            rtt_ms: status.rtt.map(|rtt| rtt.as_secs_f64() * 1000.0),
            lost_percent: status.lost_percent,
            window_bytes: status.window_bytes,
            in_flight_bytes: status.in_flight_bytes,
            rate_bytes_s: status.rate_bytes_s,
            udp_sent_bytes: status.udp_sent_bytes,
            udp_received_bytes: status.udp_received_bytes,
            udp_sent_packets: status.udp_sent_packets,
            udp_received_packets: status.udp_received_packets,
            tcp_sent_bytes: status.tcp_sent_bytes,
            tcp_received_bytes: status.tcp_received_bytes,
            reconnects: status.reconnects,
            handovers: status.handovers,
            stalls: status.stalls,
            copies: status.copies,
            refused_as_copy: status.refused_as_copy.clone(),
            last_error: status.last_error.clone(),
            ledger: ByteLedger::from(status.ledger),
            classes: status.classes.iter().map(ClassReport::from).collect(),
            streams: Vec::new(),
            heard_all: false,
            compared: CompareReport::default(),
        }
    }

    /// Whether one of the two sites is being sent what it lacked when the session began.
    pub fn is_catching_up(&self) -> bool {
        !self.heard_all || self.streams.iter().any(|stream| stream.catching_up)
    }
}

fn phase(phase: Phase, since: Duration) -> LinkPhase {
    match phase {
        Phase::Up => LinkPhase::Replicating,
        Phase::Connecting if since <= CONNECTING_MAX => LinkPhase::Connecting,
        Phase::Connecting | Phase::Closed => LinkPhase::Down,
        Phase::Paused => LinkPhase::Paused,
    }
}

impl ByteLedger {
    /// Logical bytes for each byte on the wire; `None` before anything was sent.
    pub fn ratio(&self) -> Option<f64> {
        let sent = self.logical_bytes.saturating_sub(self.queued_bytes);
        (self.wire_bytes > 0).then(|| sent as f64 / self.wire_bytes as f64)
    }
}

impl From<Ledger> for ByteLedger {
    fn from(ledger: Ledger) -> Self {
        let Ledger {
            logical_bytes,
            after_references_bytes,
            compressed_bytes,
            wire_bytes,
            queued_batches,
            queued_bytes,
            unacked_batches,
            unacked_bytes,
        } = ledger;
        Self {
            logical_bytes,
            after_references_bytes,
            compressed_bytes,
            wire_bytes,
            queued_batches,
            queued_bytes,
            unacked_batches,
            unacked_bytes,
        }
    }
}

impl From<&ClassStatus> for ClassReport {
    fn from(status: &ClassStatus) -> Self {
        Self {
            class: status.class.name().to_owned(),
            ledger: ByteLedger::from(status.ledger),
            level: status.level.unsigned_abs(),
            received_batches: status.received_batches,
            received_bytes: status.received_bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_that_stays_unconnected_is_down() {
        let at = |s| phase(Phase::Connecting, Duration::from_secs(s));
        assert_eq!(at(3), LinkPhase::Connecting);
        assert_eq!(at(11), LinkPhase::Down);
    }

    #[test]
    fn the_ratio_leaves_out_what_still_waits() {
        let ledger = ByteLedger {
            logical_bytes: 1000,
            queued_bytes: 200,
            wire_bytes: 100,
            ..ByteLedger::default()
        };
        assert_eq!(ledger.ratio(), Some(8.0));
        assert_eq!(ByteLedger::default().ratio(), None);
    }
}
