//! What the commands that move many files share: their options, and doing several at once.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::Globals;
use crate::bulk::control::client::Gateway;

/// Most files that one command moves at once; the gateway takes 64 for a site.
const JOBS_MAX: u16 = 64;

#[derive(Clone, Debug, clap::Args)]
pub(super) struct Options {
    /// How long to wait for a link that is down
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    wait: u64,
    /// How many files to move at once
    #[arg(long, short, value_name = "N", default_value_t = 16)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=i64::from(JOBS_MAX)))]
    jobs: u16,
    /// Show nothing but errors
    #[arg(long, short)]
    pub(super) quiet: bool,
    /// Print one line of JSON per file on standard output when it is done
    #[arg(long)]
    pub(super) json: bool,
}

impl Options {
    pub(super) fn gateway(&self, globals: &Globals) -> Gateway {
        Gateway::new(&globals.layout().socket(), Duration::from_secs(self.wait))
    }

    /// Does `work` for every item, several at a time, begun in order. Returns how many failed;
    /// `work` has said why.
    pub(super) fn for_each<T: Sync>(&self, items: &[T], work: impl Fn(&T) -> bool + Sync) -> usize {
        let (next, failed) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let worker = || {
            while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
                if !work(item) {
                    failed.fetch_add(1, Ordering::Relaxed);
                }
            }
        };
        let jobs = usize::from(self.jobs).min(items.len());
        std::thread::scope(|scope| {
            for _ in 1..jobs {
                scope.spawn(worker);
            }
            worker();
        });
        failed.into_inner()
    }
}
