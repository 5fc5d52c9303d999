//! The gateway: what batches mean.
//!
//! Counters, logs and files come in here from clients, become batches of
//! streams, and batches that arrive from a peer become counters, logs and files
//! again. How few bytes a batch needs is [`strait_dedup`]'s business, how it gets
//! across is [`strait_transport`]'s; neither knows what it carries.

#![cfg_attr(not(test), warn(clippy::print_stderr))]

pub mod bulk;
pub mod cli;
pub mod codec;
pub mod config;
pub mod datadir;
pub mod demo;
pub mod forward;
pub mod grid;
pub mod heap;
pub mod heartbeat;
pub mod observe;
pub mod privacy;
pub mod replicate;
pub mod resp;
pub mod run;
pub mod streams;
