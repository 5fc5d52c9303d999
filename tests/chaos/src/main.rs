//! `tests/chaos/run`: round after round until the time is over.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use strait_chaos::{Plan, hold, say};

/// Real gateways under faults by plan, and a checker that remembers every confirmed write
#[derive(Debug, Parser)]
struct Args {
    /// How long; the round that is going on then is finished
    #[arg(long, default_value_t = 30)]
    minutes: u64,
    /// Of the first round; the next has the next
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Faults in each round
    #[arg(long, default_value_t = 20)]
    steps: usize,
    /// None but faults whose name begins so, such as `PowerCut`
    #[arg(long, default_value = "")]
    only: String,
    /// Each site runs this gateway until its first restart: one of the release before
    #[arg(long, value_name = "BINARY")]
    before: Option<PathBuf>,
    /// Keep directories and logs of rounds that hold, too
    #[arg(long)]
    keep: bool,
    /// Go on after a round that fails
    #[arg(long)]
    go_on: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let begun = Instant::now();
    let mut failed = 0;
    for seed in args.seed.. {
        let mut plan = Plan::of(seed, args.steps, &args.only);
        plan.before.clone_from(&args.before);
        if !hold(&plan, args.keep) {
            failed += 1;
        }
        let over = begun.elapsed() >= Duration::from_secs(args.minutes * 60);
        if over || (failed > 0 && !args.go_on) {
            break;
        }
    }
    match failed {
        0 => ExitCode::SUCCESS,
        _ => {
            say(&format!("{failed} rounds failed"));
            ExitCode::FAILURE
        }
    }
}
