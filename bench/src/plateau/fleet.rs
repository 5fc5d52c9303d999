//! Three gateways, each a process of its own, and their clients.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use strait::resp::blocking::{Client, Reply};
use strait_tests::Site;

/// Commands that are sent before their answers are read.
const PIPELINE: u64 = 1000;
/// Every so many counters are counted at the peer too.
const SHARED_EVERY: u64 = 10;
/// So long after all were given one, deadlines have passed, in ms.
const DEADLINE_MS: &str = "1000";
/// Longest wait for gateways to come to anything.
const PATIENCE: Duration = Duration::from_secs(1800);
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// The gateways: `a`, where keys are made and deleted; `b`, its peer; and `c`, a peer of both that comes
/// and goes.
pub(super) struct Fleet {
    a: Site,
    b: Site,
    c: Site,
    c_is_there: bool,
}

impl Fleet {
    pub(super) fn start() -> anyhow::Result<Self> {
        let [mut a, mut b, c] = ["a", "b", "c"].map(Site::new);
        for site in [&a, &b, &c] {
            // What is deleted while one is away is kept for it.
            let unlimited = "memory_bytes_max = \"16GiB\"";
            site.change_config("memory_bytes_max = \"1GiB\"", unlimited);
            // The history fills up to its own bound with whatever crosses: here before the third round.
            let little = "memory_bytes_max = \"32MiB\"";
            site.change_config("memory_bytes_max = \"256MiB\"", little);
        }
        for [dialer, answerer] in [[&a, &b], [&a, &c], [&b, &c]] {
            dialer.pair_with(answerer, Some(answerer.link));
            answerer.pair_with(dialer, None);
        }
        a.start();
        b.start();
        Ok(Self {
            a,
            b,
            c,
            c_is_there: false,
        })
    }

    /// The gateways that are there in every round.
    pub(super) fn present(&self) -> [&Site; 2] {
        [&self.a, &self.b]
    }

    /// Starts or stops the third gateway.
    pub(super) fn attach(&mut self, attach: bool) {
        if attach != self.c_is_there {
            match attach {
                true => self.c.start(),
                false => drop(self.c.stop()),
            }
            self.c_is_there = attach;
        }
    }

    /// Makes `keys` counters at `a`, and counts some of them at `b` too. Every gateway that is there holds
    /// them in the end.
    pub(super) fn make(&self, round: u64, keys: u64) -> anyhow::Result<()> {
        self.send(&self.a, keys, |client, key| {
            client.queue(&[b"INCR", name(round, key).as_bytes()]);
        })?;
        self.send(&self.b, keys / SHARED_EVERY, |client, key| {
            client.queue(&[b"INCR", name(round, SHARED_EVERY * key).as_bytes()]);
        })
    }

    /// Deletes them at `a`.
    pub(super) fn delete(&self, round: u64, keys: u64) -> anyhow::Result<()> {
        self.send(&self.a, keys, |client, key| {
            client.queue(&[b"DEL", name(round, key).as_bytes()]);
        })
    }

    /// Gives them a deadline at `a`.
    pub(super) fn expire(&self, round: u64, keys: u64) -> anyhow::Result<()> {
        self.send(&self.a, keys, |client, key| {
            let deadline = DEADLINE_MS.as_bytes();
            client.queue(&[b"PEXPIRE", name(round, key).as_bytes(), deadline]);
        })
    }

    /// Sends commands to a gateway, `write` making each, and waits until its peers have taken them.
    fn send(
        &self,
        site: &Site,
        commands: u64,
        mut write: impl FnMut(&mut Client, u64),
    ) -> anyhow::Result<()> {
        let mut client = Client::connect(site.grid)?;
        for first in (0..commands).step_by(PIPELINE as usize) {
            (first..commands.min(first + PIPELINE)).for_each(|n| write(&mut client, n));
            client.flush()?;
        }
        let peers = 1 + i64::from(self.c_is_there);
        let wait = peers.to_string();
        let begun = Instant::now();
        // A write of this client, for it to wait for.
        client.call(&[b"INCR", b"settled"])?;
        while begun.elapsed() < PATIENCE {
            if client.call(&[b"WAIT", wait.as_bytes(), b"10000"])? == Reply::Integer(peers) {
                return Ok(());
            }
        }
        bail!("the peers of {} do not take what it is given", site.name)
    }

    /// Waits until no gateway shows any of the counters.
    pub(super) fn wait_until_hidden(&self) -> anyhow::Result<()> {
        // The one that is counted to wait for it stays.
        let shows_none = |site: &Site| site.metric("strait_grid_keys") <= 1.0;
        self.wait("deleted counters are still there", || {
            let c_shows_none = !self.c_is_there || shows_none(&self.c);
            c_shows_none && self.present().into_iter().all(shows_none)
        })
    }

    /// Waits until both gateways that are always there have forgotten so many keys since their start.
    pub(super) fn wait_until_forgotten(&self, keys: u64) -> anyhow::Result<()> {
        let forgotten = |site: &Site| site.metric("strait_grid_forgotten_keys_total") as u64;
        self.wait("deleted counters are not forgotten", || {
            self.present().iter().all(|site| forgotten(site) >= keys)
        })
    }

    fn wait(&self, otherwise: &'static str, is_over: impl Fn() -> bool) -> anyhow::Result<()> {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            if is_over() {
                return Ok(());
            }
            std::thread::sleep(LOOK_EVERY);
        }
        Err(anyhow::anyhow!(otherwise)).context("no patience is left")
    }
}

/// A counter of a day, one of each round.
fn name(round: u64, key: u64) -> String {
    let (month, day) = (1 + round / 28 % 12, 1 + round % 28);
    format!("banner:2026-{month:02}-{day:02}:{key:07}")
}
