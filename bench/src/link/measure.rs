//! One contender over one link.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Stdio};
use std::time::Duration;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use super::end::{self, EndArguments, Received, Role, SLICE_MS, Sent};
use super::{Arguments, Contender, clock, stock};
use crate::lab::{FAR_ADDRESS, LinkArguments, Namespaces, Side, Wan};

/// After so long a sender is expected to know its link.
const SETTLE_S: f64 = 4.0;
/// When the link is cut, and how long there is to recover.
const CUT_AT_S: u64 = 6;
const RECOVER_S: u64 = 10;
/// Recovered: so much of the rate before, over so long.
const RECOVERED_PART: f64 = 0.9;
const RECOVERED_S: f64 = 0.5;
/// For both processes to start.
const HEAD_START: Duration = Duration::from_millis(700);
const PORT: u16 = 7440;
const PORT_AGAINST: u16 = 7450;

#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) contender: Contender,
    pub(super) rate_mbit_s: f64,
    pub(super) rtt_ms: f64,
    pub(super) loss_percent: f64,
    pub(super) goodput_mbit_s: f64,
    /// From the fourth second on.
    pub(super) settled_mbit_s: f64,
    pub(super) payload_bytes: u64,
    /// IP packets in the direction of the payload, everything included.
    pub(super) wire_bytes: u64,
    pub(super) lost_percent: f64,
    pub(super) queue_mean_ms: f64,
    pub(super) control_p50_ms: f64,
    pub(super) control_p99_ms: f64,
    /// Of both processes together; what the kernel does for them in its own threads is not in it.
    pub(super) cpu_s: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    against: Option<Against>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cut: Option<Cut>,
}

/// The other flow.
#[derive(Debug, Serialize)]
struct Against {
    contender: Contender,
    goodput_mbit_s: f64,
    settled_mbit_s: f64,
}

#[derive(Debug, Serialize)]
struct Cut {
    secs: u64,
    before_mbit_s: f64,
    /// From healing until nine tenths of the rate before are there for half a second.
    recovered_s: Option<f64>,
    /// Batches that came out of order: lost or doubled. Only strait's are numbered.
    misplaced_batches: u64,
}

/// Two processes that send and receive.
struct Flow {
    ends: [Child; 2],
    outputs: [BufReader<ChildStdout>; 2],
}

impl Flow {
    fn start(namespaces: &Namespaces, arguments: &EndArguments) -> anyhow::Result<Self> {
        let spawn = |side, role| {
            let this = std::env::current_exe()?;
            let this = this.to_str().context("the program's path is not UTF-8")?;
            let flags = EndArguments {
                role,
                ..arguments.clone()
            };
            let mut command = namespaces.command(side, this);
            command.arg("link-end").args(flags.flags());
            let mut child = command.stdout(Stdio::piped()).spawn()?;
            let out = child.stdout.take().context("no output")?;
            anyhow::Ok((child, BufReader::new(out)))
        };
        let (receiver, received) = spawn(Side::Far, Role::Receive)?;
        let (sender, sent) = spawn(Side::Near, Role::Send)?;
        Ok(Self {
            ends: [sender, receiver],
            outputs: [sent, received],
        })
    }

    fn end(mut self) -> anyhow::Result<(Sent, Received)> {
        let [sent, received] = &mut self.outputs;
        let sent = read_json(sent).context("the sender failed")?;
        let received = read_json(received).context("the receiver failed")?;
        for end in &mut self.ends {
            end.wait()?;
        }
        Ok((sent, received))
    }
}

