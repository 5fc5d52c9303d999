//! Two sites in network namespaces of their own, with a cable between them that the tests can
//! mistreat. Needs root.

use std::fs::File;
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::geteuid;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// An end of the cable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    East,
    West,
}

impl Side {
    const BOTH: [Self; 2] = [Self::East, Self::West];

    /// Its address on the cable.
    pub fn address(self) -> &'static str {
        match self {
            Self::East => "10.78.0.1",
            Self::West => "10.78.0.2",
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::East => "east",
            Self::West => "west",
        }
    }
}

/// Two namespaces and the cable. Removed when dropped.
#[derive(Debug)]
pub struct Lab {
    id: String,
}

impl Lab {
    /// `None`, and it says so, without root.
    pub fn new() -> Option<Self> {
        static LABS: AtomicU32 = AtomicU32::new(0);
        if !geteuid().is_root() {
            eprintln!("SKIPPED: network namespaces need root");
            return None;
        }
        let n = LABS.fetch_add(1, Ordering::Relaxed);
        let lab = Self {
            id: format!("{}-{n}", std::process::id()),
        };
        for side in Side::BOTH {
            run("ip", &["netns", "add", &lab.namespace(side)]);
        }
        let [east, west] = Side::BOTH.map(|side| lab.namespace(side));
        let cable = ["link", "add", "wan", "netns", &east, "type", "veth"];
        run(
            "ip",
            &[&cable[..], &["peer", "name", "wan", "netns", &west]].concat(),
        );
        for side in Side::BOTH {
            let address = format!("{}/24", side.address());
            lab.ip(side, &["address", "add", &address, "dev", "wan"]);
            // Packets one by one, as on a real cable: a rule is to see their own lengths.
            lab.ip(side, &["link", "set", "wan", "gso_max_segs", "1", "up"]);
            lab.ip(side, &["link", "set", "lo", "up"]);
            let rules = "add table inet wan; \
                         add chain inet wan in { type filter hook input priority 0; }";
            lab.nft(side, rules);
        }
        Some(lab)
    }

    /// The namespace's name.
    pub fn namespace(&self, side: Side) -> String {
        format!("strait-e2e-{}-{}", self.id, side.name())
    }

    /// Drops what comes in from the cable and matches, such as `meta l4proto udp`.
    pub fn drop_incoming(&self, side: Side, what: &str) {
        let rule = format!("add rule inet wan in iifname wan {what} drop");
        self.nft(side, &rule);
    }

    /// Lets no more UDP than this go out to the cable, such as `64kbit`; the rest waits.
    pub fn shape_udp(&self, side: Side, rate: &str) {
        let tc = |args: &str| {
            let namespace = self.namespace(side);
            let args = args.split(' ');
            let all: Vec<_> = ["netns", "exec", &namespace, "tc"]
                .into_iter()
                .chain(args)
                .collect();
            run("ip", &all);
        };
        tc("qdisc add dev wan root handle 1: htb");
        tc(&format!(
            "class add dev wan parent 1: classid 1:1 htb rate {rate}"
        ));
        tc("qdisc add dev wan parent 1:1 pfifo limit 8");
        tc("filter add dev wan parent 1: protocol ip u32 match ip protocol 17 0xff flowid 1:1");
    }

    /// Lets everything through again.
    pub fn heal(&self) {
        for side in Side::BOTH {
            self.nft(side, "flush chain inet wan in");
        }
    }

    /// `ip ARGS` on one side.
    pub fn ip(&self, side: Side, args: &[&str]) {
        let namespace = self.namespace(side);
        run("ip", &[&["-n", &namespace][..], args].concat());
    }

    fn nft(&self, side: Side, command: &str) {
        let namespace = self.namespace(side);
        run("ip", &["netns", "exec", &namespace, "nft", command]);
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for side in Side::BOTH {
            let deleted = Command::new("ip")
                .args(["netns", "del", &self.namespace(side)])
                .status();
            // Nothing better can be done with what is left behind.
            drop(deleted);
        }
    }
}

fn run(program: &str, args: &[&str]) {
    let output = Command::new(program).args(args).output();
    let output = output.unwrap_or_else(|error| panic!("{program} runs: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?}: {said}");
}

/// Does something in a network namespace: sockets that it opens stay there.
pub(crate) fn inside<T: Send>(namespace: Option<&str>, work: impl FnOnce() -> T + Send) -> T {
    let Some(namespace) = namespace else {
        return work();
    };
    let path = format!("/run/netns/{namespace}");
    std::thread::scope(|scope| {
        let moved = scope.spawn(|| {
            let file = File::open(path).expect("the namespace exists");
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
                .expect("root may enter it");
            work()
        });
        moved
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
