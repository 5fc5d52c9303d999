//! The local control socket: how commands reach the gateway of their data directory.
//!
//! A Unix socket in the data directory, open to its owner only. Ports are not used for this: another
//! directory's gateway may listen there. One request a connection. Messages are JSON, so that a client and a gateway of different
//! releases understand or clearly refuse each other; file bytes go beside them in
//! frames of their own.

mod address;
pub mod client;
mod frame;
mod line;
mod local;
mod protocol;
mod pull;
mod push;
mod question;
mod server;
mod socket;

pub use local::Local;
pub use protocol::{Ask, Progress};
