//! One link to one peer.

mod events;
mod handle;

pub use events::{LinkEvent, LinkEvents, PeerInfo, Received};
pub use handle::{LinkHandle, OutStream};

pub(crate) use events::channel;
