//! A transparent forward: a host that knows nothing of strait, its router with a gateway,
//! and a server that can be reached through the other site alone. In network namespaces.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

use std::net::SocketAddr;
use std::process::{Child, Command, Output, Stdio};

use strait_tests::{Site, eventually};

/// Network namespaces, removed when dropped.
struct Hosts {
    id: u32,
}

impl Hosts {
    /// `client` – `east` – `west`; behind west the server's address.
    fn new() -> Self {
        let hosts = Self {
            id: std::process::id(),
        };
        for name in ["client", "east", "west"] {
            sh(&format!("ip netns add {}", hosts.name(name)));
            hosts.run(name, "ip link set lo up");
        }
        hosts.join("client", "10.1.0.2/24", "east", "10.1.0.1/24");
        hosts.join("east", "10.3.0.1/24", "west", "10.3.0.2/24");
        hosts.run("client", "ip route add default via 10.1.0.1");
        hosts.run("west", "ip address add 10.9.0.5/32 dev lo");
        // As in docs/OPERATING.md.
        hosts.run("east", "ip rule add fwmark 0x57 lookup 57");
        hosts.run("east", "ip route add local default dev lo table 57");
        hosts.run(
            "east",
            "nft -f - <<'NFT'
table ip strait {
  chain divert {
    type filter hook prerouting priority mangle; policy accept;
    ip daddr 10.9.0.0/24 meta l4proto tcp tproxy to 127.0.0.1:7450 meta mark set 0x57 accept
  }
}
NFT",
        );
        hosts
    }

    fn name(&self, host: &str) -> String {
        format!("strait-test-{host}-{}", self.id)
    }

    fn join(&self, left: &str, left_address: &str, right: &str, right_address: &str) {
        let (a, b) = (format!("to-{right}"), format!("to-{left}"));
        let (left_name, right_name) = (self.name(left), self.name(right));
        sh(&format!(
            "ip -n {left_name} link add {a} type veth peer name {b} netns {right_name}"
        ));
        for (host, device, address) in [(left, &a, left_address), (right, &b, right_address)] {
            self.run(host, &format!("ip address add {address} dev {device}"));
            self.run(host, &format!("ip link set {device} up"));
        }
    }

    fn try_run(&self, host: &str, script: &str) -> Output {
        let name = self.name(host);
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &name, "sh", "-c", script]);
        command.output().unwrap()
    }

    fn run(&self, host: &str, script: &str) {
        let output = self.try_run(host, script);
        assert!(
            output.status.success(),
            "{script}: {output:?} (this test needs root)"
        );
    }

    /// Starts a program there.
    fn start(&self, host: &str, command: &Command) -> Running {
        let mut inside = Command::new("ip");
        inside.args(["netns", "exec", &self.name(host)]);
        inside.arg(command.get_program()).args(command.get_args());
        inside.stdout(Stdio::null()).stderr(Stdio::null());
        Running(inside.spawn().unwrap())
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        for name in ["client", "east", "west"] {
            let name = self.name(name);
            drop(Command::new("ip").args(["netns", "del", &name]).output());
        }
    }
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn sh(script: &str) {
    let output = Command::new("sh").args(["-c", script]).output().unwrap();
    assert!(
        output.status.success(),
        "{script}: {output:?} (this test needs root)"
    );
}

#[test]
fn a_host_that_needs_no_change_reaches_what_is_behind_the_peer() {
    let hosts = Hosts::new();
    let (east, west) = (Site::new("east"), Site::new("west"));
    let far = SocketAddr::new("10.3.0.2".parse().unwrap(), west.link.port());
    east.pair_with(&west, Some(far));
    west.pair_with(&east, None);
    east.configure(
        "[[forward]]\nlisten = \"127.0.0.1:7450\"\npeer = \"west\"\ntransparent = true\n",
    );
    let config = std::fs::read_to_string(west.config()).unwrap();
    let allowed = config.replace("allow = []", "allow = [\"10.9.0.0/24:*\"]");
    std::fs::write(west.config(), allowed).unwrap();
    let mut server = Command::new("redis-server");
    server.args([
        "--port",
        "7000",
        "--bind",
        "10.9.0.5",
        "--save",
        "",
        "--protected-mode",
        "no",
    ]);
    let _server = hosts.start("west", &server);
    let ask = "timeout 5 redis-cli -h 10.9.0.5 -p 7000 incr asked";
    let unanswered = hosts.try_run("client", ask);
    assert!(
        !unanswered.status.success(),
        "without gateways nobody answers: {unanswered:?}"
    );

    let _west = hosts.start("west", &west.command(&["run"]));
    let _east = hosts.start("east", &east.command(&["run"]));
    eventually("the client gets an answer", 60, || {
        let answer = hosts.try_run("client", ask);
        (answer.stdout == b"1\n").then_some(())
    });
    assert_eq!(hosts.try_run("client", ask).stdout, b"2\n");
}
