//! The header in front of each encoded batch. Drawn in `docs/WIRE.md`, section "Frames".

/// An encoded batch is at most this much longer than its raw bytes.
pub const ENCODED_SLACK_BYTES: usize = 4 << 10;

/// Bytes that a batch takes on its QUIC stream: frame header and payload. `open_len` is the
/// length of the descriptor, which goes with a stream's first batch only.
pub const fn wire_len(payload_len: usize, open_len: Option<usize>) -> usize {
    let open = match open_len {
        Some(len) => 2 + len,
        None => 0,
    };
    24 + open + payload_len
}
