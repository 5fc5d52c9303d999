//! How much one peer may have on its way. Both ends know these: what exceeds them is a
//! violation, not a surprise.

use crate::class::Class;

/// Raw bytes sent and not acknowledged, in one class. Large for bulk because a batch that
/// the peer mostly holds already takes few bytes on the wire: 64 MiB in a round trip of
/// 100 ms is 5 Gbit/s of raw data.
pub(crate) const fn unacked_bytes_max(class: Class) -> u64 {
    match class {
        Class::Control => 8 << 20,
        Class::Interactive => 16 << 20,
        Class::Bulk => 64 << 20,
    }
}

/// Raw bytes queued and not sent, in one class.
pub(crate) const fn queued_bytes_max(class: Class) -> u64 {
    match class {
        Class::Control | Class::Interactive => 4 << 20,
        Class::Bulk => 16 << 20,
    }
}

/// Raw bytes of all classes: queued or sent and not acknowledged; and those of the peer.
pub(crate) const RAW_BYTES_MAX: u64 = {
    let (mut bytes, mut class) = (0, 0);
    while class < Class::COUNT {
        let (queued, unacked) = (
            queued_bytes_max(Class::ALL[class]),
            unacked_bytes_max(Class::ALL[class]),
        );
        bytes += queued + 2 * unacked;
        class += 1;
    }
    bytes
};

/// From the oldest batch that is not acknowledged to the newest that may be sent, in one
/// class. Bounds the Hello, too.
pub(crate) const UNACKED_SPAN_MAX: u64 = 2048;

/// Batches queued and not sent, in one class.
pub(crate) const QUEUED_BATCHES_MAX: u64 = 4096;

/// Streams open at a time, each way.
pub(crate) const STREAMS_MAX: usize = 4096;
