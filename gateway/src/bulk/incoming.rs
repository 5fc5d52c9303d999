//! Receiving one file: batches come out of a bounded queue, credit goes back as
//! they are used up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use strait_transport::{BATCH_BYTES_MAX, Received};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::failure::Failure;
use super::message::{self, Ending, Message};
use super::outgoing::CREDIT_INITIAL;
use super::session::{Inlet, Session};
use super::store::FileMeta;
use crate::streams::TransferId;

/// Most batches that one file's sender may be ahead of us: at 100 ms round trip, 640 MB/s.
const WINDOW_BATCHES_MAX: u64 = 64;
/// Batches that all files together may wait here in memory, beyond each one's first few.
const WINDOWS_BATCHES_MAX: u64 = 256;

/// Bytes of pushed files, of all peers, that may wait here for the disk before their senders wait for it.
const WAITING_BYTES_MAX: usize = 256 << 20;

/// One batch, past the header.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) bytes: Bytes,
    pub(super) last: bool,
    pub(super) memory: Memory,
}

/// Who has the memory of a batch, until it is dropped.
#[derive(Debug)]
pub(super) enum Memory {
    /// We do: it is acknowledged.
    Ours { _room: Option<OwnedSemaphorePermit> },
    /// Its sender does, whose link has so much less of its window.
    Senders(Option<Received>),
}

/// The memory that pushed files may take.
#[derive(Clone, Debug)]
pub(super) struct Waiting(Arc<Semaphore>);

/// What the next batch turned out to be.
#[derive(Debug)]
pub(super) enum Piece {
    Bytes(Part),
    End(Ending),
}

impl Part {
    /// Not acknowledged yet.
    pub(super) fn of(batch: Received) -> Self {
        Self {
            bytes: batch.bytes.clone(),
            last: batch.last,
            memory: Memory::Senders(Some(batch)),
        }
    }

    /// Acknowledges it, if there is room for it.
    pub(super) fn take_room(&mut self, waiting: Option<&Waiting>) {
        let room = waiting.map(|Waiting(bytes)| {
            let count = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
            bytes.clone().try_acquire_many_owned(count)
        });
        if let Ok(room) = room.transpose() {
            self.memory = Memory::Ours { _room: room };
        }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        if let Self::Senders(batch) = self
            && let Some(batch) = batch.take()
        {
            batch.ack();
        }
    }
}

impl Waiting {
    pub(super) fn of(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new(bytes)))
    }
}

impl Default for Waiting {
    fn default() -> Self {
        Self::of(WAITING_BYTES_MAX)
    }
}

/// A file on its way here, past its header.
#[derive(Debug)]
pub(super) struct Incoming {
    pub(super) transfer: TransferId,
    pub(super) length: Option<u64>,
    pub(super) meta: FileMeta,
    session: Arc<Session>,
    queue: mpsc::Receiver<Part>,
    window: Window,
    /// Credit that the sender has yet to hear of.
    due: Option<u64>,
    _place: OwnedSemaphorePermit,
}

/// Files that are being received now; each gets its share of memory.
#[derive(Clone, Debug, Default)]
pub(super) struct Receiving(Arc<AtomicU64>);

#[derive(Debug)]
struct Window {
    receiving: Receiving,
    /// Batches taken out of the queue, the header among them.
    taken: u64,
    granted: u64,
    /// The same, for those that deliver batches.
    granted_shared: Arc<AtomicU64>,
    /// Batches that the file should have, if its sender said: they need no more credit
    /// than one beyond, and one too many shows that the sender was wrong.
    expected: Option<u64>,
}

impl Incoming {
    /// Where to deliver to, and the file that comes out of it; `None` if too many files of this
    /// peer do. A file that is ours to write takes memory of those that are `waiting`. One that a
    /// command reads does not: a command that stops must not stop its peer's other files.
    pub(super) fn new(
        session: &Arc<Session>,
        receiving: &Receiving,
        transfer: TransferId,
        (length, meta): (Option<u64>, FileMeta),
        waiting: Option<Waiting>,
    ) -> Option<(Inlet, Self)> {
        let place = session.receiving_place()?;
        // One more for the trailer, which needs no credit.
        let (sender, queue) = mpsc::channel(WINDOW_BATCHES_MAX as usize + 1);
        let window = Window::new(receiving.clone(), length);
        let inlet = Inlet {
            queue: sender,
            granted: window.granted_shared.clone(),
            waiting,
        };
        let incoming = Self {
            transfer,
            length,
            meta,
            session: session.clone(),
            queue,
            window,
            due: None,
            _place: place,
        };
        Some((inlet, incoming))
    }

    /// The next piece; waits for it.
    pub(super) async fn next(&mut self) -> Result<Piece, Failure> {
        let part = self.arrived().await;
        self.grant().await?;
        let piece = self.take(part);
        self.grant().await?;
        piece
    }

    /// Waits for the next batch; `None` if there will be none.
    pub(super) async fn arrived(&mut self) -> Option<Part> {
        self.queue.recv().await
    }

