//! The servers under test.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

/// How a server is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Writes are answered from memory.
    Memory,
    /// Writes are fsynced before their reply.
    Disk,
    /// As in memory, and everything goes to a peer too.
    WithPeer,
}

/// A server under test, as a process of its own.
pub(super) struct Subject {
    process: Child,
    /// Of Redis, its replica.
    _peer: Option<Box<Subject>>,
    pub(super) address: SocketAddr,
    _dir: Option<tempfile::TempDir>,
}

impl Subject {
    pub(super) fn strait(kind: Kind) -> Result<Self> {
        Self::strait_in(kind, None)
    }

    /// With its journal in `dir`, where it stays.
    pub(super) fn strait_in(kind: Kind, dir: Option<&Path>) -> Result<Self> {
        let mut process = Command::new(std::env::current_exe()?)
            .args(["grid", "--serve"])
            .args(match kind {
                Kind::Memory => None,
                Kind::Disk => Some("--disk"),
                Kind::WithPeer => Some("--with-peer"),
            })
            .args(
                dir.map(|dir| [OsStr::new("--dir"), dir.as_os_str()])
                    .into_iter()
                    .flatten(),
            )
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        let stdout = process.stdout.take().context("no standard output")?;
        BufReader::new(stdout).read_line(&mut line)?;
        let address = line
            .trim()
            .parse()
            .context("the grid did not say where it listens")?;
        Ok(Self {
            process,
            _peer: None,
            address,
            _dir: None,
        })
    }

    pub(super) fn redis(kind: Kind) -> Result<Self> {
        let mut master = Self::redis_server(kind, &[])?;
        if kind == Kind::WithPeer {
            let port = master.address.port().to_string();
            let replica = Self::redis_server(kind, &["--replicaof", "127.0.0.1", &port])?;
            master.wait_for("state=online")?;
            master._peer = Some(Box::new(replica));
        }
        Ok(master)
    }

    /// Waits until `INFO replication` says `what`.
    fn wait_for(&self, what: &str) -> Result<()> {
        for _ in 0..200 {
            let mut stream = TcpStream::connect(self.address)?;
            stream.write_all(b"INFO replication\r\nQUIT\r\n")?;
            let mut text = String::new();
            stream.read_to_string(&mut text)?;
            if text.contains(what) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        bail!("the replica does not attach")
    }

    fn redis_server(kind: Kind, more: &[&str]) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let port = std::net::TcpListener::bind("127.0.0.1:0")?
            .local_addr()?
            .port();
        let process = Command::new("redis-server")
            .args([
                "--port",
                &port.to_string(),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
            ])
            .args(["--repl-diskless-sync-delay", "0"])
            .args([
                "--appendonly",
                if kind == Kind::Disk { "yes" } else { "no" },
            ])
            .args(["--appendfsync", "always", "--dir"])
            .arg(dir.path())
            .args(more)
            .stdout(Stdio::null())
            .spawn()
            .context("cannot run redis-server: install it")?;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let subject = Self {
            process,
            _peer: None,
            address,
            _dir: Some(dir),
        };
        for _ in 0..100 {
            if TcpStream::connect(address).is_ok() {
                return Ok(subject);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        bail!("redis-server does not listen")
    }

    pub(super) fn resident_bytes(&self) -> Result<u64> {
        let path = format!("/proc/{}/status", self.process.id());
        let status = std::fs::read_to_string(path)?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().nth(1));
        Ok(kib.context("no VmRSS")?.parse::<u64>()? * 1024)
    }

    /// Adds to `keys` counters with names like those of a seed: `banner:0000001:impressions`.
    pub(super) fn load_counters(&self, keys: u64) -> Result<()> {
        let mut stream = TcpStream::connect(self.address)?;
        let mut reply = vec![0; 64 << 10];
        for first in (0..keys).step_by(1000) {
            let mut commands = Vec::new();
            let last = keys.min(first + 1000);
            for key in first..last {
                // Values beyond Redis's shared small integers, as busy counters have them.
                let name = format!("banner:{key:07}:impressions");
                let by = 1_000_000 + key;
                write!(
                    commands,
                    "*3\r\n$6\r\nINCRBY\r\n${}\r\n{name}\r\n${}\r\n{by}\r\n",
                    name.len(),
                    by.to_string().len()
                )?;
            }
            stream.write_all(&commands)?;
            let mut answers = 0;
            while answers < last - first {
                let read = stream.read(&mut reply)?;
                ensure!(read > 0, "the server closed the connection");
                answers += reply[..read].iter().filter(|byte| **byte == b'\n').count() as u64;
            }
        }
        Ok(())
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        // It may have ended already; then there is nothing to reap twice.
        self.process.kill().ok();
        self.process.wait().ok();
    }
}
