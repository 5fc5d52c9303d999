//! What a client waits for between its commands: room in memory, a promise, peers, something new in
//! a log.

use std::future::pending;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::sync::Notify;
use tokio::time::{Instant, interval, sleep_until};

use super::commands::{BlockingRead, Tried};
use super::connection::{Connection, READ_BYTES};
use super::durability::Durability;
use super::stream::Stream;
use crate::grid::{Epoch, Feed, Ticket, now_ms};

/// How often a write that waits for room in memory looks for it.
const ROOM_EVERY: Duration = Duration::from_millis(20);
/// While a command blocks, no more than this is read ahead.
const READ_AHEAD_BYTES_MAX: usize = 64 << 10;

impl Connection {
    /// Waits until no `CLIENT PAUSE` is on and there is room in memory for `feed`, or for as long as is
    /// configured; false when the client left meanwhile.
    pub(super) async fn wait_for_room(&mut self, feed: Option<Feed>) -> io::Result<bool> {
        let _blocked = self.shared.clients.block();
        let deadline = Instant::now() + self.shared.config.block.unwrap_or_default();
        let mut look = interval(ROOM_EVERY);
        loop {
            tokio::select! {
                _ = look.tick() => {
                    if self.shared.pause.is_on(now_ms()) {
                        continue;
                    }
                    let state = self.shared.grid.lock();
                    let full = Feed::ALL.map(|feed| state.check_room(feed).is_err());
                    if feed.is_none_or(|feed| !full[feed as usize]) {
                        return Ok(true);
                    }
                    if Instant::now() >= deadline {
                        self.session.waited = full;
                        return Ok(true);
                    }
                }
                left = client_left(&mut self.stream, &mut self.buffer) => {
                    left?;
                    return Ok(false);
                }
            }
        }
    }

    /// Waits until what the writes of this round were promised holds; false when the client left,
    /// or was sent away because the promise cannot be kept.
    pub(super) async fn keep_promise(&mut self, ticket: Ticket) -> io::Result<bool> {
        let promised = std::mem::take(&mut self.session.promised);
        if promised == Durability::Memory {
            return Ok(true);
        }
        let grid = self.shared.grid.clone();
        let Ok(epoch) = grid.commit(ticket).await else {
            // Some of the replies say that a write was done: it was, but only in memory.
            self.replies.bytes.clear();
            self.replies.error(
                "MISCONF strait cannot write its journal: what was written last may be lost",
            );
            self.write().await?;
            return Ok(false);
        };
        if promised == Durability::Disk {
            return Ok(true);
        }
        let feeds = self.session.promised_of;
        Ok(self.sites_at((feeds, epoch), 1, None).await?.is_some())
    }

    /// `WAIT` and `WAITAOF`: until everything written so far is on disk here and at so many
    /// sites, or time is up.
    pub(super) async fn wait(
        &mut self,
        sites: usize,
        timeout: Option<Duration>,
        local: bool,
    ) -> io::Result<bool> {
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        let grid = self.shared.grid.clone();
        let ticket = grid.lock().ticket();
        let committed = tokio::select! {
            committed = grid.commit(ticket) => committed.ok(),
            () = at(deadline) => None,
        };
        let epoch = committed.unwrap_or(Epoch(u64::MAX));
        let sites = if committed.is_some() { sites } else { 0 };
        let Some(held) = self.sites_at((&Feed::ALL, epoch), sites, deadline).await? else {
            return Ok(false);
        };
        if local {
            self.replies.array(2);
            self.replies.count(u64::from(committed.is_some()));
        }
        self.replies.count(held as u64);
        Ok(true)
    }

    /// How many sites hold everything of ours in these feeds up to `epoch`, as soon as that are `wanted` or time
    /// is up; none when the client left.
    async fn sites_at(
        &mut self,
        (feeds, epoch): (&[Feed], Epoch),
        wanted: usize,
        deadline: Option<Instant>,
    ) -> io::Result<Option<usize>> {
        let mut acked = self.shared.grid.acked();
        loop {
            let acks = acked.borrow_and_update().clone();
            let held = acks.values().filter(|acked| acked.covers(feeds, epoch));
            let held = held.count();
            let over = deadline.is_some_and(|deadline| Instant::now() >= deadline);
            if held >= wanted || over {
                return Ok(Some(held));
            }
            tokio::select! {
                changed = acked.changed() => if changed.is_err() { return Ok(None) },
                () = at(deadline) => {}
                left = client_left(&mut self.stream, &mut self.buffer) => {
                    left?;
                    return Ok(None);
                }
            }
        }
    }

    /// `XREAD BLOCK`: until one of the logs has something new, or time is up.
    pub(super) async fn blocking_read(&mut self, read: BlockingRead) -> io::Result<bool> {
        let deadline = read.timeout.map(|timeout| Instant::now() + timeout);
        let woken = Arc::new(Notify::new());
        loop {
            // Rights may have changed while it waited.
            if !self.session.renew_user(&self.shared.access) {
                return Ok(false);
            }
            if let Err(error) = read.check(&self.session) {
                self.replies.error(&error.to_string());
                return Ok(true);
            }
            let found = {
                let mut state = self.shared.grid.lock();
                match read.try_read(&state, &self.session.ahead, &mut self.replies) {
                    Ok(Tried::Nothing) => {
                        read.register(&mut state, &woken).map(|()| Tried::Nothing)
                    }
                    found => found,
                }
            };
            match found {
                Ok(Tried::Read) => return Ok(true),
                Ok(Tried::OnDisk(read)) => return self.read_disk(read).await.map(|()| true),
                Ok(Tried::Nothing) => {}
                Err(error) => {
                    self.replies.error(&error.to_string());
                    return Ok(true);
                }
            }
            tokio::select! {
                () = woken.notified() => {}
                () = at(deadline) => {
                    self.replies.null_array();
                    return Ok(true);
                }
                left = client_left(&mut self.stream, &mut self.buffer) => {
                    left?;
                    return Ok(false);
                }
            }
        }
    }
}

/// Done at `deadline`; never, if there is none.
async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => pending().await,
    }
}

/// Done when the client has closed its end. What it sends meanwhile is kept for later.
async fn client_left(stream: &mut Stream, buffer: &mut Vec<u8>) -> io::Result<()> {
    while buffer.len() < READ_AHEAD_BYTES_MAX {
        buffer.reserve(READ_BYTES);
        if stream.read_buf(buffer).await? == 0 {
            return Ok(());
        }
    }
    // It is still there and impatient; what it sends stays with the kernel.
    pending().await
}
