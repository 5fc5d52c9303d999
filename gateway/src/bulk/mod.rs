//! Files: kept under `bulk.dir`, moved by `strait push` and `strait pull`.
//!
//! A file crosses the link as one stream of batches: a header, its bytes, a
//! trailer with length and digest. The receiver grants credit as it uses batches
//! up, and gives its verdict once the file is durable in its place, so a slow disk
//! or a stopped reader holds up its own transfer and nothing else. Batches are
//! acknowledged when they are in memory: that a file is safe is only ever said by
//! the verdict.
//!
//! Commands reach the gateway over a Unix socket in its data directory
//! ([`control`]). This room never decides how bytes cross; it opens streams.

mod answer;
mod bounds;
pub mod control;
pub mod describe;
mod disk;
mod failure;
mod figures;
mod incoming;
mod limit;
pub mod location;
mod mailbox;
mod message;
mod outgoing;
pub mod path;
pub mod read;
mod receive;
mod room;
mod serve;
mod session;
pub mod store;
pub mod sync;

pub use failure::{Failure, printable};
pub use figures::{BulkFigures, SyncFigures, SyncReport};
pub use limit::Limit;
pub use message::Cost;
pub use room::Bulk;
pub use store::{BulkConfig, FileRule};

#[cfg(test)]
mod tests;
