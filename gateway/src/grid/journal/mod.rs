//! The journal: files of records, each framed and checked. Drawn in `docs/STORE.md`.

mod file;
pub(super) mod frame;
mod read;

pub(super) use file::{Generation, Journal, entries};
pub(super) use read::{Found, JournalReader};
