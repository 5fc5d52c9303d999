//! One gateway process with its data directory.

use std::fs::File;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};

use strait_ports::free_port;
use tempfile::TempDir;

use crate::lab::{self, Lab, Side};
use crate::{eventually, http};

/// Of the log of a gateway that ended by itself so many are said.
const LAST_LINES: usize = 12;

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
    /// Where peers dial: UDP and TCP.
    pub link: SocketAddr,
    /// Where Redis clients connect.
    pub grid: SocketAddr,
    /// Metrics and status.
    pub http: SocketAddr,
    /// Where its log stands, and unless it was told otherwise its data directory.
    home: PathBuf,
    data: PathBuf,
    /// Removes `home` in the end.
    temporary: Option<TempDir>,
    /// What `strait run` gets beside our own environment.
    environment: Vec<(String, String)>,
    /// The gateway, if it is not the binary under test.
    gateway: Option<PathBuf>,
    /// The network namespace it runs in, if not ours.
    namespace: Option<String>,
    process: Option<Child>,
}

impl Site {
    /// Makes a site with ports of its own on loopback.
    pub fn new(name: &str) -> Self {
        Self::make(name, free_port(), [free_port(), free_port()], None)
    }

    /// Makes a site with its log in `home` and its data directory at `data`. Both stay.
    pub fn in_folder(name: &str, home: &Path, data: &Path) -> Self {
        let site = Self {
            name: name.to_owned(),
            link: free_port(),
            grid: free_port(),
            http: free_port(),
            home: home.to_owned(),
            data: data.to_owned(),
            temporary: None,
            environment: Vec::new(),
            gateway: None,
            namespace: None,
            process: None,
        };
        site.init();
        site
    }

    /// Makes a site at one end of a lab's cable.
    pub fn in_lab(lab: &Lab, side: Side) -> Self {
        let at = |ip: &str, port: u16| SocketAddr::new(ip.parse().expect("an address"), port);
        let link = at(side.address(), 7440);
        let local = [at("127.0.0.1", 6390), at("127.0.0.1", 7441)];
        Self::make(side.name(), link, local, Some(lab.namespace(side)))
    }

    fn make(
        name: &str,
        link: SocketAddr,
        [grid, http]: [SocketAddr; 2],
        namespace: Option<String>,
    ) -> Self {
        let home = TempDir::with_prefix(format!("strait-{name}-")).expect("a temporary folder");
        let site = Self {
            name: name.to_owned(),
            link,
            grid,
            http,
            home: home.path().to_owned(),
            data: home.path().join("data"),
            temporary: Some(home),
            environment: Vec::new(),
            gateway: None,
            namespace,
            process: None,
        };
        site.init();
        site
    }

    /// `strait init`: a new data directory under the old name, and on the old ports.
    pub fn init(&self) {
        // Whom the gateway lets in may come as far as its data directory.
        let passable = std::fs::Permissions::from_mode(0o711);
        std::fs::set_permissions(&self.home, passable).expect("permissions");
        // On all addresses, so that the token names none: only who is told where dials.
        let link = SocketAddr::from(([0, 0, 0, 0], self.link.port()));
        let addresses = [
            ("--link", link),
            ("--grid", self.grid),
            ("--http", self.http),
        ];
        let mut init = self.command(&["init", "--site", &self.name]);
        for (option, address) in addresses {
            init.arg(option).arg(address.to_string());
        }
        let made = init.output().expect("the strait binary runs");
        assert!(made.status.success(), "strait init: {made:?}");
    }

    /// Runs the gateway with this in its environment, from its next start on.
    pub fn set_environment(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// Runs another gateway than the binary under test from its next start on, one of the release
    /// before say. Commands stay as they are.
    pub fn set_gateway(&mut self, gateway: Option<PathBuf>) {
        self.gateway = gateway;
    }

    /// The data directory.
    pub fn data(&self) -> PathBuf {
        self.data.clone()
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
        self.token_of(&["pair"])
    }

    /// The token that `strait ARGS` prints.
    pub fn token_of(&self, args: &[&str]) -> String {
        let printed = String::from_utf8(self.must(args).stdout).expect("a token is text");
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
        self.command_of(&binary(), args)
    }

    fn command_of(&self, binary: &Path, args: &[&str]) -> Command {
        let mut command = match &self.namespace {
            None => Command::new(binary),
            Some(namespace) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", namespace]).arg(binary);
                command
            }
        };
        command.arg("--data").arg(self.data()).args(args);
        command
    }

    /// Starts the gateway and waits until it is ready.
    pub fn start(&mut self) {
        self.start_until("ready", "/readyz");
    }

    /// Starts the gateway and waits until it serves, be it that it does not call itself ready.
    pub fn start_serving(&mut self) {
        self.start_until("serving", "/status");
    }

    fn start_until(&mut self, state: &str, path: &str) {
        self.launch();
        let (http, namespace) = (self.http, self.namespace.clone());
        eventually(&format!("{} is {state}", self.name), 30, || {
            self.assert_runs();
            let answer = lab::inside(namespace.as_deref(), || http::get(http, path));
            answer.filter(|(code, _)| *code == 200)
        });
    }

    /// Panics with the log if the gateway has ended.
    pub fn assert_runs(&mut self) {
        if let Some(process) = &mut self.process
            && let Ok(Some(status)) = process.try_wait()
        {
            let log = self.log_text();
            let lines: Vec<_> = log.lines().rev().take(LAST_LINES).collect();
            let last = lines.into_iter().rev().collect::<Vec<_>>().join("\n");
            panic!("{} ended: {status}\n{last}", self.name);
        }
    }

