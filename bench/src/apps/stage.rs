//! A lab with what the contenders need at its ends: an SSH server, two gateways.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use tempfile::TempDir;

use crate::lab::{FAR_ADDRESS, LinkArguments, Namespaces, Side, Wan};

/// How long a server may take to start.
const START_MAX: Duration = Duration::from_secs(30);

/// Where the far side's SSH server listens…
pub(super) const SSH_PORT: u16 = 2222;
/// …and where the near side finds it, if a forward leads there.
pub(super) const SSH_THROUGH: u16 = 2223;

/// What something took.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cost {
    pub(super) seconds: f64,
    pub(super) wire_bytes: u64,
    pub(super) lag_ms: Option<f64>,
}

/// A forward from one side's loopback to the other's.
#[derive(Clone, Copy, Debug)]
pub(super) struct Forward {
    pub(super) from: Side,
    pub(super) listen: u16,
    pub(super) target: u16,
}

/// From the near side's `listen` to the far side's `target`.
pub(super) const fn to_far(listen: u16, target: u16) -> Forward {
    let from = Side::Near;
    Forward {
        from,
        listen,
        target,
    }
}

/// From the far side's `listen` to the near side's `target`.
pub(super) const fn to_near(listen: u16, target: u16) -> Forward {
    let from = Side::Far;
    Forward {
        from,
        listen,
        target,
    }
}

/// Everything in it ends when it is dropped.
pub(super) struct Stage {
    servers: Vec<Child>,
    wan: Wan,
    namespaces: Namespaces,
    dir: TempDir,
}