pub(super) fn measure(
    arguments: &Arguments,
    link: &LinkArguments,
    contender: Contender,
) -> anyhow::Result<Report> {
    let namespaces = Namespaces::create()?;
    let wan = Wan::start(&namespaces, link.config()?)?;
    let keys = [tempfile::tempdir()?, tempfile::tempdir()?];
    let cut_secs = arguments.cut.map(|cut| CUT_AT_S + cut + RECOVER_S);
    let secs = cut_secs.unwrap_or(arguments.secs);
    let start = clock::unix_nanos() + HEAD_START.as_nanos() as u64;
    let flow = |contender, port, keys: &Path| {
        end::make_keys(keys)?;
        if contender == Contender::QuinnBbr {
            stock::make_certificate(keys)?;
        }
        let arguments = EndArguments {
            role: Role::Send,
            contender,
            start,
            secs,
            rate: link.rate,
            offered: arguments.offered.map(|part| part * link.rate),
            peer: FAR_ADDRESS.into(),
            port,
            keys: keys.to_owned(),
        };
        Flow::start(&namespaces, &arguments)
    };
    let [own_keys, other_keys] = &keys;
    let own = flow(contender, PORT, own_keys.path())?;
    let other = arguments.against.map(|other| {
        let flow = flow(other, PORT_AGAINST, other_keys.path())?;
        anyhow::Ok((other, flow))
    });
    let other = other.transpose()?;
    if let Some(cut) = arguments.cut {
        std::thread::sleep(clock::until(start + CUT_AT_S * 1_000_000_000));
        wan.cut(true);
        std::thread::sleep(Duration::from_secs(cut));
        wan.cut(false);
    }
    let (sent, received) = own.end()?;
    let against = other.map(|(contender, flow)| {
        let (_, received) = flow.end()?;
        anyhow::Ok(Against {
            contender,
            goodput_mbit_s: received.mbit_s(0.0, secs as f64),
            settled_mbit_s: received.mbit_s(SETTLE_S, secs as f64),
        })
    });
    let figures = wan.figures(Side::Near);
    Ok(Report {
        contender,
        rate_mbit_s: link.rate,
        rtt_ms: 2.0 * link.delay,
        loss_percent: link.loss,
        goodput_mbit_s: received.mbit_s(0.0, secs as f64),
        settled_mbit_s: received.mbit_s(SETTLE_S, secs as f64),
        payload_bytes: received.bytes(0.0, secs as f64),
        wire_bytes: figures.offered_bytes,
        lost_percent: figures.lost_percent(),
        queue_mean_ms: figures.queue_mean_ms,
        control_p50_ms: received.control_p50_ms,
        control_p99_ms: received.control_p99_ms,
        cpu_s: sent.cpu_s + received.cpu_s,
        against: against.transpose()?,
        cut: arguments.cut.map(|secs| recovery(&received, secs)),
    })
}

fn recovery(received: &Received, secs: u64) -> Cut {
    let cut_s = CUT_AT_S as f64;
    let before_mbit_s = received.mbit_s(SETTLE_S, cut_s);
    let healed_s = cut_s + secs as f64;
    let after = (0..RECOVER_S * 1000 / SLICE_MS).map(|slice| (slice * SLICE_MS) as f64 / 1e3);
    let recovered_s = after.into_iter().find(|after| {
        let from_s = healed_s + after;
        received.mbit_s(from_s, from_s + RECOVERED_S) >= RECOVERED_PART * before_mbit_s
    });
    Cut {
        secs,
        before_mbit_s,
        recovered_s,
        misplaced_batches: received.misplaced,
    }
}

fn read_json<T: for<'a> Deserialize<'a>>(out: &mut BufReader<ChildStdout>) -> anyhow::Result<T> {
    let mut line = String::new();
    out.read_line(&mut line)?;
    Ok(serde_json::from_str(&line)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recovered_is_when_the_rate_is_back_for_good() {
        let mut slices = vec![100_000; 60];
        slices.extend([0; 30]);
        slices.extend([90_000, 10_000, 20_000, 60_000]);
        slices.extend([100_000; 96]);
        let received = Received {
            slices,
            misplaced: 0,
            control_p50_ms: 0.0,
            control_p99_ms: 0.0,
            cpu_s: 0.0,
        };
        let cut = recovery(&received, 3);
        assert_eq!(cut.before_mbit_s, 8.0);
        assert_eq!(cut.recovered_s, Some(0.3));
    }
}
