//! Lines of an access log: live, and after a cut.

use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::Context;
use clap::Args;
use serde_json::json;

use super::Line;
use super::pair::Pair;
use crate::lines::Lines;

#[derive(Args)]
pub(crate) struct Arguments {
    /// Lines of each run
    #[arg(long, default_value_t = 100_000)]
    events: u64,
    /// Lines a second
    #[arg(long, default_value_t = 10_000)]
    rate: u64,
    /// Shipment interval, in ms
    #[arg(long, default_value_t = 50)]
    every: u64,
}

const AIM_LIVE: f64 = 40.0;
const AIM_CATCH_UP: f64 = 32.0;

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let lines: Vec<String> = Lines::new(1).take(arguments.events as usize).collect();
    let bytes: usize = lines.iter().map(String::len).sum();
    println!(
        "{}",
        json!({
            "test": "logs_reference",
            "line_bytes": rounded(bytes, lines.len()),
            "zstd_3_bytes_per_line": zstd(&lines)?.map(|bytes| rounded(bytes, lines.len())),
        })
    );
    live(arguments, &lines)?;
    catch_up(arguments, &lines)
}

fn rounded(bytes: usize, lines: usize) -> f64 {
    (bytes as f64 / lines.max(1) as f64 * 100.0).round() / 100.0
}

fn append(pair: &mut Pair, lines: &[String], rate: u64) -> anyhow::Result<()> {
    pair.load(lines.len() as u64, rate, |client, event| {
        let line = &lines[event as usize];
        client.queue(&[b"XADD", b"access", b"*", b"line", line.as_bytes()]);
    })
}

fn live(arguments: &Arguments, lines: &[String]) -> anyhow::Result<()> {
    let mut pair = Pair::start(arguments.every)?;
    let crossed = pair.measure(|pair| append(pair, lines, arguments.rate))?;
    let test = format!("logs_live_{}ms", arguments.every);
    Line::print(&test, arguments.events, crossed, AIM_LIVE)?;
    pair.finish()
}

fn catch_up(arguments: &Arguments, lines: &[String]) -> anyhow::Result<()> {
    let mut pair = Pair::start(arguments.every)?;
    pair.cut(true);
    append(&mut pair, lines, 0)?;
    let crossed = pair.measure(|pair| {
        pair.cut(false);
        Ok(())
    })?;
    Line::print("logs_catch_up", arguments.events, crossed, AIM_CATCH_UP)?;
    pair.finish()
}

/// `zstd -3` of all lines as one file, if it is installed.
fn zstd(lines: &[String]) -> anyhow::Result<Option<usize>> {
    let spawned = Command::new("zstd")
        .args(["-3", "-c", "-q"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let Ok(mut process) = spawned else {
        return Ok(None);
    };
    let mut input = process.stdin.take().context("no standard input")?;
    let text = lines.join("\n");
    let writer = std::thread::spawn(move || input.write_all(text.as_bytes()));
    let output = process.wait_with_output()?;
    writer.join().ok().context("a thread panicked")??;
    Ok(Some(output.stdout.len()))
}
