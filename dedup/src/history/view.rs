//! Both histories of a link as one range of positions, for the sender to search.
//!
//! What we sent stands at its positions, what we received 2⁶² higher: runs, courses and bases are the
//! same in either, and only the wire tells them apart.

use super::{Absent, Extent, Held, Ledger, Position};

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

/// What we sent, and what we received, over one link.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'a> {
    pub(crate) sent: &'a Ledger,
    pub(crate) received: &'a Ledger,
}

impl<'a> View<'a> {
    /// The oldest position of the history in which `at` lies.
    pub(crate) fn oldest(&self, at: Position) -> Position {
        match at.in_received() {
            None => self.sent.oldest(),
            Some(_) => self.received.oldest().of_received(),
        }
    }

    /// The end of the history in which `at` lies.
    pub(crate) fn tail(&self, at: Position) -> Position {
        match at.in_received() {
            None => self.sent.tail(),
            Some(_) => self.received.tail().of_received(),
        }
    }

    /// As [`Ledger::following`].
    pub(crate) fn following(&self, at: Position) -> Held<'a> {
        match at.in_received() {
            None => self.sent.following(at),
            Some(at) => self.received.following(at),
        }
    }

    /// As [`Ledger::preceding`].
    pub(crate) fn preceding(&self, at: Position) -> Held<'a> {
        match at.in_received() {
            None => self.sent.preceding(at),
            Some(at) => self.received.preceding(at),
        }
    }

    /// As [`Ledger::read`].
    pub(crate) fn read(&self, extent: Extent, out: &mut Vec<u8>) -> Result<(), Absent> {
        match extent.at.in_received() {
            None => self.sent.read(extent, out),
            Some(at) => self.received.read(Extent { at, ..extent }, out),
        }
    }
}
