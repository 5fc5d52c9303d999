//! Two gateways of this process, east loaded, and a counting relay between them.

use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use strait::demo::sites::Sites;
use strait::demo::wan::WanConfig;
use strait::resp::blocking::{Client, Reply};
use tokio::runtime::Runtime;

/// Load is offered in steps of this length.
const TICK: Duration = Duration::from_millis(10);
/// How often the far site is waited for, 10 s each: a client waits for no reply longer than 20 s.
const SETTLE_ROUNDS: usize = 60;

/// What has crossed the link, both directions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Crossed {
    pub(crate) bytes: u64,
    pub(crate) datagrams: u64,
}

/// Both sites, running, and a client of east.
pub(crate) struct Pair {
    runtime: Runtime,
    sites: Sites,
    client: Client,
    _home: tempfile::TempDir,
}

impl Pair {
    pub(crate) fn start(flush_ms: u64) -> anyhow::Result<Self> {
        Self::with(&format!("flush_ms = {flush_ms}\n"))
    }

    /// `grid` says more about both grids.
    pub(crate) fn with(grid: &str) -> anyhow::Result<Self> {
        let home = tempfile::tempdir()?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()?;
        let wan = WanConfig {
            rate_bits_s: 100_000_000,
            delay: Duration::from_millis(25),
            loss: 0.0,
            queue: Duration::from_millis(200),
            seed: 1,
        };
        let settings = format!("[grid]\nmemory_bytes_max = \"4GiB\"\n{grid}");
        let sites = runtime.block_on(Sites::start(home.path(), wan, &settings))?;
        let client = Client::connect(sites.east.grid_address())?;
        let mut pair = Self {
            runtime,
            sites,
            client,
            _home: home,
        };
        pair.settle()?;
        Ok(pair)
    }

    /// Sends commands at `per_second` (0: as fast as they are taken), `write` making each.
    pub(crate) fn load(
        &mut self,
        events: u64,
        per_second: u64,
        mut write: impl FnMut(&mut Client, u64),
    ) -> anyhow::Result<()> {
        let per_tick = match per_second {
            0 => 1000,
            rate => (rate * TICK.as_millis() as u64 / 1000).max(1),
        };
        let begun = Instant::now();
        for (tick, first) in (0..events).step_by(per_tick as usize).enumerate() {
            (first..events.min(first + per_tick)).for_each(|event| write(&mut self.client, event));
            self.client.flush()?;
            if per_second > 0 {
                std::thread::sleep((TICK * tick as u32).saturating_sub(begun.elapsed()));
            }
        }
        Ok(())
    }

    /// Waits until west holds, fsynced, everything that east was given.
    pub(crate) fn settle(&mut self) -> anyhow::Result<()> {
        self.client.call(&[b"INCR", b"settled"])?;
        for _ in 0..SETTLE_ROUNDS {
            if self.client.call(&[b"WAIT", b"1", b"10000"])? == Reply::Integer(1) {
                return Ok(());
            }
        }
        bail!("west did not take everything in time")
    }

    /// What `work` and settling after it put on the link.
    pub(crate) fn measure(
        &mut self,
        work: impl FnOnce(&mut Self) -> anyhow::Result<()>,
    ) -> anyhow::Result<Crossed> {
        let before = self.crossed();
        work(self)?;
        self.settle()?;
        let after = self.crossed();
        Ok(Crossed {
            bytes: after.bytes - before.bytes,
            datagrams: after.datagrams - before.datagrams,
        })
    }

    fn crossed(&self) -> Crossed {
        let (there, back) = self.sites.wan.figures();
        Crossed {
            bytes: there.bytes + back.bytes,
            datagrams: there.datagrams + back.datagrams,
        }
    }

    /// Pulls the cable, or plugs it in again.
    pub(crate) fn cut(&self, cut: bool) {
        if cut {
            self.sites.wan.cut();
        } else {
            self.sites.wan.heal();
        }
    }

    /// Compares both sites and stops them.
    pub(crate) fn finish(self) -> anyhow::Result<()> {
        let (east, west) = (self.sites.east.digest(), self.sites.west.digest());
        ensure!(east == west, "the sites differ");
        drop(self.client);
        self.runtime
            .block_on(self.sites.stop())
            .context("the gateways did not stop")
    }
}
