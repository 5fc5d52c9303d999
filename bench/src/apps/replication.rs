//! Physical replication of PostgreSQL under load, and a new standby after a failover.

use anyhow::Context;

use super::stage::{Cost, Stage, to_far, to_near};
use super::{App, Arguments, line, postgres};
use crate::lab::Side;

/// Where each side finds the other's server.
const THERE: u16 = 54_321;
/// Transactions a second that pgbench asks for, so that all contenders carry the same.
const TRANSACTIONS_S: u32 = 200;
const LOAD_S: u32 = 15;

/// Who carries the stream between the servers; the options of its SSH tunnel.
const CONTENDERS: [(&str, Option<&str>); 3] = [
    ("tunnel, plain", Some("")),
    ("tunnel, ssh -C", Some("-C")),
    ("strait forward", None),
];

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    for (name, ssh) in CONTENDERS
        .into_iter()
        .filter(|c| arguments.is_asked_for(c.0))
    {
        let mut stage = Stage::new(&arguments.link)?;
        stage.serve_postgres(arguments.rows)?;
        let both = [
            to_near(THERE, postgres::PORT),
            to_far(THERE, postgres::PORT),
        ];
        match ssh {
            None => stage.serve_strait(&both)?,
            Some(options) => {
                stage.serve_ssh()?;
                stage.serve_tunnel(options, &both)?;
            }
        }
        stage.wait_for_port(Side::Far, THERE)?;
        stage.shell(Side::Near, &pgbench("-i -q -s 5"))?;
        let cost = seed(&mut stage, Side::Far, "standby")?;
        print(&stage, Side::Near, name, "seed", &cost)?;
        let cost = load(&stage)?;
        print(
            &stage,
            Side::Near,
            name,
            &format!("{LOAD_S} s of pgbench"),
            &cost,
        )?;
        fail_over(&stage)?;
        let cost = seed(&mut stage, Side::Near, "former-primary")?;
        print(&stage, Side::Far, name, "new standby after failover", &cost)?;
    }
    Ok(())
}

fn print(
    stage: &Stage,
    primary: Side,
    contender: &str,
    round: &str,
    cost: &Cost,
) -> anyhow::Result<()> {
    let size = "select sum(pg_database_size(oid)) from pg_database";
    let raw_bytes = stage.sql_at(primary, size)?.trim().parse()?;
    let round = round.to_owned();
    line(App::PgReplication, contender, round, raw_bytes, cost)
}

/// A standby at `side` of the server at the other, until it replicates.
fn seed(stage: &mut Stage, side: Side, folder: &str) -> anyhow::Result<Cost> {
    let target = stage.postgres_folder(folder)?;
    let script = postgres::base_backup(THERE, "-R", &target)?;
    let cost = stage.measure(|| stage.shell(side, &script).map(drop))?;
    stage.start_postgres(side, &target.join("data"))?;
    Ok(cost)
}

fn pgbench(options: &str) -> String {
    let port = postgres::PORT;
    format!("pgbench -h 127.0.0.1 -p {port} -U postgres {options} postgres")
}

/// Writes at the near side; the lag is the median of how long ago the standby's last confirmed
/// replay was written.
fn load(stage: &Stage) -> anyhow::Result<Cost> {
    let transactions = pgbench(&format!("-c 4 -T {LOAD_S} -R {TRANSACTIONS_S}"));
    let lag = "select extract(epoch from replay_lag) * 1000 from pg_stat_replication";
    let psql = format!("psql -h 127.0.0.1 -p {} -U postgres -qAtc", postgres::PORT);
    let script = format!(
        "{transactions} >/dev/null & load=$!; sleep 1
         while kill -0 $load 2>/dev/null; do {psql} '{lag}'; sleep 0.2; done; wait $load"
    );
    let mut lags: Vec<f64> = Vec::new();
    let mut cost = stage.measure(|| {
        let said = stage.shell(Side::Near, &script)?;
        lags = said.lines().filter_map(|lag| lag.parse().ok()).collect();
        let written = stage.sql_at(Side::Near, "select pg_current_wal_flush_lsn()")?;
        let replayed = format!("select pg_last_wal_replay_lsn() >= '{}'", written.trim());
        stage.until(|| {
            stage
                .sql_at(Side::Far, &replayed)
                .is_ok_and(|is| is.trim() == "t")
        })
    })?;
    lags.sort_by(f64::total_cmp);
    cost.lag_ms = lags.get(lags.len() / 2).copied();
    cost.lag_ms.context("the standby never replicated")?;
    Ok(cost)
}

/// The near server ends, the far one takes over and is written to.
fn fail_over(stage: &Stage) -> anyhow::Result<()> {
    let stop = postgres::program("pg_ctl")?.join(" ");
    let data = stage.path("postgres/data");
    let data = data.display();
    stage.shell(Side::Near, &format!("{stop} -D {data} -m fast -w stop"))?;
    stage.sql_at(Side::Far, "select pg_promote()")?;
    stage.shell(Side::Far, &pgbench("-c 4 -T 2")).map(drop)
}
