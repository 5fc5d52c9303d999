//! Increments: most go to few counters, and which those are does not show in their names.

use clap::Args;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};

use super::Line;
use super::pair::Pair;

#[derive(Args)]
pub(crate) struct Arguments {
    /// Increments of each run
    #[arg(long, default_value_t = 500_000)]
    events: u64,
    /// Increments a second
    #[arg(long, default_value_t = 50_000)]
    rate: u64,
    /// Counters that both sites know
    #[arg(long, default_value_t = 1_000_000)]
    keys: u64,
    /// Skew: the rank of a counter is a random number below 1 to this power
    #[arg(long, default_value_t = 3)]
    skew: i32,
    /// Shipment intervals, in ms
    #[arg(long, value_delimiter = ',', default_values_t = [1000, 50])]
    every: Vec<u64>,
}

/// Bytes an event that are aimed at when shipped each second, and more often.
const AIM_1S: f64 = 1.6;
const AIM_LIVE: f64 = 2.8;
/// What a counter's first mention may cost beyond that.
const AIM_MENTION: f64 = 5.0;

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    for every in &arguments.every {
        measure(arguments, *every)?;
    }
    Ok(())
}

fn measure(arguments: &Arguments, every: u64) -> anyhow::Result<()> {
    let aim = if every >= 1000 { AIM_1S } else { AIM_LIVE };
    let mut pair = Pair::start(every)?;
    let mut random = StdRng::seed_from_u64(1);
    let known = arguments.keys;
    // Which counters are popular, and in which order new ones come, does not show in their names.
    let mut popular: Vec<u64> = (0..known).collect();
    popular.shuffle(&mut random);
    let mut unknown: Vec<u64> = (known..10 * known).step_by(9).collect();
    unknown
        .iter_mut()
        .for_each(|key| *key += random.random_range(0..9));
    unknown.shuffle(&mut random);
    let new = known.min(arguments.events / 5);
    let crossed = pair.measure(|pair| {
        pair.load(known, 0, |client, key| {
            let by = random.random_range(1..1_000_000_u32).to_string();
            client.queue(&[b"INCRBY", name(key).as_bytes(), by.as_bytes()]);
        })
    })?;
    Line::print(
        &format!("counters_load_{every}ms"),
        known,
        crossed,
        aim + AIM_MENTION,
    )?;

    let mut count = |pair: &mut Pair| {
        pair.load(arguments.events, arguments.rate, |client, _| {
            let rank = random.random::<f64>().powi(arguments.skew) * known as f64;
            client.queue(&[b"INCR", name(popular[rank as usize]).as_bytes()]);
        })
    };
    let crossed = pair.measure(&mut count)?;
    Line::print(
        &format!("counters_{every}ms"),
        arguments.events,
        crossed,
        aim,
    )?;

    // What waited goes as one: each counter once, however many flushes it was in.
    pair.cut(true);
    count(&mut pair)?;
    let crossed = pair.measure(|pair| {
        pair.cut(false);
        Ok(())
    })?;
    Line::print(
        &format!("counters_folded_{every}ms"),
        arguments.events,
        crossed,
        aim,
    )?;

    let crossed = pair.measure(|pair| {
        pair.load(new, arguments.rate, |client, event| {
            client.queue(&[b"INCR", name(unknown[event as usize]).as_bytes()]);
        })
    })?;
    Line::print(
        &format!("counters_first_mention_{every}ms"),
        new,
        crossed,
        aim + AIM_MENTION,
    )?;
    pair.finish()
}

fn name(key: u64) -> String {
    format!("banner:{key:07}:impressions")
}
