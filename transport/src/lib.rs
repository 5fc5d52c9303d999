//! Links between gateways: identity, QUIC, classes, congestion, sessions.
//!
//! Payloads are opaque here: what turns a batch into bytes for the wire is given
//! by the gateway.
