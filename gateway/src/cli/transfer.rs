//! What the commands that move many files share: their options, and doing several at once.

use std::io::{self, Read};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::Globals;
use crate::bulk::control::client::Gateway;
use crate::config::Rate;

/// Most files that one command moves at once; the gateway takes as many for a site.
const JOBS_MAX: u16 = 128;
/// How many large ones, if not said otherwise: enough to fill the link.
const JOBS_LARGE: u16 = 16;
/// Below this on average, files are small: what counts is how many round trips go on at once.
const SMALL_BYTES: u64 = 256 << 10;
/// What a braked reader takes at a time.
const PIECE_BYTES: usize = 16 << 10;

#[derive(Clone, Debug, clap::Args)]
pub(super) struct Options {
    /// How long to wait for a link that is down
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    wait: u64,
    /// How many files to move at once [default: 16, or 128 small ones]
    #[arg(long, short, value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=i64::from(JOBS_MAX)))]
    jobs: Option<u16>,
    /// Most bytes of files to move in a second, like 20Mbit/s
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
        Gateway::new(&globals.layout().socket(), self.wait())
    }

    /// What holds the command back to `--bwlimit`, shared by all its files.
    pub(super) fn brake(&self) -> Brake {
        Brake {
            bytes_s: self.bwlimit.map(|Rate(bits_s)| bits_s as f64 / 8.0),
            free_at: Mutex::new(Instant::now()),
        }
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

/// Waits so that no more than so many bytes go by in a second.
#[derive(Debug)]
pub(super) struct Brake {
    bytes_s: Option<f64>,
    /// When what has gone by so far has had its time.
    free_at: Mutex<Instant>,
}

impl Brake {
    /// So many bytes are about to go by. Blocks.
    pub(super) fn wait_for(&self, bytes: usize) {
        let Some(bytes_s) = self.bytes_s else {
            return;
        };
        let now = Instant::now();
        let turn = {
            let mut free_at = self.free_at.lock();
            let turn = (*free_at).max(now);
            *free_at = turn + Duration::from_secs_f64(bytes as f64 / bytes_s);
            turn
        };
        std::thread::sleep(turn.saturating_duration_since(now));
    }
}

/// Reads at the brake's pace.
#[derive(Debug)]
pub(super) struct Braked<'a, R> {
    pub(super) from: R,
    pub(super) brake: &'a Brake,
}

impl<R: Read> Read for Braked<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // In pieces that even a slow pace lets through several times a second.
        let some = buffer.len().min(PIECE_BYTES);
        let count = self.from.read(&mut buffer[..some])?;
        self.brake.wait_for(count);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_brake_holds_all_files_together_to_the_rate() {
        let brake = Brake {
            bytes_s: Some(1e6),
            free_at: Mutex::new(Instant::now()),
        };
        let began = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let from = &[7; 100_000][..];
                    let mut braked = Braked {
                        from,
                        brake: &brake,
                    };
                    io::copy(&mut braked, &mut io::sink()).unwrap();
                });
            }
        });
        // 400 kB at 1 MB/s; the last piece need not be waited for.
        assert!(began.elapsed() > Duration::from_millis(300));
    }
}
