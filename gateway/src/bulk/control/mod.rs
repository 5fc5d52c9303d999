//! The local control socket: how `strait push`, `pull` and `ls` reach the gateway.
//!
//! A Unix socket in the data directory, open to its owner only. One request a
//! connection. Messages are JSON, so that a client and a gateway of different
//! releases understand or clearly refuse each other; file bytes go beside them in
//! frames of their own.

pub mod client;
mod frame;
mod protocol;
mod pull;
mod push;
mod server;

pub use protocol::Progress;
