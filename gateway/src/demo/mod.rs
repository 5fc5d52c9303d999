//! `strait demo`: two sites on loopback with a bad link between them.
//!
//! Everything in it is real but the link: two gateways with data directories of
//! their own, clients over sockets, `strait push` as a process.

mod load;
mod report;
mod scenario;
pub mod sites;
mod tree;
pub mod wan;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::cli::output;
use scenario::say;
use sites::Sites;
use wan::WanConfig;

/// What `strait demo` takes.
#[derive(Clone, Debug, clap::Args)]
pub struct DemoArgs {
    /// Leave both gateways running afterwards, until Ctrl-C
    #[arg(long)]
    keep: bool,
    /// File tree to push [default: one that is found on this machine]
    #[arg(long, value_name = "DIR")]
    tree: Option<PathBuf>,
    /// Rate of the link in megabits per second
    #[arg(long, value_name = "MBIT", default_value_t = 100)]
    rate: u64,
    /// Delay of the link one way in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 25)]
    delay: u64,
    /// Random loss of the link in per cent
    #[arg(long, value_name = "PERCENT", default_value_t = 0.1)]
    loss: f64,
}

/// Plays the demo. Exits with an error when anything did not hold.
pub fn main(args: DemoArgs) -> anyhow::Result<()> {
    crate::heap::limit_arenas();
    let home = tempfile::Builder::new().prefix("strait-demo-").tempdir()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let played = play(&runtime, home.path(), &args);
    runtime.shutdown_timeout(Duration::from_secs(2));
    played
}

fn play(runtime: &tokio::runtime::Runtime, home: &Path, args: &DemoArgs) -> anyhow::Result<()> {
    let start = Instant::now();
    let tree = tree::pack(args.tree.clone(), home)?;
    let link = wan_config(args);
    say(&format!(
        "two sites, east and west; between them {} Mbit/s, {} ms round trip, {} % loss",
        args.rate,
        2 * args.delay,
        args.loss
    ));
    say(&format!(
        "file tree: {} files of {}",
        tree.files,
        tree.source.display()
    ));
    let sites = runtime.block_on(Sites::start(home, link, ""))?;
    let report = scenario::play(&sites, &tree)?;
    output::say(format_args!("\n{report}\n"))?;
    say(&format!("done in {:.0} s", start.elapsed().as_secs_f64()));
    if args.keep {
        output::say(format_args!("{}\n", invitation(&sites)))?;
        runtime
            .block_on(tokio::signal::ctrl_c())
            .context("cannot wait for Ctrl-C")?;
    }
    runtime.block_on(sites.stop())
}

fn wan_config(args: &DemoArgs) -> WanConfig {
    WanConfig {
        rate_bits_s: args.rate.max(1) * 1_000_000,
        delay: Duration::from_millis(args.delay),
        loss: (args.loss / 100.0).clamp(0.0, 1.0),
        queue: Duration::from_millis(50),
        seed: 1,
    }
}

/// What to type while the gateways are left running.
fn invitation(sites: &Sites) -> String {
    let (east, west) = (
        sites.east.grid_address().port(),
        sites.west.grid_address().port(),
    );
    format!(
        "\nBoth gateways go on. In another terminal:\n\
         \n  redis-cli -p {east} INCR hits          # at east\
         \n  redis-cli -p {west} GET hits           # at west\
         \n  redis-cli -p {east} XADD clicks '*' url /home\
         \n  redis-cli -p {west} XRANGE east.clicks - +\
         \n  strait --data {} push FILE west:FILE\
         \n  strait --data {} status\
         \n\nCtrl-C ends them.",
        sites.east_data.display(),
        sites.east_data.display(),
    )
}
