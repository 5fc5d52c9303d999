//! What a `[[forward]]` section says.

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use strait_transport::SiteName;

/// One listener and where its connections go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForwardSettings {
    /// Where clients connect.
    pub listen: SocketAddr,
    /// The site that their connections go to.
    pub peer: SiteName,
    /// The address that the peer's gateway connects to.
    pub target: Target,
    /// How urgent their bytes are.
    pub class: FlowClass,
    /// What becomes of a new connection when the link has been away for `patience`.
    pub bypass: Bypass,
    /// How long the link may be away until then, and until open flows are reset.
    pub patience: Duration,
    /// The target is told the client's address in front of its bytes.
    pub proxy_protocol: bool,
}

/// Where the connections of a forward end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// `host:port`, resolved at the peer.
    Fixed(String),
    /// The address that the client meant: the kernel's TPROXY brings it here.
    Original,
}

/// How urgent the bytes of a flow are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum FlowClass {
    /// Interactive, and bulk while the flow sends without a pause.
    #[default]
    Auto,
    /// Always interactive.
    Interactive,
    /// Always bulk.
    Bulk,
}

/// What becomes of a new connection when the peer is away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Bypass {
    /// It goes straight to the target, as an appliance fails to wire.
    Direct,
    /// It is reset.
    #[default]
    Refuse,
}
