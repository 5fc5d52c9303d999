//! `strait-bench wire`: what counters and log lines cost on the link. Two real gateways with a
//! relay between them that counts every datagram, both directions, IP and UDP headers included:
//! records, batches, frames, QUIC, acknowledgements and keep-alives.
#![allow(clippy::print_stdout, reason = "the figures go to standard output")]

mod counters;
mod logs;
pub(crate) mod pair;
mod resync;

use clap::Subcommand;
use serde::Serialize;

/// What is measured.
#[derive(Subcommand)]
pub(crate) enum Wire {
    /// Increments of counters that both sites know, and first mentions of new ones
    Counters(counters::Arguments),
    /// What a peer that was away is sent: all counters, and one in a hundred that changed
    Resync(resync::Arguments),
    /// Lines of an access log: live, and after a cut
    Logs(logs::Arguments),
}

pub(crate) fn run(wire: &Wire) -> anyhow::Result<()> {
    match wire {
        Wire::Counters(arguments) => counters::run(arguments),
        Wire::Resync(arguments) => resync::run(arguments),
        Wire::Logs(arguments) => logs::run(arguments),
    }
}

/// One line of output.
#[derive(Serialize)]
struct Line {
    test: String,
    events: u64,
    wire_bytes: u64,
    datagrams: u64,
    bytes_per_event: f64,
    /// At most so many are aimed at.
    aim: f64,
}

impl Line {
    fn print(test: &str, events: u64, crossed: pair::Crossed, aim: f64) -> anyhow::Result<()> {
        let per_event = crossed.bytes as f64 / events.max(1) as f64;
        let line = Self {
            test: test.to_owned(),
            events,
            wire_bytes: crossed.bytes,
            datagrams: crossed.datagrams,
            bytes_per_event: (per_event * 1000.0).round() / 1000.0,
            aim,
        };
        println!("{}", serde_json::to_string(&line)?);
        Ok(())
    }
}
