//! What an operator sees of a running gateway.
//!
//! The gateway fills a [`Status`] whenever it is asked; everything else here only shows
//! it: as JSON, as Prometheus metrics, as readiness, as a table in a terminal. Nothing
//! here decides anything.

mod http;
mod link;
pub(crate) mod log_queue;
mod memory;
mod metrics;
pub(crate) mod process;
mod readable;
#[cfg(test)]
pub(crate) mod sample;
mod status;
mod table;

pub use http::{BindError, Server, StatusSource};
pub use link::{ByteLedger, ClassReport, CompareReport, LinkPhase, LinkReport, StreamReport};
pub use memory::{MemoryPart, MemoryReport};
pub use readable::{bytes, seconds};
pub use status::{GatewayReport, HistoryReport, RefusalReport, SnapshotReport, Status};
pub use table::render;
