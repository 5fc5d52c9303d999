//! Two nodes in one process, on loopback: what a user of links sees.
#![allow(
    clippy::unwrap_used,
    reason = "a test's helper functions fail by panicking, too"
)]

mod codec;
mod copies;
mod crowd;
mod delivery;
mod paths;
mod proxy;
mod refusal;
mod restart;
mod site;
