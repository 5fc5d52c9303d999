//! Nobody reads the log any more, or its disk is full: the gateway goes on.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};

use redis::Commands;
use strait_tests::{Site, SmallDisk, eventually, get, signal};

/// A gateway whose log goes where the test wants. Killed where a test fails.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

impl Running {
    fn start(site: &Site, log: impl Into<Stdio>) -> Self {
        let mut command = site.command(&["run"]);
        Self(command.stderr(log).spawn().unwrap())
    }

    fn is_ready(&self, site: &Site) {
        eventually("it is ready", 30, || {
            get(site.http, "/readyz").filter(|(code, _)| *code == 200)
        });
    }

    /// Each makes it log some lines.
    fn reload(&self, times: usize) {
        for _ in 0..times {
            signal(&self.0, "HUP");
            // Signals that come at once are one.
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
    }

    fn goes_on(&self, site: &Site) {
        self.is_ready(site);
        let () = site.redis().incr("hits", 1).unwrap();
    }

    fn stop(&mut self) -> ExitStatus {
        signal(&self.0, "TERM");
        eventually("it ends", 30, || self.0.try_wait().unwrap())
    }
}

#[test]
fn a_reader_of_the_log_that_has_gone_ends_no_gateway() {
    let site = Site::new("east");
    let mut running = Running::start(&site, Stdio::piped());
    let mut log = BufReader::new(running.0.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("gateway is running") {
        line.clear();
        assert!(log.read_line(&mut line).unwrap() > 0, "it ended at start");
    }
    drop(log);
    running.reload(5);
    running.goes_on(&site);
    assert!(site.metric("strait_log_lost_lines_total") > 0.0);
    let status = running.stop();
    assert!(status.success(), "{status}");
}

#[test]
fn a_reader_of_the_log_that_has_stopped_holds_up_no_gateway() {
    let site = Site::new("east");
    let (reader, writer) = std::io::pipe().unwrap();
    rustix::pipe::fcntl_setpipe_size(&writer, 4096).unwrap();
    let mut running = Running::start(&site, writer);
    running.is_ready(&site);
    running.reload(200);
    running.goes_on(&site);
    let status = running.stop();
    assert!(status.success(), "{status}");
    drop(reader);
}

#[test]
fn a_full_disk_under_the_log_costs_lines_alone() {
    let site = Site::new("east");
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::over(folder.path(), "64k") else {
        return;
    };
    let path = folder.path().join("log");
    std::fs::write(folder.path().join("filler"), [0; 60 << 10]).unwrap();
    let log = File::options()
        .create(true)
        .append(true)
        .open(&path)
        .unwrap();
    let mut running = Running::start(&site, log);
    running.is_ready(&site);
    eventually("lines are lost", 60, || {
        running.reload(10);
        (site.metric("strait_log_lost_lines_total") > 0.0).then_some(())
    });
    running.goes_on(&site);
    disk.grow("1m");
    running.reload(1);
    eventually("the log says so", 30, || {
        let text = std::fs::read_to_string(&path).unwrap();
        text.contains("lines of the log are lost").then_some(())
    });
    let status = running.stop();
    assert!(status.success(), "{status}");
}

/// Its output and what it says go to pipes that nobody reads.
fn unread(mut command: Command) -> ExitStatus {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop((child.stdout.take(), child.stderr.take()));
    child.wait().unwrap()
}

#[test]
fn no_command_breaks_down_where_nobody_reads_it() {
    let mut site = Site::new("east");
    site.start();
    let () = site.redis().incr("hits", 1).unwrap();
    site.settle();
    let commands: &[&[&str]] = &[
        &["--help"],
        &["check-config"],
        &["pair"],
        &["pair", "no token"],
        &["key", "next"],
        &["reload"],
        &["run"],
        &["status"],
        &["status", "--json"],
        &["ls", "west:"],
        &["rm", "west:nothing"],
        &["push", "/nothing", "west:"],
        &["pull", "west:nothing", "-"],
        &["verify", "west"],
        &["replay", "--from", "west", "--wait", "0"],
        &["snapshots"],
        &["export"],
        &["export", "--at", "2001-01-01T00:00:00Z"],
    ];
    for command in commands {
        let status = unread(site.command(command));
        assert_ne!(status.code(), Some(101), "{command:?}");
        assert!(status.code().is_some(), "{command:?}: {status}");
    }
}
