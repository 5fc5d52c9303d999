//! The journal: files of records, each framed and checked. Drawn in `docs/STORE.md`.

mod file;
mod frame;
mod read;

pub(super) use file::{Generation, Journal};
pub(super) use read::{Found, JournalReader};
