//! The Redis protocol (RESP2 and RESP3) in front of the grid.
//!
//! A connection's task parses every complete command in its buffer, carries them out under one
//! hold of the grid's lock, and writes all replies at once. Commands that wait (`WAIT`, blocking
//! `XREAD`) or look at everything (`INFO`) do so after the lock is released.

mod access;
mod address;
mod attempts;
pub mod blocking;
mod busy;
mod client;
mod commands;
mod connection;
mod door;
mod durability;
mod endpoint;
pub(crate) mod glob;
mod handshakes;
mod held;
mod info;
mod number;
mod own;
mod parse;
mod pause;
mod reply;
mod server;
mod slowlog;
mod stream;
mod threads;
mod tls;
mod unix_socket;
mod users;
mod waiting;

pub use access::{Access, Admission};
pub use client::{ClientFigures, Clients};
pub use connection::{CLIENT_BYTES, CLIENT_BYTES_MAX};
pub use durability::{Durability, DurabilityRules};
pub use endpoint::{BindError, Endpoint, Port};
pub use held::ReplyLimits;
pub use info::{InfoSource, NoInfo};
pub use own::OwnDoor;
pub use server::{RespConfig, Server};
pub use tls::{TlsConfig, TlsError, tls_bytes_max};
pub use users::{DEFAULT_USER, PasswordHash, RuleError, User, Users};

#[cfg(test)]
mod tests;
