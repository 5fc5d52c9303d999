//! What a forward adds to a request when the link is idle: redis-benchmark, one request at a
//! time, straight and through two gateways, over a lab without delay.

use super::stage::{Cost, Stage, to_far};
use super::{App, line};
use crate::lab::{FAR_ADDRESS, LinkArguments, Side};

const SERVER: u16 = 63_795;
const HERE: u16 = 63_796;
const REQUESTS: u32 = 2000;

pub(super) fn run() -> anyhow::Result<()> {
    let mut stage = Stage::new(&LinkArguments::without_delay())?;
    let mut server = stage.command(Side::Far, "redis-server");
    server.args([
        "--port",
        &SERVER.to_string(),
        "--save",
        "",
        "--protected-mode",
        "no",
    ]);
    stage.serve(server)?;
    stage.wait_for_port(Side::Far, SERVER)?;
    stage.serve_strait(&[to_far(HERE, SERVER)])?;
    stage.wait_for_port(Side::Near, HERE)?;
    for (name, host, port) in [
        ("straight", FAR_ADDRESS, SERVER),
        ("strait forward", "127.0.0.1", HERE),
    ] {
        let script = format!(
            "redis-benchmark -h {host} -p {port} -c 1 -n {REQUESTS} -t get -d 100 --csv | tail -1"
        );
        let mut latency = None;
        let mut cost: Cost = stage.measure(|| {
            let csv = stage.shell(Side::Near, &script)?;
            // "test","rps","avg","min","p50",…
            let p50 = csv
                .split(',')
                .nth(4)
                .map(|field| field.trim_matches(['"', '\n']));
            latency = p50.and_then(|p50| p50.parse().ok());
            Ok(())
        })?;
        cost.lag_ms = latency;
        line(App::Forward, name, format!("{REQUESTS} requests"), 0, &cost)?;
    }
    Ok(())
}
