//! Links between gateways: identity, QUIC, TCP where UDP does not get through, classes,
//! congestion, sessions.
//!
//! This crate carries ordered streams of batches from one gateway to another, over
//! any number of broken connections, once each. It never looks into a batch: what
//! turns one into bytes for the wire is given by its user as [`Encode`] and
//! [`Decode`]. It keeps nothing on disk: when either end restarts, a fresh session
//! begins and the user says again what the peer lacks.

mod accept;
mod class;
mod codec;
mod config;
mod congestion;
mod error;
mod handshakes;
mod identity;
mod ids;
mod line;
mod link;
mod log_pace;
mod network;
mod node;
mod peer_networks;
mod port;
mod quic;
mod refusals;
mod session;
mod shaping;
mod status;
mod tcp;
mod tls;
mod wire;

pub use class::Class;
pub use codec::{BatchRef, Decode, Decoding, Encode, EncodedBatch, PassThrough};
pub use config::{Congestion, NodeConfig, PeerConfig};
pub use error::{BindError, SendError};
pub use identity::{Identity, IdentityError, ParseKeyError, PublicKey};
pub use ids::{ParseSiteError, Seq, SiteName, StreamId, WireVersion};
pub use link::{LinkEvent, LinkEvents, LinkHandle, OutStream, PeerInfo, Received};
pub use log_pace::LogPace;
pub use network::Network;
pub use node::Node;
pub use port::Port;
pub use quic::SOCKET_BYTES;
pub use refusals::{Refusal, Refusals};
pub use status::{ClassStatus, Ledger, LinkStatus, Phase, Transport};
pub use wire::frame;

/// Most raw bytes in one batch.
pub const BATCH_BYTES_MAX: usize = 1 << 20;
/// Most memory that one link takes: batches as they are and as they go over the wire, either way, and the
/// sockets of both connections.
pub const LINK_MEMORY_BYTES_MAX: u64 =
    session::RAW_BYTES_MAX + link::IN_HANDS_BYTES_MAX + quic::RECEIVE_BYTES_MAX + 2 * SOCKET_BYTES;
/// Most batches that a peer may have sent over a link and that are not acknowledged.
pub const UNACKED_BATCHES_MAX: usize = Class::COUNT * session::UNACKED_SPAN_MAX as usize;
/// Most bytes in the descriptor that opens a stream.
pub const OPEN_BYTES_MAX: usize = 4 << 10;
