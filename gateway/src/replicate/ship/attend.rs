//! What the peer asks and says, and what becomes of our other links. The shipper attends to it whatever
//! else it does: a catch-up may take hours, and the peer waits for an answer meanwhile.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use strait_transport::{OutStream, SendError, Seq, SiteName};
use tracing::warn;

use super::super::message;
use super::super::receive::Signal;
use super::{Shipper, blocking};
use crate::grid::Positions;

/// What the shipper waits for.
pub(super) enum Event {
    /// There is something new on disk.
    Flushed,
    Signal(Signal),
    /// A neighbour came or went.
    Neighbours,
    /// The peer holds the oldest flush of those under way.
    FlushAcked,
    /// The peer holds the oldest batch of those under way.
    BatchAcked,
    /// It is time to tell again what we hold.
    Retell,
    /// It is time to note what our logs hold.
    Floor,
    /// Something that was lost of a log is here again.
    Mended,
    /// It is time to say again what we hold.
    StatementsDue,
}

impl Shipper {
    /// The next one; an acknowledgement of `batch` only where that is waited for. Nothing is lost when
    /// it is dropped.
    pub(super) async fn event(&mut self, batch: Option<Seq>) -> Result<Event, SendError> {
        let flush = self.unacked.front().map(|(seq, _)| *seq);
        let closed = |_| SendError::Closed;
        tokio::select! {
            signal = self.signals.recv() => signal.map(Event::Signal).ok_or(SendError::Closed),
            changed = self.known.changed() => changed.map(|()| Event::Neighbours).map_err(closed),
            () = at(self.retell) => Ok(Event::Retell),
            () = at(self.floor.due()) => Ok(Event::Floor),
            acked = acked(&self.out, flush) => acked.map(|()| Event::FlushAcked),
            acked = acked(&self.out, batch) => acked.map(|()| Event::BatchAcked),
            changed = self.mended.changed(), if self.held_up > 0 => {
                changed.map(|()| Event::Mended).map_err(closed)
            }
            changed = self.flushes.changed() => changed.map(|()| Event::Flushed).map_err(closed),
            () = self.statements.due() => Ok(Event::StatementsDue),
        }
    }

    pub(super) async fn handle(&mut self, event: Event) -> Result<(), SendError> {
        match event {
            // Whoever sends flushes looks himself.
            Event::Flushed => {}
            Event::Signal(Signal::Theirs(theirs)) => self.theirs = Some(theirs),
            Event::Signal(Signal::TellOurs(Duration::ZERO)) => self.tell_positions().await?,
            Event::Signal(Signal::TellOurs(after)) => self.retell = Some(Instant::now() + after),
            Event::Signal(Signal::NotTaken(refusal, received)) => {
                self.not_taken(&refusal);
                received.ack();
            }
            Event::Retell => self.tell_positions().await?,
            Event::Signal(Signal::Linked(sites)) => self.linked = sites,
            Event::Signal(Signal::HeardAll) => self.heard_all = true,
            Event::Neighbours => self.tell_neighbours().await?,
            Event::StatementsDue => self.take_statements(),
            Event::FlushAcked => {
                if let Some((_, mark)) = self.unacked.pop_front() {
                    self.note_held(mark);
                }
            }
            Event::Floor => self.take_floor(),
            // What the peer could not be sent before, it may be now.
            Event::Mended => {
                self.held_up = 0;
                self.out.send(message::ask(), false).await?;
            }
            Event::BatchAcked => self.pace.oldest_acked(Instant::now()),
        }
        Ok(())
    }

    /// Takes care of what has come.
    pub(super) async fn attend(&mut self) -> Result<(), SendError> {
        while let Some(event) = self.event(None).now_or_never() {
            self.handle(event?).await?;
        }
        Ok(())
    }

    /// Waits until the peer says what it holds.
    pub(super) async fn their_positions(&mut self) -> Result<Positions, SendError> {
        loop {
            if let Some(theirs) = self.theirs.take() {
                return Ok(theirs);
            }
            let event = self.event(None).await?;
            self.handle(event).await?;
        }
    }

    /// Waits until a peer that holds counters of ours which our journal lost has told them: what we
    /// counted since would take their place there. What the peer holds then.
    pub(super) async fn hear_out(&mut self, theirs: Positions) -> Result<Positions, SendError> {
        if !self.grid.lacks_own(&theirs) {
            return Ok(theirs);
        }
        warn!(
            "our journal lost counters that the peer holds: it is heard before it is told of ours"
        );
        // It does not wait for us likewise: it heard what we lost before it wrote what it may have lost.
        while !self.heard_all {
            let event = self.event(None).await?;
            self.handle(event).await?;
        }
        Ok(self.theirs.take().unwrap_or(theirs))
    }

    /// Tells what is on disk. What was applied before should be, or it would be sent again; a disk that
    /// refuses says so itself.
    pub(super) async fn tell_positions(&mut self) -> Result<(), SendError> {
        self.retell = None;
        let grid = self.grid.clone();
        blocking(move || drop(grid.flush())).await?;
        let site = self.link.site();
        let pieces = self.grid.positions_for(site, self.feed).encode();
        let last = pieces.len().saturating_sub(1);
        for (index, piece) in pieces.iter().enumerate() {
            let batch = message::positions(piece, index == last);
            self.out.send(batch, false).await?;
        }
        Ok(())
    }

    /// The sites that we have links to, but the peer.
    pub(super) fn neighbours_now(&mut self) -> BTreeSet<SiteName> {
        let mut known = self.known.borrow_and_update().clone();
        known.remove(self.link.site());
        known
    }

    /// Tells the peer which links we have. What a link that is gone would have carried comes
    /// from the peer instead, from where we are.
    async fn tell_neighbours(&mut self) -> Result<(), SendError> {
        let known = self.neighbours_now();
        if known == self.told {
            return Ok(());
        }
        let lost = !self.told.is_subset(&known);
        self.out.send(message::linked(&known), false).await?;
        self.told = known;
        if lost {
            self.tell_positions().await?;
        }
        Ok(())
    }
}

/// Waits until then, if there is a time to wait for.
async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time.into()).await,
        None => std::future::pending().await,
    }
}

/// Waits for an acknowledgement, if there is one to wait for.
async fn acked(out: &OutStream, seq: Option<Seq>) -> Result<(), SendError> {
    match seq {
        Some(seq) => out.acked(seq).await,
        None => std::future::pending().await,
    }
}
