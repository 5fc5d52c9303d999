//! The story that the demo plays: in step, files, a cut, and equal again.

use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;

use super::load::{self, Probe, Written};
use super::report::{Carried, Report};
use super::sites::Sites;
use super::tree::Tree;
use crate::cli::output::tell;
use crate::resp::blocking::{Client, Reply};

/// How long both sites are fed while the link is up …
const IN_STEP: Duration = Duration::from_secs(8);
/// … and while it is cut.
const CUT: Duration = Duration::from_secs(5);
/// Longest wait for both sites to agree.
const CONVERGE_MAX: Duration = Duration::from_secs(30);

/// Plays the whole story and returns what was measured.
pub(super) fn play(sites: &Sites, tree: &Tree) -> anyhow::Result<Report> {
    let probe = Probe::default();
    thread::scope(|scope| {
        let write = scope.spawn(|| probe.write(sites.east.grid_address()));
        let read = scope.spawn(|| probe.read(sites.west.grid_address(), "east.probe"));
        let report = phases(sites, tree, &probe);
        probe.stop();
        for thread in [write, read] {
            thread
                .join()
                .map_err(|_| anyhow::anyhow!("the probe broke down"))??;
        }
        report
    })
}

fn phases(sites: &Sites, tree: &Tree, probe: &Probe) -> anyhow::Result<Report> {
    let mut report = Report::default();
    connected(sites)?;
    say("both sites count and log for 8 s …");
    report.rows.push(in_step(sites, probe)?);
    for (archive, what) in [
        (&tree.first, "file tree, first version"),
        (&tree.second, "file tree, second version"),
    ] {
        say(&format!("pushing the {what} …"));
        report.rows.push(push(sites, archive, what, probe)?);
    }
    say("the cable is pulled; both sites write on for 5 s …");
    let (row, cut) = through_a_cut(sites)?;
    report.rows.push(row);
    report.cut = Some(cut);
    report.digest = converged(sites)?;
    Ok(report)
}

/// Waits until a write at each site is durable at the other.
fn connected(sites: &Sites) -> anyhow::Result<()> {
    for gateway in [&sites.east, &sites.west] {
        let mut client = Client::connect(gateway.grid_address())?;
        client.call(&[b"INCR", b"demo:started"])?;
        let held = client.call(&[b"WAIT", b"1", b"10000"])?;
        anyhow::ensure!(held == Reply::Integer(1), "the link does not come up");
    }
    Ok(())
}

fn in_step(sites: &Sites, probe: &Probe) -> anyhow::Result<Carried> {
    probe.go();
    let (start, before) = (Instant::now(), sites.wire_bytes());
    let written = feed_both(sites, 1, IN_STEP)?;
    let took = start.elapsed();
    let lags = probe.pause();
    converged(sites)?;
    Ok(Carried {
        what: "counters and logs, both ways".to_owned(),
        events: Some(written.events),
        took,
        logical_bytes: written.bytes,
        wire_bytes: sites.wire_bytes() - before,
        lags,
    })
}

/// Feeds both sites at the same time.
fn feed_both(sites: &Sites, seed: u64, duration: Duration) -> anyhow::Result<Written> {
    let (east, west) = (sites.east.grid_address(), sites.west.grid_address());
    thread::scope(|scope| {
        let other = scope.spawn(move || load::feed(west, seed + 100, duration));
        let written = load::feed(east, seed, duration)?;
        let other = other
            .join()
            .map_err(|_| anyhow::anyhow!("a client broke down"))??;
        Ok(written + other)
    })
}

/// Pushes a file with `strait push`, as an operator would.
fn push(sites: &Sites, archive: &Path, what: &str, probe: &Probe) -> anyhow::Result<Carried> {
    probe.go();
    let (start, before) = (Instant::now(), sites.wire_bytes());
    let output = Command::new(std::env::current_exe()?)
        .arg("--data")
        .arg(&sites.east_data)
        .arg("push")
        .arg(archive)
        .arg("west:tree.tar")
        .stdin(Stdio::null())
        .output()
        .context("strait push cannot be started")?;
    anyhow::ensure!(
        output.status.success(),
        "strait push failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let took = start.elapsed();
    let lags = probe.pause();
    let sent = std::fs::read(archive)?;
    let arrived = std::fs::read(sites.west_data.join("bulk/east/tree.tar"))?;
    anyhow::ensure!(
        sent == arrived,
        "the file at west differs from what was pushed"
    );
    Ok(Carried {
        what: format!("{what} ({:.1} s)", took.as_secs_f64()),
        events: None,
        took,
        logical_bytes: sent.len() as u64,
        wire_bytes: sites.wire_bytes() - before,
        lags,
    })
}

/// Cuts the link, writes on both sides, heals it, and waits until both agree.
fn through_a_cut(sites: &Sites) -> anyhow::Result<(Carried, (Duration, Duration))> {
    let (start, before) = (Instant::now(), sites.wire_bytes());
    sites.wan.cut();
    let written = feed_both(sites, 2, CUT)?;
    let cut = start.elapsed();
    say("the cable is back …");
    sites.wan.heal();
    let healed = Instant::now();
    converged(sites)?;
    let converge = healed.elapsed();
    let row = Carried {
        what: "written during the cut".to_owned(),
        events: Some(written.events),
        took: cut,
        logical_bytes: written.bytes,
        wire_bytes: sites.wire_bytes() - before,
        lags: Vec::new(),
    };
    Ok((row, (cut, converge)))
}

/// Waits until both sites' digests are equal.
fn converged(sites: &Sites) -> anyhow::Result<String> {
    let deadline = Instant::now() + CONVERGE_MAX;
    while Instant::now() < deadline {
        let (east, west) = (sites.east.digest(), sites.west.digest());
        if east == west {
            return Ok(east.to_string());
        }
        thread::sleep(Duration::from_millis(5));
    }
    anyhow::bail!(
        "the sites did not agree within {} s",
        CONVERGE_MAX.as_secs()
    )
}

pub(super) fn say(line: &str) {
    tell!("strait demo: {line}");
}
