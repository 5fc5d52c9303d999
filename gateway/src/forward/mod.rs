//! Forwards: TCP connections carried over a link, to an address behind the peer.
//!
//! A *flow* is one such connection. Each direction is a run of bytes counted from 0;
//! strait streams carry it, one after the other: a new one is opened when the flow
//! becomes urgent or bulky, and says at which byte it goes on. The receiver grants
//! credit as its TCP peer takes the bytes, so a slow reader holds up its own flow and
//! nothing else, and memory is bounded. A flow lives as long as the link's session: a
//! break that the session survives is silence, a lost session is a reset.
//!
//! What decides is synchronous ([`pace`], [`inlet`], [`window`], [`allow`]); what moves
//! bytes is around it.

mod admission;
mod allow;
mod carrier;
mod figures;
mod flow;
mod inlet;
mod listener;
mod message;
mod own;
mod pace;
mod peer;
mod proxy_protocol;
mod pump;
mod room;
mod serve;
mod settings;
mod socket;
mod window;

pub use allow::{AllowRule, AllowRuleError};
pub use figures::{FlowReport, ForwardReport, ForwardsReport};
pub use message::{FlowRequest, Refusal};
pub use room::{BindError, Forwards};
pub(crate) use room::{Listeners, Ports};
pub use settings::{Bypass, FlowClass, ForwardSettings, Target};
