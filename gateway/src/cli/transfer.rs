//! What the commands that move many files share: their options, and doing several at once.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::Globals;
use crate::bulk::Limit;
use crate::bulk::control::client::Gateway;
use crate::config::Rate;

/// Most files that one command moves at once; the gateway takes as many for a site.
const JOBS_MAX: u16 = 192;
/// How many large ones, if not said otherwise: enough to fill the link.
const JOBS_LARGE: u16 = 16;
/// Below this on average, files are small: what counts is how many round trips go on at once.
const SMALL_BYTES: u64 = 256 << 10;

#[derive(Clone, Debug, clap::Args)]
pub(super) struct Options {
    /// How long to wait for a link that is down
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    wait: u64,
    /// How many files to move at once [default: 16, or 192 small ones]
    #[arg(long, short, value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=i64::from(JOBS_MAX)))]
    jobs: Option<u16>,
    /// Most that all files together may take of the link, compressed and deduplicated, like 20Mbit/s
    #[arg(long, value_name = "RATE")]
    bwlimit: Option<Rate>,
    /// Show nothing but errors
    #[arg(long, short)]
    pub(super) quiet: bool,
    /// Print one line of JSON per file on standard output when it is done
    #[arg(long)]
    pub(super) json: bool,
}

impl Options {
    /// How long to wait for a link that is down.
    pub(super) fn wait(&self) -> Duration {
        Duration::from_secs(self.wait)
    }

    pub(super) fn gateway(&self, globals: &Globals) -> Gateway {
        let limit = self.bwlimit.map(|Rate(bits_s)| Limit {
            command: rand::random(),
            bits_s,
        });
        Gateway::new(&globals.layout().socket(), self.wait()).with_limit(limit)
    }

    /// Does `work` for every item, several at a time, begun in order. Returns how many failed;
    /// `work` has said why.
    /// `length` is that of all together, if it is known.
    pub(super) fn for_each<T: Sync>(
        &self,
        items: &[T],
        length: Option<u64>,
        work: impl Fn(&T) -> bool + Sync,
    ) -> usize {
        let (next, failed) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let worker = || {
            while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
                if !work(item) {
                    failed.fetch_add(1, Ordering::Relaxed);
                }
            }
        };
        let small = length.is_some_and(|length| length / SMALL_BYTES < items.len() as u64);
        let default = if small { JOBS_MAX } else { JOBS_LARGE };
        let jobs = usize::from(self.jobs.unwrap_or(default)).min(items.len());
        std::thread::scope(|scope| {
            for _ in 1..jobs {
                scope.spawn(worker);
            }
            worker();
        });
        failed.into_inner()
    }
}