    /// Starts the gateway's process.
    pub fn launch(&mut self) {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log())
            .expect("a log file");
        let gateway = self.gateway.clone().unwrap_or_else(binary);
        let process = self
            .command_of(&gateway, &["run"])
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the strait binary starts");
        self.process = Some(process);
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

    /// Waits until all that was written here is on this site's disk.
    pub fn settle(&self) {
        let mut wait = redis::cmd("WAITAOF");
        let held: [u64; 2] = wait
            .arg(&[1, 0, 0])
            .query(&mut self.redis())
            .expect("the gateway answers");
        assert_eq!(held[0], 1, "it is on disk");
    }

    /// Ends the gateway with SIGKILL, in the middle of whatever it does.
    pub fn kill(&mut self) {
        let mut process = self.process.take().expect("the gateway runs");
        process.kill().expect("it can be killed");
        process.wait().expect("its status can be read");
    }

    /// Sends SIGKILL and returns at once; then [`Site::reap`].
    pub fn kill_now(&self) {
        signal(self.process.as_ref().expect("the gateway runs"), "KILL");
    }

    /// Waits for the end of a gateway that was killed.
    pub fn reap(&mut self) {
        let mut process = self.process.take().expect("the gateway ran");
        process.wait().expect("its status can be read");
    }

    /// Changes a line of `strait.toml`; takes effect at the next start.
    pub fn change_config(&self, line: &str, new: &str) {
        let text = std::fs::read_to_string(self.config()).expect("a configuration");
        assert!(text.contains(line), "no {line} in the configuration");
        std::fs::write(self.config(), text.replacen(line, new, 1)).expect("it can be written");
    }

    /// Whether the process still runs.
    pub fn runs(&mut self) -> bool {
        self.process
            .as_mut()
            .is_some_and(|process| matches!(process.try_wait(), Ok(None)))
    }

    /// A Redis connection to the grid.
    pub fn redis(&self) -> redis::Connection {
        let client = redis::Client::open(format!("redis://{}/", self.grid)).expect("a redis url");
        let connected = lab::inside(self.namespace.as_deref(), || client.get_connection());
        connected.expect("the grid answers")
    }

    /// Sends the gateway a signal, such as `STOP`.
    pub fn signal(&self, name: &str) {
        signal(self.process.as_ref().expect("the gateway runs"), name);
    }

    /// The running gateway's process.
    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("the gateway runs").id()
    }

    /// Stops the process with SIGSTOP and waits until all its threads stand still: no call into the
    /// kernel is under way then.
    pub fn freeze(&self) {
        self.signal("STOP");
        let process = self.process.as_ref().expect("the gateway runs");
        let tasks = format!("/proc/{}/task", process.id());
        eventually(&format!("{} stands still", self.name), 30, || {
            let mut threads = std::fs::read_dir(&tasks).ok()?;
            let still = threads.all(|thread| {
                let status = thread.map(|thread| thread.path().join("status"));
                let status = status.and_then(std::fs::read_to_string);
                status.is_ok_and(|status| status.contains("State:\tT"))
            });
            still.then_some(())
        });
    }

    fn get(&self, path: &str) -> Option<String> {
        let answer = lab::inside(self.namespace.as_deref(), || http::get(self.http, path));
        answer
            .filter(|(code, _)| *code == 200)
            .map(|(_, body)| body)
    }

    /// The site's only link, as `/status` has it.
    pub fn link_status(&self) -> Option<serde_json::Value> {
        Some(self.status()?["links"][0].clone())
    }

    /// `/status` as JSON.
    pub fn status(&self) -> Option<serde_json::Value> {
        let body = self.get("/status")?;
        Some(serde_json::from_str(&body).expect("/status is JSON"))
    }

    /// The digest of the whole state of this site.
    pub fn digest(&self) -> Option<String> {
        self.get("/digest")
    }

    /// A figure of `/metrics`: of the first series of that name, or, if `name` ends with labels, of
    /// the series that has exactly those.
    pub fn metric(&self, name: &str) -> f64 {
        let text = self.get("/metrics").expect("/metrics answers");
        let value = text.lines().find_map(|line| {
            let (labels, value) = line.strip_prefix(name)?.rsplit_once(' ')?;
            (labels.is_empty() || labels.starts_with('{')).then_some(value)
        });
        let value = value.unwrap_or_else(|| panic!("no metric {name}"));
        value.parse().expect("a metric is a number")
    }

    /// What the gateway has logged so far.
    pub fn log_text(&self) -> String {
        std::fs::read_to_string(self.log()).unwrap_or_default()
    }

    /// A path that outlives the data directory.
    pub(crate) fn beside_log(&self, name: &str) -> PathBuf {
        self.home.join(name)
    }

    fn log(&self) -> PathBuf {
        self.home.join("log")
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if std::thread::panicking() && self.temporary.is_some() {
            eprintln!("--- log of {} ---\n{}", self.name, self.log_text());
        }
        if let Some(process) = &mut self.process {
            // Already gone is fine.
            drop(process.kill());
            drop(process.wait());
        }
    }
}

/// The binary under test: of `STRAIT_BINARY`, or beside the folder of the test binaries.
pub fn binary() -> PathBuf {
    if let Some(other) = std::env::var_os("STRAIT_BINARY") {
        return other.into();
    }
    let test = std::env::current_exe().expect("a test knows its path");
    let folders = test.ancestors().skip(1);
    // A test stands in target/PROFILE/deps, a program in target/PROFILE.
    let profile = folders.into_iter().find(|folder| !folder.ends_with("deps"));
    let strait = profile.expect("a folder").join("strait");
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
