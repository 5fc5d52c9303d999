//! One gateway process with its data directory.

use std::fs::File;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};

use tempfile::TempDir;

use crate::{eventually, http};

/// How a gateway ended.
#[derive(Debug)]
pub struct Exit {
    pub status: ExitStatus,
}

/// A site: a data directory made by `strait init`, and its gateway when started.
/// The process is killed and the directory removed when this is dropped.
#[derive(Debug)]
pub struct Site {
    pub name: String,
    /// Where peers dial: UDP.
    pub link: SocketAddr,
    /// Where Redis clients connect.
    pub grid: SocketAddr,
    /// Metrics and status.
    pub http: SocketAddr,
    home: TempDir,
    process: Option<Child>,
}

impl Site {
    /// Makes a site with ports of its own on loopback.
    pub fn new(name: &str) -> Self {
        let site = Self {
            name: name.to_owned(),
            link: free_udp_port(),
            grid: free_tcp_port(),
            http: free_tcp_port(),
            home: TempDir::with_prefix(format!("strait-{name}-")).expect("a temporary folder"),
            process: None,
        };
        // Whom the gateway lets in may come as far as its data directory.
        let passable = std::fs::Permissions::from_mode(0o711);
        std::fs::set_permissions(site.home.path(), passable).expect("permissions");
        // On all addresses, so that the token names none: only who is told where dials.
        let link = SocketAddr::from(([0, 0, 0, 0], site.link.port()));
        let (grid, http) = (site.grid, site.http);
        let addresses = [("--link", link), ("--grid", grid), ("--http", http)];
        let mut init = site.command(&["init", "--site", name]);
        for (option, address) in addresses {
            init.arg(option).arg(address.to_string());
        }
        assert!(
            init.output()
                .expect("the strait binary runs")
                .status
                .success()
        );
        site
    }

    /// The data directory.
    pub fn data(&self) -> PathBuf {
        self.home.path().join("data")
    }

    /// The path of `strait.toml`.
    pub fn config(&self) -> PathBuf {
        self.data().join("strait.toml")
    }

    /// Adds sections to the end of `strait.toml`; the next start reads them.
    pub fn configure(&self, sections: &str) {
        let mut config = std::fs::read_to_string(self.config()).expect("a configuration");
        config.push_str(sections);
        std::fs::write(self.config(), config).expect("the configuration can be written");
    }

    /// Trusts `peer`, and dials it at `address` if one is given.
    pub fn pair_with(&self, peer: &Self, address: Option<SocketAddr>) {
        let token = peer.token();
        match address {
            Some(address) => self.must(&["pair", &token, "--address", &address.to_string()]),
            None => self.must(&["pair", &token]),
        };
    }

    /// Trusts the new key of a peer that was rebuilt.
    pub fn replace_pair(&self, peer: &Self) {
        self.must(&["pair", &peer.token(), "--replace"]);
    }

    fn token(&self) -> String {
        let printed = String::from_utf8(self.must(&["pair"]).stdout).expect("a token is text");
        let token = printed.lines().find(|line| line.starts_with("strait1:"));
        token.expect("`strait pair` prints a token").to_owned()
    }

    /// Runs `strait ARGS` for this site.
    pub fn strait(&self, args: &[&str]) -> Output {
        self.command(args)
            .stdin(Stdio::null())
            .output()
            .expect("the strait binary runs")
    }

    /// Runs `strait ARGS` for this site; it must succeed.
    pub fn must(&self, args: &[&str]) -> Output {
        let output = self.strait(args);
        assert!(
            output.status.success(),
            "strait {args:?} failed: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        output
    }

    /// A command of the strait binary with this site's data directory.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command.arg("--data").arg(self.data()).args(args);
        command
    }

    /// Starts the gateway and waits until it is ready.
    pub fn start(&mut self) {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log())
            .expect("a log file");
        let process = self
            .command(&["run"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the strait binary starts");
        self.process = Some(process);
        let http = self.http;
        eventually(&format!("{} is ready", self.name), 30, || {
            if let Some(process) = &mut self.process
                && let Ok(Some(status)) = process.try_wait()
            {
                panic!(
                    "{} ended at start: {status}\n{}",
                    self.name,
                    self.log_text()
                );
            }
            http::get(http, "/readyz").filter(|(code, _)| *code == 200)
        });
    }

    /// Asks the gateway to end (SIGTERM) and waits for it.
    pub fn stop(&mut self) -> Exit {
        let mut process = self.process.take().expect("the gateway runs");
        signal(&process, "TERM");
        let status = eventually(&format!("{} stops", self.name), 30, || {
            process.try_wait().expect("its status can be read")
        });
        Exit { status }
    }

    /// Ends the gateway with SIGKILL, in the middle of whatever it does.
    pub fn kill(&mut self) {
        let mut process = self.process.take().expect("the gateway runs");
        process.kill().expect("it can be killed");
        process.wait().expect("its status can be read");
    }

    /// Whether the process still runs.
    pub fn runs(&mut self) -> bool {
        self.process
            .as_mut()
            .is_some_and(|process| matches!(process.try_wait(), Ok(None)))
    }

    /// A Redis connection to the grid.
    pub fn redis(&self) -> redis::Connection {
        redis::Client::open(format!("redis://{}/", self.grid))
            .expect("a redis url")
            .get_connection()
            .expect("the grid answers")
    }

    /// `/status` as JSON.
    pub fn status(&self) -> Option<serde_json::Value> {
        let (code, body) = http::get(self.http, "/status")?;
        (code == 200).then(|| serde_json::from_str(&body).expect("/status is JSON"))
    }

    /// The digest of the whole state of this site.
    pub fn digest(&self) -> Option<String> {
        let (code, body) = http::get(self.http, "/digest")?;
        (code == 200).then_some(body)
    }

    /// What the gateway has logged so far.
    pub fn log_text(&self) -> String {
        std::fs::read_to_string(self.log()).unwrap_or_default()
    }

    fn log(&self) -> PathBuf {
        self.home.path().join("log")
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- log of {} ---\n{}", self.name, self.log_text());
        }
        if let Some(process) = &mut self.process {
            // Already gone is fine.
            drop(process.kill());
            drop(process.wait());
        }
    }
}

/// The binary under test stands beside the folder of the test binaries.
pub(crate) fn binary() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its path");
    let strait = test
        .parent()
        .and_then(Path::parent)
        .expect("tests stand in target/PROFILE/deps")
        .join("strait");
    assert!(
        strait.exists(),
        "build the gateway first: cargo build -p strait"
    );
    strait
}

/// Sends a signal, such as `TERM`, to a process that a test started.
pub fn signal(process: &Child, name: &str) {
    let status = Command::new("kill")
        .arg(format!("-{name}"))
        .arg(process.id().to_string())
        .status()
        .expect("kill runs");
    assert!(status.success(), "kill -{name} works");
}

/// A TCP port on loopback that nobody listens on.
pub fn free_tcp_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a free port")
}

fn free_udp_port() -> SocketAddr {
    UdpSocket::bind("127.0.0.1:0")
        .and_then(|socket| socket.local_addr())
        .expect("a free port")
}
