//! How much of one feed is under way at a time: no more than the link, and the peer's disk, take in a
//! second or so. What another feed has to say then waits no longer than that behind it, however long
//! the backlog and however slow the link.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use strait_transport::{BATCH_BYTES_MAX, Seq};

/// How much longer an acknowledgement may take than it has to. As in LEDBAT (RFC 6817), what makes it
/// longer is taken for a queue.
const QUEUE_TIME: Duration = Duration::from_secs(1);
/// For so long the fastest acknowledgement is what it has to take: links and disks change.
const BASE_AGE_MAX: Duration = Duration::from_secs(300);
const WINDOW_BYTES_MIN: usize = BATCH_BYTES_MAX;
const WINDOW_BYTES_START: usize = 2 * BATCH_BYTES_MAX;
/// More than the transport takes of a class.
const WINDOW_BYTES_MAX: usize = 32 * BATCH_BYTES_MAX;

#[derive(Debug)]
pub(super) struct Pace {
    under_way: VecDeque<Sent>,
    bytes: usize,
    window_bytes: usize,
    /// The fastest acknowledgement of late, and when this began to count.
    base: Option<(Duration, Instant)>,
}

#[derive(Debug)]
struct Sent {
    seq: Seq,
    bytes: usize,
    at: Instant,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            under_way: VecDeque::new(),
            bytes: 0,
            window_bytes: WINDOW_BYTES_START,
            base: None,
        }
    }
}

impl Pace {
    /// Whether a batch of so many bytes may go now. Otherwise when the oldest is acknowledged.
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        self.under_way.is_empty() || self.bytes + bytes <= self.window_bytes
    }

    pub(super) fn sent(&mut self, seq: Seq, bytes: usize, at: Instant) {
        self.bytes += bytes;
        self.under_way.push_back(Sent { seq, bytes, at });
    }

    /// The batch that was sent first of those under way.
    pub(super) fn oldest(&self) -> Option<Seq> {
        self.under_way.front().map(|sent| sent.seq)
    }

    /// The oldest is acknowledged, nobody knows since when.
    pub(super) fn forget_oldest(&mut self) {
        self.take_oldest();
    }

    /// The oldest was acknowledged just now, while the next batch waited for that.
    pub(super) fn oldest_acked(&mut self, now: Instant) {
        let Some(sent) = self.take_oldest() else {
            return;
        };
        let took = now.saturating_duration_since(sent.at);
        if let Some((_, since)) = self.base
            && now.saturating_duration_since(since) > BASE_AGE_MAX
        {
            // With less under way it shows anew.
            self.base = None;
            self.window_bytes = self.window_bytes.min(WINDOW_BYTES_START);
        }
        let base = match self.base {
            Some((base, _)) if base <= took => base,
            Some(_) | None => {
                self.base = Some((took, now));
                took
            }
        };
        self.window_bytes = if took <= base + QUEUE_TIME {
            (self.window_bytes + sent.bytes).min(WINDOW_BYTES_MAX)
        } else {
            (self.window_bytes - sent.bytes / 2).max(WINDOW_BYTES_MIN)
        };
    }

    fn take_oldest(&mut self) -> Option<Sent> {
        let sent = self.under_way.pop_front()?;
        self.bytes -= sent.bytes;
        Some(sent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Always has something to send, through a link that takes `batch` for each, to a peer whose
    /// acknowledgement takes `latency`. How many were acknowledged, and how long the last took.
    fn through(batch: Duration, latency: Duration, run: Duration) -> (u32, Duration) {
        let start = Instant::now();
        let (mut now, mut link_free) = (start, start);
        let (mut pace, mut arrivals) = (Pace::default(), VecDeque::new());
        let (mut acked, mut took) = (0, Duration::ZERO);
        while now < start + run {
            while pace.has_room(BATCH_BYTES_MAX) {
                link_free = link_free.max(now) + batch;
                arrivals.push_back((now, link_free + latency));
                pace.sent(Seq(0), BATCH_BYTES_MAX, now);
            }
            let (sent, arrival) = arrivals.pop_front().unwrap();
            (now, took) = (arrival, arrival - sent);
            acked += 1;
            pace.oldest_acked(now);
        }
        (acked, took)
    }

    #[test]
    fn a_slow_link_holds_little() {
        let (acked, took) = through(4 * SECOND / 10, SECOND / 20, 1000 * SECOND);
        assert!(took < 3 * SECOND, "{took:?}");
        assert!(acked > 2400, "never idle: {acked} of 2500");
    }

    #[test]
    fn a_fast_link_is_filled_however_long_it_is() {
        let (acked, _) = through(SECOND / 40, 6 * SECOND / 10, 1000 * SECOND);
        assert!(acked > 39_000, "{acked} of 40000");
    }

    #[test]
    fn a_disk_that_takes_seconds_is_no_queue() {
        let (acked, _) = through(SECOND / 20, 3 * SECOND, 1000 * SECOND);
        assert!(acked > 9_000, "30 at a time: {acked} of 10000");
    }
}
