//! How well a link is filled: strait and kernel TCP, one after the other, over the same lab.

mod clock;
mod end;
mod strait;
mod tcp;

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Stdio};
use std::time::Duration;

use anyhow::Context;
use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

pub(crate) use self::end::{EndArguments, run_end};
use self::end::{Received, Role, Sent};
use crate::lab::{FAR_ADDRESS, LinkArguments, Namespaces, Side, Wan};

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Contender {
    Strait,
    /// strait with `congestion = "cubic"`
    StraitCubic,
    /// strait with the link's rate configured
    StraitRate,
    TcpCubic,
    TcpBbr,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct Arguments {
    #[command(flatten)]
    link: LinkArguments,
    /// How long to send, seconds, start-up included
    #[arg(long, default_value_t = 20)]
    secs: u64,
    /// Whom to measure
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "strait,tcp-cubic,tcp-bbr"
    )]
    contenders: Vec<Contender>,
    /// The whole table: 100 and 400 Mbit/s, 20 to 200 ms round trip, 0 to 1 % loss
    #[arg(long)]
    all: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    contender: Contender,
    rate_mbit_s: f64,
    rtt_ms: f64,
    loss_percent: f64,
    goodput_mbit_s: f64,
    /// From the fourth second on.
    settled_mbit_s: f64,
    payload_bytes: u64,
    wire_bytes: u64,
    lost_percent: f64,
    queue_mean_ms: f64,
    control_p50_ms: f64,
    control_p99_ms: f64,
    cpu_s: f64,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    for link in cells(arguments) {
        for &contender in &arguments.contenders {
            let report = measure(&link, contender, arguments.secs)?;
            println!("{}", serde_json::to_string(&report)?);
        }
    }
    Ok(())
}

fn cells(arguments: &Arguments) -> Vec<LinkArguments> {
    if !arguments.all {
        return vec![arguments.link.clone()];
    }
    let mut cells = Vec::new();
    for rate in [100.0, 400.0] {
        for delay in [10.0, 50.0, 100.0] {
            for loss in [0.0, 0.1, 1.0] {
                cells.push(LinkArguments {
                    rate,
                    delay,
                    loss,
                    ..arguments.link.clone()
                });
            }
        }
    }
    cells
}

fn measure(link: &LinkArguments, contender: Contender, secs: u64) -> anyhow::Result<Report> {
    let namespaces = Namespaces::create()?;
    let wan = Wan::start(&namespaces, link.config()?)?;
    let keys = tempfile::tempdir()?;
    end::make_keys(keys.path())?;
    let start = clock::unix_nanos() + Duration::from_millis(700).as_nanos() as u64;
    let spawn = |side, role: Role| -> anyhow::Result<(Child, BufReader<ChildStdout>)> {
        let this = std::env::current_exe()?;
        let this = this.to_str().context("the program's path is not UTF-8")?;
        let mut command = namespaces.command(side, this);
        command
            .arg("link-end")
            .args(EndArguments::flags(role, contender, start, secs, link.rate))
            .args(["--peer", FAR_ADDRESS])
            .arg("--keys")
            .arg(keys.path());
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let out = child.stdout.take().context("no output")?;
        Ok((child, BufReader::new(out)))
    };
    let (mut receiver, mut received) = spawn(Side::Far, Role::Receive)?;
    let (mut sender, mut sent) = spawn(Side::Near, Role::Send)?;
    let sent: Sent = read_json(&mut sent).context("the sender failed")?;
    let received: Received = read_json(&mut received).context("the receiver failed")?;
    sender.wait()?;
    receiver.wait()?;
    let figures = wan.figures(Side::Near);
    let mbit_s = |bytes: u64, secs: u64| bytes as f64 * 8e-6 / secs.max(1) as f64;
    Ok(Report {
        contender,
        rate_mbit_s: link.rate,
        rtt_ms: 2.0 * link.delay,
        loss_percent: link.loss,
        goodput_mbit_s: mbit_s(received.payload_bytes, secs),
        settled_mbit_s: mbit_s(
            received.settled_bytes,
            secs.saturating_sub(end::SETTLE_SECS),
        ),
        payload_bytes: received.payload_bytes,
        wire_bytes: figures.offered_bytes,
        lost_percent: figures.lost_percent(),
        queue_mean_ms: figures.queue_mean_ms,
        control_p50_ms: received.control_p50_ms,
        control_p99_ms: received.control_p99_ms,
        cpu_s: sent.cpu_s + received.cpu_s,
    })
}

fn read_json<T: for<'a> Deserialize<'a>>(out: &mut BufReader<ChildStdout>) -> anyhow::Result<T> {
    let mut line = String::new();
    out.read_line(&mut line)?;
    Ok(serde_json::from_str(&line)?)
}
