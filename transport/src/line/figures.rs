use std::ops::AddAssign;
use std::time::Duration;

/// Bytes and packets of connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Traffic {
    pub(crate) udp_sent_bytes: u64,
    pub(crate) udp_received_bytes: u64,
    pub(crate) udp_sent_packets: u64,
    pub(crate) udp_received_packets: u64,
    pub(crate) tcp_sent_bytes: u64,
    pub(crate) tcp_received_bytes: u64,
}

impl AddAssign for Traffic {
    fn add_assign(&mut self, other: Self) {
        self.udp_sent_bytes += other.udp_sent_bytes;
        self.udp_received_bytes += other.udp_received_bytes;
        self.udp_sent_packets += other.udp_sent_packets;
        self.udp_received_packets += other.udp_received_packets;
        self.tcp_sent_bytes += other.tcp_sent_bytes;
        self.tcp_received_bytes += other.tcp_received_bytes;
    }
}

/// A connection at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Figures {
    /// Smoothed round trip, once known.
    pub(crate) rtt: Option<Duration>,
    /// Congestion window; 0 where the kernel keeps it to itself.
    pub(crate) window_bytes: u64,
    /// Estimated rate, where known.
    pub(crate) rate_bytes_s: Option<f64>,
    pub(crate) sent_packets: u64,
    pub(crate) lost_packets: u64,
    pub(crate) lost_bytes: u64,
    pub(crate) traffic: Traffic,
    /// Grows while the peer answers what we say, which we do every half second at least.
    pub(crate) answers: u64,
}
