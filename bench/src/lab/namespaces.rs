use std::process::Command;

use anyhow::{Context, bail};

pub(crate) const NEAR_ADDRESS: &str = "10.77.0.1";
pub(crate) const FAR_ADDRESS: &str = "10.77.0.2";

/// An end of the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Near,
    Far,
}

impl Side {
    const BOTH: [Self; 2] = [Self::Near, Self::Far];

    const fn name(self) -> &'static str {
        match self {
            Self::Near => "near",
            Self::Far => "far",
        }
    }

    const fn address(self) -> &'static str {
        match self {
            Self::Near => NEAR_ADDRESS,
            Self::Far => FAR_ADDRESS,
        }
    }
}

/// Two network namespaces, removed when dropped.
#[derive(Debug)]
pub(crate) struct Namespaces {
    /// Tells several labs on one machine apart.
    id: u32,
}

impl Namespaces {
    pub(crate) fn create() -> anyhow::Result<Self> {
        let this = Self {
            id: std::process::id(),
        };
        for side in Side::BOTH {
            ip(&["netns", "add", &this.name(side)])
                .context("cannot make a network namespace: the lab needs root and iproute2")?;
        }
        Ok(this)
    }

    /// The namespace's name, for `ip netns exec`.
    pub(crate) fn name(&self, side: Side) -> String {
        format!("strait-lab-{}-{}", side.name(), self.id)
    }

    /// A name for a TUN device while it stands outside, unique and at most 15 long.
    pub(super) fn device(&self, side: Side) -> String {
        format!("sl{}{}", &side.name()[..1], self.id)
    }

    /// Moves a TUN device in and gives it its address.
    pub(super) fn adopt(&self, side: Side, device: &str) -> anyhow::Result<()> {
        let name = self.name(side);
        ip(&["link", "set", device, "netns", &name])?;
        let inside = ["-n", &name];
        let address = format!("{}/24", side.address());
        for command in [
            &["link", "set", "lo", "up"][..],
            &[
                "link",
                "set",
                device,
                "txqueuelen",
                "10000",
                "mtu",
                "1500",
                "up",
            ],
            &["address", "add", &address, "dev", device],
        ] {
            ip(&[&inside[..], command].concat())?;
        }
        // As an operator of a long fat link sets them.
        for setting in [
            "net.ipv4.tcp_rmem=4096 131072 67108864",
            "net.ipv4.tcp_wmem=4096 131072 67108864",
            "net.ipv4.tcp_no_metrics_save=1",
        ] {
            let mut sysctl = self.command(side, "sysctl");
            run(sysctl.args(["-q", "-w", setting]))?;
        }
        Ok(())
    }

    /// A command that runs inside.
    pub(crate) fn command(&self, side: Side, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name(side), program]);
        command
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for side in Side::BOTH {
            // Nothing better can be done with what is left behind.
            drop(ip(&["netns", "del", &self.name(side)]));
        }
    }
}

fn ip(arguments: &[&str]) -> anyhow::Result<()> {
    run(Command::new("ip").args(arguments))
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let output = command.output().context("cannot start a system tool")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{command:?} failed: {}", said.trim());
    }
    Ok(())
}