impl Stage {
    pub(super) fn new(link: &LinkArguments) -> anyhow::Result<Self> {
        let namespaces = Namespaces::create()?;
        let wan = Wan::start(&namespaces, link.config()?)?;
        let dir = TempDir::with_prefix("strait-apps-")?;
        // Servers that refuse to run as root must reach what is in it.
        let passable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(dir.path(), passable)?;
        Ok(Self {
            servers: Vec::new(),
            wan,
            namespaces,
            dir,
        })
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A command that runs at one side.
    pub(super) fn command(&self, side: Side, program: impl AsRef<Path>) -> Command {
        let program = program.as_ref().to_string_lossy().into_owned();
        let mut command = self.namespaces.command(side, &program);
        command.current_dir(self.dir.path()).stdin(Stdio::null());
        command
    }

    /// Runs a shell script at one side, in the stage's folder; its output.
    pub(super) fn shell(&self, side: Side, script: &str) -> anyhow::Result<String> {
        let mut command = self.command(side, "bash");
        succeed(command.args(["-c", &format!("set -euo pipefail; {script}")]))
    }

    /// Starts a server at one side.
    pub(super) fn serve(&mut self, mut command: Command) -> anyhow::Result<()> {
        let mut log = fs::File::options();
        let log = log
            .create(true)
            .append(true)
            .open(self.path("servers.log"))?;
        let command = command.stdout(log.try_clone()?).stderr(log);
        self.servers.push(command.spawn().context("a server")?);
        Ok(())
    }

    /// Waits until something listens on a TCP port at one side.
    pub(super) fn wait_for_port(&self, side: Side, port: u16) -> anyhow::Result<()> {
        self.until(|| {
            let probe = format!("exec 3<>/dev/tcp/127.0.0.1/{port}");
            self.shell(side, &probe).is_ok()
        })
        .with_context(|| format!("nobody listens on port {port}"))
    }

    /// Waits until `check` is true.
    pub(super) fn until(&self, mut check: impl FnMut() -> bool) -> anyhow::Result<()> {
        let began = Instant::now();
        while !check() {
            if began.elapsed() > START_MAX {
                let log = fs::read_to_string(self.path("servers.log")).unwrap_or_default();
                bail!("not within {START_MAX:?}; the servers said:\n{log}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// What `work` costs in time and on the wire.
    pub(super) fn measure(
        &self,
        work: impl FnOnce() -> anyhow::Result<()>,
    ) -> anyhow::Result<Cost> {
        let wire = || {
            let sides = [Side::Near, Side::Far].into_iter();
            sides
                .map(|side| self.wan.figures(side).offered_bytes)
                .sum::<u64>()
        };
        let (before, began) = (wire(), Instant::now());
        work()?;
        let seconds = began.elapsed().as_secs_f64();
        Ok(Cost {
            seconds,
            wire_bytes: wire() - before,
            lag_ms: None,
        })
    }

    /// An SSH server at the far side; afterwards `ssh -F ssh.conf far` at the near side reaches it,
    /// and `ssh -F ssh.conf through` over a forward from [`SSH_THROUGH`] to [`SSH_PORT`].
    pub(super) fn serve_ssh(&mut self) -> anyhow::Result<()> {
        let dir = self.dir.path().display().to_string();
        succeed(
            Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                .arg(self.path("key")),
        )?;
        fs::copy(self.path("key.pub"), self.path("authorized"))?;
        fs::create_dir_all("/run/sshd")?;
        let server = format!(
            "Port {SSH_PORT}\nHostKey {dir}/key\nAuthorizedKeysFile {dir}/authorized\n\
             StrictModes no\nPermitRootLogin yes\nUsePAM no\nPidFile none\n\
             Subsystem sftp internal-sftp\n"
        );
        fs::write(self.path("sshd.conf"), server)?;
        let client = format!(
            "Host far\nHostName {FAR_ADDRESS}\nPort {SSH_PORT}\n\
             Host through\nHostName 127.0.0.1\nPort {SSH_THROUGH}\n\
             Host *\nUser root\nIdentityFile {dir}/key\n\
             StrictHostKeyChecking no\nUserKnownHostsFile /dev/null\nLogLevel ERROR\n"
        );
        fs::write(self.path("ssh.conf"), client)?;
        let mut sshd = self.command(Side::Far, "/usr/sbin/sshd");
        sshd.arg("-D")
            .arg("-e")
            .arg("-f")
            .arg(self.path("sshd.conf"));
        self.serve(sshd)?;
        self.wait_for_port(Side::Far, SSH_PORT)
    }

    /// The same forwards as an SSH tunnel with `options`.
    pub(super) fn serve_tunnel(
        &mut self,
        options: &str,
        forwards: &[Forward],
    ) -> anyhow::Result<()> {
        let mut tunnel = self.command(Side::Near, "ssh");
        tunnel.args(options.split_whitespace());
        tunnel.args(["-F", "ssh.conf", "-N"]);
        for Forward {
            from,
            listen,
            target,
        } in forwards
        {
            let direction = match from {
                Side::Near => "-L",
                Side::Far => "-R",
            };
            tunnel.args([direction, &format!("{listen}:127.0.0.1:{target}")]);
        }
        tunnel.arg("far");
        self.serve(tunnel)
    }

    /// Two gateways, `east` near and `west` far, with the link up.
    pub(super) fn serve_strait(&mut self, forwards: &[Forward]) -> anyhow::Result<()> {
        let strait = strait()?;
        let sites = [(Side::Near, "east", "west"), (Side::Far, "west", "east")];
        for (side, site, _) in sites {
            let mut init = self.command(side, &strait);
            init.arg("--data").arg(self.path(site));
            succeed(init.args(["init", "--site", site]))?;
        }
        for (side, site, peer) in sites {
            let mut token = self.command(side, &strait);
            let token = succeed(token.arg("--data").arg(self.path(peer)).arg("pair"))?;
            let token = token.lines().find(|line| line.starts_with("strait1:"));
            let mut pair = self.command(side, &strait);
            pair.arg("--data").arg(self.path(site));
            pair.args(["pair", token.context("no token")?]);
            if side == Side::Near {
                let far = SocketAddr::from((FAR_ADDRESS.parse::<Ipv4Addr>()?, 7440));
                pair.args(["--address", &far.to_string()]);
            }
            succeed(&mut pair)?;
            let config = self.path(site).join("strait.toml");
            let mut text = fs::read_to_string(&config)?;
            text = text.replace("allow = []", "allow = [\"127.0.0.1:*\"]");
            for forward in forwards.iter().filter(|forward| forward.from == side) {
                let Forward { listen, target, .. } = forward;
                text += &format!(
                    "[[forward]]\nlisten = \"127.0.0.1:{listen}\"\npeer = \"{peer}\"\n\
                     target = \"127.0.0.1:{target}\"\n"
                );
            }
            fs::write(&config, text)?;
            let mut run = self.command(side, &strait);
            run.arg("--data").arg(self.path(site)).arg("run");
            self.serve(run)?;
        }
        let ls = format!("{} --data east ls west:", strait.display());
        self.until(|| self.shell(Side::Near, &ls).is_ok())
            .context("the link does not come up")
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        for server in &mut self.servers {
            // Already gone is fine.
            drop(server.kill());
            drop(server.wait());
        }
    }
}

/// The gateway's binary, beside this one.
pub(super) fn strait() -> anyhow::Result<PathBuf> {
    let strait = std::env::current_exe()?.with_file_name("strait");
    ensure!(
        strait.exists(),
        "build the gateway first: cargo build --release"
    );
    Ok(strait)
}

pub(super) fn succeed(command: &mut Command) -> anyhow::Result<String> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?} failed: {said}");
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
