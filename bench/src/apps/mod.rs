//! Applications over the lab: each beside the same without strait and beside its usual remedy.

mod backup;
mod base_backup;
mod dump;
mod forward;
mod postgres;
mod redis;
mod replication;
mod stage;
mod tree;

use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::lab::LinkArguments;
use stage::Cost;

/// What runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum App {
    /// A nightly dump of a PostgreSQL database, several days running
    PgDump,
    /// A standby of PostgreSQL seeded by pg_basebackup, and again after a failover
    PgBasebackup,
    /// A standby of PostgreSQL under pgbench's load, and the new one after a failover
    PgReplication,
    /// A Redis replica that has to take the whole data set, three times
    Redis,
    /// A source tree kept in step between releases
    Tree,
    /// A restic repository at the far side, over SSH
    Restic,
    /// A borg repository at the far side, over SSH
    Borg,
    /// Requests through a forward on an idle link without delay
    Forward,
}

#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// Which; without it all of them
    app: Option<App>,
    #[command(flatten)]
    link: LinkArguments,
    /// Days of pg-dump
    #[arg(long, default_value_t = 5)]
    days: u32,
    /// Rows in the database; a thousand make about 0.15 MB of dump
    #[arg(long, default_value_t = 200_000)]
    rows: u64,
    /// Only contenders whose names contain this
    #[arg(long, value_name = "TEXT")]
    contender: Option<String>,
}

impl Arguments {
    fn is_asked_for(&self, contender: &str) -> bool {
        let asked = self.contender.as_deref();
        asked.is_none_or(|text| contender.contains(text))
    }
}

/// One line of output.
#[derive(Debug, Serialize)]
struct Line<'a> {
    app: App,
    contender: &'a str,
    /// What was done: `first`, `day 2`, `again`.
    round: String,
    /// What the application had to move.
    raw_bytes: u64,
    seconds: f64,
    /// Both directions, IP headers included.
    wire_bytes: u64,
    /// Until the other site had what was written last; for replication.
    lag_ms: Option<f64>,
}

impl Line<'_> {
    fn print(&self) -> anyhow::Result<()> {
        println!("{}", serde_json::to_string(self)?);
        Ok(())
    }
}

fn line(
    app: App,
    contender: &str,
    round: String,
    raw_bytes: u64,
    cost: &Cost,
) -> anyhow::Result<()> {
    let line = Line {
        app,
        contender,
        round,
        raw_bytes,
        seconds: cost.seconds,
        wire_bytes: cost.wire_bytes,
        lag_ms: cost.lag_ms,
    };
    line.print()
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let all = App::value_variants().to_vec();
    for app in arguments.app.map_or(all, |app| vec![app]) {
        match app {
            App::PgDump => dump::run(arguments)?,
            App::PgBasebackup => base_backup::run(arguments)?,
            App::PgReplication => replication::run(arguments)?,
            App::Redis => redis::run(arguments)?,
            App::Tree => tree::run(arguments)?,
            App::Restic => backup::restic(arguments)?,
            App::Borg => backup::borg(arguments)?,
            App::Forward => forward::run()?,
        }
    }
    Ok(())
}
