//! Every metric: its name, what it says, and where its value is in the status document.
//! docs/OPERATING.md lists the same names; a test keeps the two together.

mod gateway;
mod link;
mod process;
mod traffic;

pub(super) use gateway::{GRID, MEMORY, REFUSAL, ROOMS};
pub(super) use link::{CLASS, LINK, PHASE, STREAM, TRANSPORT};
pub(super) use process::PROCESS;
pub(super) use traffic::{FORWARD, SYNC};

use super::Value;

fn some(value: impl Into<Value>) -> Option<Value> {
    Some(value.into())
}
