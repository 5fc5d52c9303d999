//! Memory that clients hold: requests that are not whole yet, transactions that wait for `EXEC`, and
//! replies that are not read. How much it may be, and from whom it is taken.
//!
//! One client's slowness costs all the others memory. A single reply has a bound of its own: a longer
//! one becomes an error. When all clients together hold more than their bound, those that have held
//! most for longest are cut off.

use std::sync::atomic::Ordering;
use std::time::Instant;

use tokio::task::AbortHandle;

use super::client::{ClientInfo, Clients, Entered};
use crate::grid::now_ms;

/// Fewer bytes do not count: `clients_max` of them are no matter.
const COUNTED_BYTES_MIN: usize = 64 << 10;

/// Bounds on the memory that clients hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyLimits {
    /// The longest reply to one command, in bytes; a command may write somewhat more before it ends.
    pub reply_bytes_max: usize,
    /// All requests that are not whole, transactions that wait and replies that are not read, in bytes.
    pub unread_bytes_max: usize,
}

impl Default for ReplyLimits {
    fn default() -> Self {
        Self {
            reply_bytes_max: 256 << 20,
            unread_bytes_max: 512 << 20,
        }
    }
}

impl Entered {
    /// The client holds so many bytes now. When all clients together hold too much, some are cut off:
    /// others, or this one.
    pub(super) fn hold(&self, bytes: usize, limits: ReplyLimits) {
        let bytes = match bytes {
            ..COUNTED_BYTES_MIN => 0,
            _ => bytes as u64,
        };
        let held = &self.activity().held;
        // All clients share the sum: most commands leave it alone.
        if held.load(Ordering::Relaxed) == bytes {
            return;
        }
        let before = held.swap(bytes, Ordering::Relaxed);
        let all = &self.clients().held;
        all.fetch_add(bytes, Ordering::Relaxed);
        let rest = all
            .fetch_sub(before, Ordering::Relaxed)
            .saturating_sub(before);
        if bytes > before && rest > limits.unread_bytes_max as u64 {
            self.clients().cut_off(limits.unread_bytes_max as u64);
        }
    }
}

impl Clients {
    /// Whether they hold more than `limits` allow, until those that are cut off have left. Nobody is
    /// given a reply meanwhile, or there would be more and more.
    pub(super) fn have_too_much(&self, limits: ReplyLimits) -> bool {
        self.held.load(Ordering::Relaxed) > limits.unread_bytes_max as u64
    }

    /// Cuts off clients until the others hold no more than `bytes_max`.
    fn cut_off(&self, bytes_max: u64) {
        let (mut list, now_ms) = (self.list.lock(), now_ms());
        let (mut staying, mut left) = (Vec::new(), 0);
        for client in list.values_mut().filter(|client| client.task.is_some()) {
            left += client.activity.held.load(Ordering::Relaxed);
            staying.push(client);
        }
        staying.sort_unstable_by_key(|client| burden(client, now_ms));
        let mut tasks = Vec::new();
        while left > bytes_max
            && let Some(client) = staying.pop()
        {
            let bytes = client.activity.held.load(Ordering::Relaxed);
            left = left.saturating_sub(bytes);
            self.cut_off.fetch_add(1, Ordering::Relaxed);
            if let Some(more) = self.cut_off_lines.lock().is_due(Instant::now()) {
                tracing::warn!(
                    address = %client.address,
                    name = %client.name,
                    held_bytes = bytes,
                    more,
                    "cut off a Redis client that holds too much memory"
                );
            }
            tasks.extend(client.task.take());
        }
        // A task that ends takes its client off the list.
        drop(list);
        tasks.iter().for_each(AbortHandle::abort);
    }
}

/// The cost of the memory that a client holds: bytes times how long it holds them. So a client that
/// has only just got a long reply is spared for one that does not read.
fn burden(client: &ClientInfo, now_ms: u64) -> u128 {
    let activity = &client.activity;
    let waited_ms = now_ms.saturating_sub(activity.at_ms.load(Ordering::Relaxed));
    u128::from(activity.held.load(Ordering::Relaxed)) * (1 + u128::from(waited_ms))
}