    /// The next piece, if it is here. Never waits.
    pub(super) fn next_here(&mut self) -> Option<Result<Piece, Failure>> {
        match self.queue.try_recv() {
            Ok(part) => Some(self.take(Some(part))),
            Err(mpsc::error::TryRecvError::Disconnected) => Some(self.take(None)),
            Err(mpsc::error::TryRecvError::Empty) => None,
        }
    }

    /// What a batch turns out to be. After some of them the sender has to be granted more.
    pub(super) fn take(&mut self, part: Option<Part>) -> Result<Piece, Failure> {
        self.due = self.window.take(part.as_ref()).or(self.due);
        piece(part)
    }

    /// Grants the sender what is due.
    pub(super) async fn grant(&mut self) -> Result<(), Failure> {
        let transfer = self.transfer;
        match self.due.take() {
            Some(batches) => {
                self.session
                    .send(Message::Credit { transfer, batches })
                    .await
            }
            None => Ok(()),
        }
    }

    /// Tells the sender how it ended.
    pub(super) async fn answer(self, verdict: Result<(), Failure>) {
        // With the session the sender's interest has ended, too.
        self.session.send(self.verdict(verdict)).await.ok();
    }

    fn verdict(&self, verdict: Result<(), Failure>) -> Message {
        let transfer = self.transfer;
        match verdict {
            Ok(()) => Message::Done { transfer },
            Err(failure) => {
                let failure = failure.for_peer(self.session.version());
                Message::Failed { transfer, failure }
            }
        }
    }
}

fn piece(part: Option<Part>) -> Result<Piece, Failure> {
    match part {
        Some(part) if part.last => match message::decode(&part.bytes) {
            Ok(ending) => Ok(Piece::End(ending)),
            Err(error) => Err(Failure::protocol(error)),
        },
        Some(part) => Ok(Piece::Bytes(part)),
        None => Err(Failure::SessionReset),
    }
}

impl Window {
    fn new(receiving: Receiving, length: Option<u64>) -> Self {
        receiving.0.fetch_add(1, Ordering::Relaxed);
        Self {
            receiving,
            taken: 1,
            granted: CREDIT_INITIAL,
            granted_shared: Arc::new(AtomicU64::new(CREDIT_INITIAL)),
            expected: length.map(|length| 1 + length.div_ceil(BATCH_BYTES_MAX as u64)),
        }
    }

    /// Counts a batch; the new credit, if it is time to grant more.
    fn take(&mut self, part: Option<&Part>) -> Option<u64> {
        if part.is_none_or(|part| part.last) {
            return None;
        }
        self.taken += 1;
        if let Some(expected) = self.expected
            && self.taken <= expected
            && self.granted > expected
        {
            return None;
        }
        let files = self.receiving.0.load(Ordering::Relaxed).max(1);
        let size = (WINDOWS_BATCHES_MAX / files).clamp(CREDIT_INITIAL, WINDOW_BATCHES_MAX);
        let ahead = self.granted.saturating_sub(self.taken);
        if ahead > size - size / 4 {
            return None;
        }
        self.granted = self.taken + size;
        self.granted_shared.store(self.granted, Ordering::Relaxed);
        Some(self.granted)
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        self.receiving.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PART: Part = Part {
        bytes: Bytes::new(),
        last: false,
        memory: Memory::Ours { _room: None },
    };

    fn window(receiving: &Receiving, batches: Option<u64>) -> Window {
        Window::new(
            receiving.clone(),
            batches.map(|n| n * BATCH_BYTES_MAX as u64),
        )
    }

    #[test]
    fn credit_never_exceeds_the_queue_nor_dries_up() {
        let receiving = Receiving::default();
        let mut taken = window(&receiving, None);
        let _others: Vec<_> = (0..3).map(|_| window(&receiving, None)).collect();
        let mut grants = 0;
        for _ in 0..1000 {
            assert!(taken.granted > taken.taken);
            grants += u64::from(taken.take(Some(&PART)).is_some());
            assert!(taken.granted - taken.taken <= WINDOW_BATCHES_MAX);
        }
        assert!(grants < 1000 / 8);
        let crowd: Vec<_> = (0..500).map(|_| window(&receiving, None)).collect();
        for _ in 0..1000 {
            taken.take(Some(&PART));
            assert!(taken.granted > taken.taken);
        }
        assert!(taken.granted - taken.taken <= CREDIT_INITIAL);
        drop(crowd);
    }

    #[test]
    fn small_files_need_no_credit_and_longer_ones_than_declared_do_not_hang() {
        let receiving = Receiving::default();
        for declared in 0..20 {
            let mut window = window(&receiving, Some(declared));
            for batch in 0..100 {
                assert!(window.granted > window.taken, "{declared} {batch}");
                let granted = window.take(Some(&PART)).is_some();
                assert!(!granted || declared > 2 || batch >= declared);
            }
        }
    }
}
