//! `strait-bench plateau`: counters with names by the day are made and deleted, or expire, round after
//! round, at three gateways of which one is away for half of the rounds. What was deleted is forgotten, so
//! the memory of the others must stay where it is.
#![allow(clippy::print_stdout, reason = "the figures go to standard output")]

mod fleet;
mod reading;

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::{Args, ValueEnum};
use serde_json::json;

use fleet::Fleet;
use reading::Reading;

#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// Counters that each round makes
    #[arg(long, default_value_t = 1_000_000)]
    keys: u64,
    /// Rounds: counters of odd ones are deleted, those of even ones expire
    #[arg(long, default_value_t = 10)]
    rounds: u64,
    /// When the third gateway is away
    #[arg(long, value_enum, default_value_t = Away::OddRounds)]
    away: Away,
    /// Seconds from when everything is forgotten to the reading of memory
    #[arg(long, default_value_t = 5)]
    rest_s: u64,
    /// Growth of memory, in per cent, from which on the command fails
    #[arg(long, default_value_t = 5.0)]
    growth_max: f64,
}

/// Rounds in which a gateway is away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Away {
    OddRounds,
    FirstHalf,
    Never,
}

impl Away {
    fn is_in(self, round: u64, rounds: u64) -> bool {
        match self {
            Self::OddRounds => round % 2 == 1,
            Self::FirstHalf => round <= rounds / 2,
            Self::Never => false,
        }
    }
}

/// Growth counts from the first reading that is taken in this round or later.
const FIRST_ROUND: u64 = 3;

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let rounds = arguments.rounds;
    ensure!(
        !arguments.away.is_in(rounds, rounds),
        "every gateway has to be there in the last round"
    );
    let mut fleet = Fleet::start()?;
    let mut readings = Vec::new();
    for round in 1..=rounds {
        let away = arguments.away.is_in(round, rounds);
        let reading = run_round(&mut fleet, arguments, round, away)?;
        if round >= FIRST_ROUND && !away {
            readings.push(reading);
        }
    }
    let (first, last) = (readings.first(), readings.last());
    let grown = first.zip(last).map(|(first, last)| last.growth(first));
    let grown = grown.context("too few rounds to see growth")?;
    println!(
        "{}",
        json!({
            "test": "plateau_growth",
            "keys": arguments.keys,
            "from_round": first.map(|reading| reading.round),
            "to_round": last.map(|reading| reading.round),
            "resident_ratio": rounded(grown.resident),
            "grid_ratio": rounded(grown.grid),
        })
    );
    let most = 1.0 + arguments.growth_max / 100.0;
    ensure!(
        grown.resident <= most && grown.grid <= most,
        "memory grows by more than {} %",
        arguments.growth_max
    );
    Ok(())
}

/// Makes counters and deletes them; what the gateways take of memory after that.
fn run_round(
    fleet: &mut Fleet,
    arguments: &Arguments,
    round: u64,
    away: bool,
) -> anyhow::Result<Reading> {
    fleet.attach(!away);
    let begun = Instant::now();
    fleet.make(round, arguments.keys)?;
    let made = begun.elapsed();
    let begun = Instant::now();
    match round % 2 {
        1 => fleet.delete(round, arguments.keys)?,
        _ => fleet.expire(round, arguments.keys)?,
    }
    fleet.wait_until_hidden()?;
    let hidden = begun.elapsed();
    let begun = Instant::now();
    if !away {
        fleet.wait_until_forgotten(round * arguments.keys)?;
    }
    let forgotten = (!away).then(|| begun.elapsed().as_secs_f64());
    std::thread::sleep(Duration::from_secs(arguments.rest_s));
    let reading = Reading::take(fleet, round);
    println!(
        "{}",
        json!({
            "test": "plateau",
            "round": round,
            "keys": arguments.keys,
            "taken_away_by": if round % 2 == 1 { "DEL" } else { "PEXPIRE" },
            "one_away": away,
            "made_s": rounded(made.as_secs_f64()),
            "hidden_s": rounded(hidden.as_secs_f64()),
            "forgotten_s": forgotten.map(rounded),
            "sites": reading.sites,
        })
    );
    Ok(reading)
}

fn rounded(figure: f64) -> f64 {
    (figure * 1000.0).round() / 1000.0
}
