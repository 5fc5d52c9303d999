//! The commands that took long: `SLOWLOG`.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::address::ClientAddress;
use super::parse::Args;

/// Redis's default for `slowlog-log-slower-than`: 10 ms.
const SLOWER_THAN_US: i64 = 10_000;
/// Redis's default for `slowlog-max-len`.
const LEN: usize = 128;
/// No more are kept, whatever is asked for: an entry takes up to 5 kB.
const LEN_MAX: usize = 10_000;
/// A command with more arguments than this is timed, though each of them takes no time.
const ARGS_UNTIMED_MAX: usize = 64;
/// What is kept of a command, as in Redis.
const ARGS_KEPT_MAX: usize = 32;
const ARG_BYTES_KEPT_MAX: usize = 128;

/// When a command is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Timed {
    /// It takes longer the more there is.
    Always,
    /// It takes the same little time, so a clock would cost as much: not before the threshold is
    /// lowered.
    IfLow,
    /// What it consists of is.
    Never,
}

/// A command that took long.
#[derive(Clone, Debug)]
pub(super) struct SlowCommand {
    /// Never used twice by a process.
    pub(super) id: u64,
    /// Seconds since 1970.
    pub(super) at_s: u64,
    /// How long it held the grid's lock.
    pub(super) took: Duration,
    /// Its name and arguments, cut short.
    pub(super) args: Vec<Vec<u8>>,
    pub(super) address: ClientAddress,
    pub(super) name: String,
}

/// The newest of them.
#[derive(Debug)]
pub(super) struct Slowlog {
    slower_than_us: AtomicI64,
    len_max: AtomicUsize,
    /// Newest first, and the id of the next.
    list: Mutex<(VecDeque<SlowCommand>, u64)>,
}

impl Default for Slowlog {
    fn default() -> Self {
        Self {
            slower_than_us: AtomicI64::new(SLOWER_THAN_US),
            len_max: AtomicUsize::new(LEN),
            list: Mutex::default(),
        }
    }
}

impl Slowlog {
    /// When a command with so many arguments begins, if it is timed.
    pub(super) fn begin(&self, timed: Timed, args: usize) -> Option<Instant> {
        let slower_than = self.slower_than_us.load(Ordering::Relaxed);
        let timed = match timed {
            Timed::Always => true,
            Timed::IfLow => args > ARGS_UNTIMED_MAX || slower_than < SLOWER_THAN_US,
            Timed::Never => false,
        };
        (timed && slower_than >= 0).then(Instant::now)
    }

    /// Whether one that took so long is to be noted.
    pub(super) fn is_slow(&self, took: Duration) -> bool {
        let slower_than = self.slower_than_us.load(Ordering::Relaxed);
        u64::try_from(slower_than).is_ok_and(|us| took >= Duration::from_micros(us))
    }

    /// Keeps a command, its beginning at least, and forgets the oldest.
    pub(super) fn add(
        &self,
        at_s: u64,
        took: Duration,
        args: Args<'_>,
        (address, name): (ClientAddress, String),
    ) {
        let mut list = self.list.lock();
        let command = SlowCommand {
            id: list.1,
            at_s,
            took,
            args: cut_short(args),
            address,
            name,
        };
        list.1 += 1;
        list.0.push_front(command);
        list.0.truncate(self.len_max());
    }

    /// The newest of them.
    pub(super) fn newest(&self, count: usize) -> Vec<SlowCommand> {
        self.list.lock().0.iter().take(count).cloned().collect()
    }

    pub(super) fn len(&self) -> usize {
        self.list.lock().0.len()
    }

    pub(super) fn clear(&self) {
        self.list.lock().0.clear();
    }

    /// Microseconds from which on a command is kept; less than 0: none is.
    pub(super) fn slower_than_us(&self) -> i64 {
        self.slower_than_us.load(Ordering::Relaxed)
    }

    pub(super) fn set_slower_than_us(&self, us: i64) {
        self.slower_than_us.store(us, Ordering::Relaxed);
    }

    /// How many are kept.
    pub(super) fn len_max(&self) -> usize {
        self.len_max.load(Ordering::Relaxed)
    }

    /// Keeps so many from now on, 10,000 at most.
    pub(super) fn set_len_max(&self, len: usize) {
        self.len_max.store(len.min(LEN_MAX), Ordering::Relaxed);
        self.list.lock().0.truncate(self.len_max());
    }
}

/// What is kept of a command's arguments, in Redis's words.
fn cut_short(args: Args<'_>) -> Vec<Vec<u8>> {
    let whole = args.len() <= ARGS_KEPT_MAX;
    let kept = if whole { args.len() } else { ARGS_KEPT_MAX - 1 };
    let cut = |arg: &[u8]| match arg.split_at_checked(ARG_BYTES_KEPT_MAX) {
        Some((start, rest)) if !rest.is_empty() => {
            let more = format!("... ({} more bytes)", rest.len());
            [start, more.as_bytes()].concat()
        }
        Some(_) | None => arg.to_vec(),
    };
    let mut short: Vec<_> = args.from(0).take(kept).map(cut).collect();
    if !whole {
        let more = args.len() - kept;
        short.push(format!("... ({more} more arguments)").into_bytes());
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(slowlog: &Slowlog, bytes: &[u8], ranges: &[(usize, usize)]) {
        let who = (ClientAddress::Own, String::new());
        slowlog.add(1, Duration::from_millis(20), Args::new(bytes, ranges), who);
    }

    #[test]
    fn the_newest_are_kept_and_cut_short() {
        let slowlog = Slowlog::default();
        let long = [&b"KEYS"[..], &[b'x'; 300]].concat();
        let many = vec![(0, 4); 40];
        for _ in 0..LEN {
            add(&slowlog, &long, &[(0, 4), (4, 304)]);
        }
        add(&slowlog, &long, &many);
        assert_eq!(slowlog.len(), LEN);
        let newest = slowlog.newest(2);
        assert_eq!((newest[0].id, newest[1].id), (LEN as u64, LEN as u64 - 1));
        assert_eq!(newest[0].args.len(), 32);
        assert_eq!(newest[0].args[31], b"... (9 more arguments)");
        assert_eq!(newest[1].args[0], b"KEYS");
        assert_eq!(newest[1].args[1].len(), 128 + "... (172 more bytes)".len());
        slowlog.set_len_max(3);
        assert_eq!(slowlog.len(), 3);
        slowlog.clear();
        assert_eq!(slowlog.len(), 0);
        slowlog.set_len_max(usize::MAX);
        assert_eq!(slowlog.len_max(), LEN_MAX);
    }

    #[test]
    fn what_takes_no_time_is_timed_when_asked_for() {
        let slowlog = Slowlog::default();
        let timed = |slowlog: &Slowlog| {
            let begin = |timed, args| slowlog.begin(timed, args).is_some();
            assert!(!begin(Timed::Never, 65));
            (
                begin(Timed::IfLow, 2),
                begin(Timed::IfLow, 65),
                begin(Timed::Always, 2),
            )
        };
        assert_eq!(timed(&slowlog), (false, true, true));
        assert!(!slowlog.is_slow(Duration::from_micros(9_999)));
        assert!(slowlog.is_slow(Duration::from_millis(10)));
        slowlog.set_slower_than_us(0);
        assert_eq!(timed(&slowlog), (true, true, true));
        assert!(slowlog.is_slow(Duration::ZERO));
        slowlog.set_slower_than_us(-1);
        assert_eq!(timed(&slowlog), (false, false, false));
        assert!(!slowlog.is_slow(Duration::MAX));
    }
}
