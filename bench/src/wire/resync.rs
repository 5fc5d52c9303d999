//! A peer that was away: what all counters cost, and what a part of them that changed costs.

use clap::Args;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::Line;
use super::pair::Pair;

#[derive(Args)]
pub(crate) struct Arguments {
    /// Counters
    #[arg(long, default_value_t = 10_000_000)]
    keys: u64,
    /// One in so many of them changes while the peer is away
    #[arg(long, default_value_t = 100)]
    one_in: u64,
    /// Time between two flushes, in ms
    #[arg(long, default_value_t = 50)]
    every: u64,
}

/// Share of the whole that the changed part may cost: 5 % where 1 % changed.
const AIM_PER_CHANGED: f64 = 5.0;

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let mut pair = Pair::start(arguments.every)?;
    let mut random = StdRng::seed_from_u64(1);
    let name = |key: u64| format!("banner:{key:08}:impressions");
    let all = pair.measure(|pair| {
        pair.cut(true);
        pair.load(arguments.keys, 0, |client, key| {
            let by = random.random_range(1..1_000_000_u32).to_string();
            client.queue(&[b"INCRBY", name(key).as_bytes(), by.as_bytes()]);
        })?;
        pair.cut(false);
        Ok(())
    })?;
    let changed = arguments.keys / arguments.one_in;
    let part = pair.measure(|pair| {
        pair.cut(true);
        pair.load(changed, 0, |client, number| {
            let key = number * arguments.one_in + random.random_range(0..arguments.one_in);
            client.queue(&[b"INCR", name(key).as_bytes()]);
        })?;
        pair.cut(false);
        Ok(())
    })?;
    let whole = all.bytes as f64 / arguments.keys as f64;
    Line::print("resync_all", arguments.keys, all, whole)?;
    // An event here is a counter that changed.
    Line::print("resync_changed", changed, part, AIM_PER_CHANGED * whole)?;
    pair.finish()
}
