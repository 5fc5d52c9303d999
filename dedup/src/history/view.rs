//! Both histories of a link as one range of positions, for the sender to search.
//!
//! What we sent stands at its positions, what we received 2⁶² higher: runs, courses and bases are the
//! same in either, and only the wire tells them apart.

use super::{Absent, Extent, Gone, Held, Ledger, Position};

const RECEIVED: u64 = 1 << 62;

impl Position {
    /// This position of what we received, as a view names it.
    pub(crate) fn of_received(self) -> Self {
        Self(self.0 | RECEIVED)
    }

    /// Whether a view's position is one of what we received, and which.
    pub(crate) fn in_received(self) -> Option<Self> {
        (self.0 & RECEIVED != 0).then_some(Self(self.0 & !RECEIVED))
    }
}

/// What we sent, and what we received, over one link, less what the peer turned out to lack.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'a> {
    pub(crate) sent: &'a Ledger,
    pub(crate) received: &'a Ledger,
    pub(crate) gone: &'a Gone,
}

impl<'a> View<'a> {
    /// How far before `at` both ends hold history.
    pub(crate) fn oldest(&self, at: Position) -> Position {
        let oldest = match at.in_received() {
            None => self.sent.oldest(),
            Some(_) => self.received.oldest().of_received(),
        };
        self.gone
            .end_before(at)
            .map_or(oldest, |end| end.max(oldest))
    }

    /// How far from `at` on both ends hold history, or will.
    pub(crate) fn tail(&self, at: Position) -> Position {
        let tail = match at.in_received() {
            None => self.sent.tail(),
            Some(_) => self.received.tail().of_received(),
        };
        self.gone
            .begin_after(at)
            .map_or(tail, |begin| begin.min(tail))
    }

    /// As [`Ledger::following`], up to the tail.
    pub(crate) fn following(&self, at: Position) -> Held<'a> {
        let held = match at.in_received() {
            None => self.sent.following(at),
            Some(at) => self.received.following(at),
        };
        held.first(self.tail(at).since(at))
    }

    /// As [`Ledger::preceding`], down to the oldest.
    pub(crate) fn preceding(&self, at: Position) -> Held<'a> {
        let held = match at.in_received() {
            None => self.sent.preceding(at),
            Some(at) => self.received.preceding(at),
        };
        held.last(at.since(self.oldest(at)))
    }

    /// As [`Ledger::read`].
    pub(crate) fn read(&self, extent: Extent, out: &mut Vec<u8>) -> Result<(), Absent> {
        if extent.end() > self.tail(extent.at) {
            return Err(Absent::Evicted);
        }
        match extent.at.in_received() {
            None => self.sent.read(extent, out),
            Some(at) => self.received.read(Extent { at, ..extent }, out),
        }
    }
}
