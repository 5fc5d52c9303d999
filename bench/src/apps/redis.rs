//! A Redis replica at the far side that has to take the whole data set again and again.

use std::time::Instant;

use super::stage::{Stage, to_near};
use super::{App, Arguments, line};
use crate::lab::Side;

const PRIMARY: u16 = 63_791;
const REPLICA: u16 = 63_792;
/// Where the far side finds the primary.
const HERE: u16 = 63_793;

const CONTENDERS: [&str; 3] = ["tunnel, plain", "tunnel, ssh -C", "strait forward"];

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    for name in CONTENDERS.into_iter().filter(|c| arguments.is_asked_for(c)) {
        let mut stage = Stage::new(&arguments.link)?;
        for (side, port) in [(Side::Near, PRIMARY), (Side::Far, REPLICA)] {
            let mut server = stage.command(side, "redis-server");
            server.args(["--port", &port.to_string(), "--save", "", "--dir"]);
            server.arg(stage.path(""));
            server.args(["--dbfilename", &format!("{port}.rdb")]);
            server.args(["--repl-diskless-sync-delay", "0"]);
            stage.serve(server)?;
            stage.wait_for_port(side, port)?;
        }
        if name == "strait forward" {
            stage.serve_strait(&[to_near(HERE, PRIMARY)])?;
        } else {
            stage.serve_ssh()?;
            let ssh = if name.ends_with("-C") { "-C" } else { "" };
            stage.serve_tunnel(ssh, &[to_near(HERE, PRIMARY)])?;
        }
        stage.wait_for_port(Side::Far, HERE)?;
        let keys = arguments.rows;
        fill(&stage, 0, keys)?;
        for round in 1..=3_u64 {
            if round > 1 {
                fill(&stage, round * keys, keys / 100)?;
            }
            let mut lag_ms = 0.0;
            let mut cost = stage.measure(|| {
                far(&stage, &format!("replicaof 127.0.0.1 {HERE}"))?;
                stage.until(|| {
                    far(&stage, "info replication").is_ok_and(|i| i.contains("link_status:up"))
                })?;
                Ok(())
            })?;
            let began = Instant::now();
            near(&stage, &format!("set mark {round}"))?;
            stage.until(|| {
                far(&stage, "get mark").is_ok_and(|got| got.trim() == round.to_string())
            })?;
            lag_ms += began.elapsed().as_secs_f64() * 1e3;
            cost.lag_ms = Some(lag_ms);
            let memory = near(&stage, "info memory")?;
            let raw = memory
                .lines()
                .find_map(|line| line.strip_prefix("used_memory_dataset:"));
            let raw_bytes = raw.unwrap_or_default().trim().parse()?;
            line(
                App::Redis,
                name,
                format!("full sync {round}"),
                raw_bytes,
                &cost,
            )?;
            // An empty replica that knows no history must take all of it.
            far(&stage, "replicaof no one")?;
            far(&stage, "flushall")?;
            far(&stage, "debug change-repl-id").ok();
        }
    }
    Ok(())
}

/// Counters by name, with values that do not repeat.
fn fill(stage: &Stage, from: u64, count: u64) -> anyhow::Result<()> {
    let script = format!(
        "seq {from} $(({from} + {count} - 1)) | awk '{{ printf \"SET banner:%07d:impressions %d\\n\", \
         $1 % 1000000, ($1 * 7919) % 1000003 }}' | redis-cli -p {PRIMARY} --pipe"
    );
    stage.shell(Side::Near, &script).map(drop)
}

fn near(stage: &Stage, command: &str) -> anyhow::Result<String> {
    stage.shell(Side::Near, &format!("redis-cli -p {PRIMARY} {command}"))
}

fn far(stage: &Stage, command: &str) -> anyhow::Result<String> {
    stage.shell(Side::Far, &format!("redis-cli -p {REPLICA} {command}"))
}
