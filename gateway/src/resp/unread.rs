//! Replies that clients have not read: how much memory they may take, and whom they are taken from.
//!
//! A client that asks for much and reads slowly is one that others pay for. One reply has a bound
//! of its own: a longer one becomes an error. When all that waits to be read is more than its bound,
//! those who have kept most for longest are cut off.

use std::sync::atomic::Ordering;

use tokio::task::AbortHandle;

use super::client::{ClientInfo, Clients, Entered};
use crate::grid::now_ms;

/// Fewer bytes do not count: `clients_max` of them are no matter.
const COUNTED_BYTES_MIN: usize = 64 << 10;

/// Bounds on what clients are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyLimits {
    /// The longest reply to one command, in bytes; a command may write somewhat more before it ends.
    pub reply_bytes_max: usize,
    /// All replies together that wait until clients read them, in bytes.
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
    /// So many bytes wait until the client reads them. When that is too much for all of them
    /// together, others are cut off, or this one.
    pub(super) fn keep_unread(&self, bytes: usize, limits: ReplyLimits) {
        if bytes < COUNTED_BYTES_MIN {
            return;
        }
        let clients = self.clients();
        let before = self.activity().unread.swap(bytes as u64, Ordering::Relaxed);
        clients.unread.fetch_sub(before, Ordering::Relaxed);
        let all = clients.unread.fetch_add(bytes as u64, Ordering::Relaxed) + bytes as u64;
        if all > limits.unread_bytes_max as u64 {
            clients.cut_off(limits.unread_bytes_max as u64);
        }
    }

    /// Nothing of it waits any more.
    pub(super) fn has_read(&self) {
        let bytes = self.activity().unread.load(Ordering::Relaxed);
        // After most replies: all clients share the sum.
        if bytes > 0 {
            self.activity().unread.store(0, Ordering::Relaxed);
            self.clients().unread.fetch_sub(bytes, Ordering::Relaxed);
        }
    }
}

impl Clients {
    /// Whether there is more than `limits` allow, until those who are cut off have left. Nobody is
    /// given a reply meanwhile, or there would be more and more.
    pub(super) fn have_too_much(&self, limits: ReplyLimits) -> bool {
        self.unread.load(Ordering::Relaxed) > limits.unread_bytes_max as u64
    }

    /// Cuts off clients until what waits for the others is no more than `bytes_max`.
    fn cut_off(&self, bytes_max: u64) {
        let (mut list, now_ms) = (self.list.lock(), now_ms());
        let (mut staying, mut left) = (Vec::new(), 0);
        for client in list.values_mut().filter(|client| client.task.is_some()) {
            left += client.activity.unread.load(Ordering::Relaxed);
            staying.push(client);
        }
        staying.sort_unstable_by_key(|client| burden(client, now_ms));
        let mut tasks = Vec::new();
        while left > bytes_max
            && let Some(client) = staying.pop()
        {
            let bytes = client.activity.unread.load(Ordering::Relaxed);
            left = left.saturating_sub(bytes);
            self.cut_off.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(
                address = %client.address,
                name = %client.name,
                unread_bytes = bytes,
                "cut off a Redis client that reads too slowly"
            );
            tasks.extend(client.task.take());
        }
        // A task that ends takes its client off the list.
        drop(list);
        tasks.iter().for_each(AbortHandle::abort);
    }
}

/// What a client's unread replies cost: their bytes times how long they have waited. So one that has
/// only just got a long reply is spared for one that does not read.
fn burden(client: &ClientInfo, now_ms: u64) -> u128 {
    let activity = &client.activity;
    let waited_ms = now_ms.saturating_sub(activity.at_ms.load(Ordering::Relaxed));
    u128::from(activity.unread.load(Ordering::Relaxed)) * (1 + u128::from(waited_ms))
}
