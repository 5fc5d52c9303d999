//! A PostgreSQL server of the test's own: Debian's binaries, own port, own directory.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use strait_ports::free_port;
use tempfile::TempDir;

use crate::{eventually, signal};

/// The user that the server runs as when the tests run as root, which it refuses.
pub const POSTGRES_USER: &str = "postgres";

/// Stopped and removed when dropped.
#[derive(Debug)]
pub struct Postgres {
    pub port: u16,
    home: TempDir,
    process: Option<Child>,
}

impl Postgres {
    /// A folder for a server, which does not exist yet.
    pub fn vacant() -> Self {
        let home = TempDir::with_prefix("strait-postgres-").expect("a temporary folder");
        let everyone = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(home.path(), everyone).expect("permissions");
        if is_root() {
            must(Command::new("chown").arg(POSTGRES_USER).arg(home.path()));
        }
        Self {
            port: free_port().port(),
            home,
            process: None,
        }
    }

    /// A new cluster with `settings` added to its configuration; started.
    pub fn start(settings: &str) -> Self {
        Self::start_as(&[], settings)
    }

    /// The same, made with more options of initdb.
    pub fn start_as(options: &[&str], settings: &str) -> Self {
        let mut server = Self::vacant();
        let data = server.data();
        must(
            tool("initdb")
                .args(["-U", "postgres", "-A", "trust", "-N", "-D"])
                .arg(data)
                .args(options),
        );
        server.configure(settings);
        server.run();
        server
    }

    /// Seeds this vacant folder by pg_basebackup from the server at `port` on loopback.
    pub fn seed_from(&self, port: u16, options: &[&str]) {
        let mut backup = tool("pg_basebackup");
        backup.args(["-h", "127.0.0.1", "-U", "postgres", "-c", "fast", "-p"]);
        backup.arg(port.to_string()).args(options);
        must(backup.arg("-D").arg(self.data()));
    }

    /// Adds lines to the configuration.
    pub fn configure(&self, settings: &str) {
        let path = self.data().join("postgresql.conf");
        let mut text = std::fs::read_to_string(&path).expect("a configuration");
        text.push_str("\nfsync = off\nshared_buffers = 32MB\nlisten_addresses = '127.0.0.1'\n");
        text.push_str(&format!("unix_socket_directories = ''\n{settings}\n"));
        std::fs::write(&path, text).expect("the configuration can be written");
    }

    /// Starts the server and waits until it answers.
    pub fn run(&mut self) {
        self.launch();
        eventually("PostgreSQL answers", 60, || self.query("select 1"));
    }

    /// Starts the server.
    pub fn launch(&mut self) {
        let log = std::fs::File::create(self.home.path().join("log")).expect("a log file");
        let mut command = tool("postgres");
        command.arg("-D").arg(self.data());
        command.args(["-p", &self.port.to_string()]);
        let process = command.stdout(Stdio::null()).stderr(log).spawn();
        self.process = Some(process.expect("postgres starts"));
    }

    /// Ends the server cleanly; its folder stays.
    pub fn stop(&mut self) {
        let mut process = self.process.take().expect("it was started");
        // SIGINT: a fast shutdown.
        signal(&process, "INT");
        process.wait().expect("its status can be read");
    }

    /// Gives what somebody else put into this folder to the server's user.
    pub fn adopt(&self) {
        if is_root() {
            let owner = format!("{POSTGRES_USER}:{POSTGRES_USER}");
            must(Command::new("chown").args(["-R", &owner]).arg(self.data()));
        }
    }

    /// Whether the server has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        let process = self.process.as_mut().expect("it was started");
        process
            .try_wait()
            .expect("its status can be read")
            .is_some()
    }

    pub fn data(&self) -> PathBuf {
        self.home.path().join("data")
    }

    /// The answer to a query, as psql prints it bare; `None` if there is none.
    pub fn query(&self, sql: &str) -> Option<String> {
        query(self.port, sql)
    }

    /// What the server logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.home.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- log of PostgreSQL ---\n{}", self.log());
        }
        if let Some(process) = &mut self.process
            && matches!(process.try_wait(), Ok(None))
        {
            // SIGINT: a fast shutdown. Through runuser it reaches the server, too.
            signal(process, "INT");
            drop(process.wait());
        }
    }
}

/// The answer of the server at `port` on loopback.
pub fn query(port: u16, sql: &str) -> Option<String> {
    let mut psql = Command::new("psql");
    psql.args(["-h", "127.0.0.1", "-U", "postgres", "-Atqc", sql, "-p"]);
    let output = psql.arg(port.to_string()).output().expect("psql runs");
    let answer = String::from_utf8(output.stdout).expect("an answer is text");
    output.status.success().then(|| answer.trim().to_owned())
}

/// One of the server's programs, run as a user that it accepts.
pub fn tool(name: &str) -> Command {
    let versions = std::fs::read_dir("/usr/lib/postgresql").expect("PostgreSQL is installed");
    let mut versions: Vec<_> = versions.flatten().map(|entry| entry.path()).collect();
    versions.sort();
    let path = versions
        .last()
        .expect("a version of PostgreSQL")
        .join("bin")
        .join(name);
    let mut command = if is_root() {
        let mut command = Command::new("setpriv");
        let user = format!("--reuid={POSTGRES_USER}");
        command
            .args([&user, "--regid=postgres", "--init-groups"])
            .arg(path);
        command
    } else {
        Command::new(path)
    };
    // Wherever the tests were started from, that user may not be allowed there.
    command.current_dir("/").stdin(Stdio::null());
    command
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn must(command: &mut Command) {
    let output = command.output().expect("the program starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
}

/// A copy of the strait binary where the server's user can run it.
pub fn reachable_binary(into: &Path) -> PathBuf {
    let copy = into.join("strait");
    std::fs::copy(crate::binary(), &copy).expect("the binary can be copied");
    copy
}
