//! What a site does not take of a peer's feed is told to that peer, and confirmed to nobody.
//!
//! From a batch of which something was not taken until the peer begins anew from our positions nothing
//! of the feed counts: the peer's `WAIT` and its low watermarks do not go past it, and what it says to
//! be complete is not believed. Drawn in `docs/WIRE.md`, section "Refusals".

use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use strait_transport::{Class, LinkHandle, OutStream, Seq, WireVersion};

use crate::grid::Feed;
use crate::streams::StreamOpen;

/// Who speaks less cannot be told.
pub(super) const TOLD_SINCE: WireVersion = WireVersion(5);

const VERSION: u8 = 1;
const GAP: u8 = 0;
const REFUSED: u8 = 1;
/// Longest reason that is told.
const REASON_BYTES_MAX: usize = 200;
/// Between two times that a peer is asked to begin anew, at first and at last.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
const AGAIN_AFTER_MAX: Duration = Duration::from_secs(300);

/// Something of a feed was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) feed: Feed,
    /// The first batch that was not taken whole, of the grid stream of that feed.
    pub(super) seq: Seq,
    /// Entries before those in it are missing: it comes right by itself.
    pub(super) is_gap: bool,
    /// For a person.
    pub(super) reason: String,
}

impl Refusal {
    /// The batch that says so.
    fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        out.put_u8(VERSION);
        out.put_u8(self.feed as u8);
        out.put_u8(if self.is_gap { GAP } else { REFUSED });
        out.put_u64_le(self.seq.0);
        out.put_slice(&self.reason.as_bytes()[..self.reason.floor_char_boundary(REASON_BYTES_MAX)]);
        out.freeze()
    }

    /// Reads what [`Self::encode`] wrote; none if it is something else.
    pub(super) fn decode(mut batch: &[u8]) -> Option<Self> {
        let version = batch.try_get_u8().ok()?;
        let feed = batch.try_get_u8().ok()?;
        let kind = batch.try_get_u8().ok()?;
        let seq = Seq(batch.try_get_u64_le().ok()?);
        let is_known = version == VERSION && kind <= REFUSED && batch.len() <= REASON_BYTES_MAX;
        let feed = Feed::ALL.into_iter().find(|known| *known as u8 == feed);
        let reason = String::from_utf8_lossy(batch);
        is_known.then_some(Self {
            feed: feed?,
            seq,
            is_gap: kind == GAP,
            reason: reason.chars().filter(|c| !c.is_control()).collect(),
        })
    }
}

/// Tells the peer of one session what is not taken.
#[derive(Debug)]
pub(super) struct Teller(Option<OutStream>);

impl Teller {
    /// For a peer that understands it, in the session that has just begun.
    pub(super) fn new(link: &LinkHandle) -> Self {
        let opened = link.open(Class::Control, StreamOpen::Refusals.encode());
        Self(opened.ok())
    }

    /// Tells it and waits until the peer heeds it; false if the session ends before that.
    pub(super) async fn tell(&mut self, refusal: &Refusal) -> bool {
        let Some(out) = &mut self.0 else {
            return false;
        };
        let told = match out.send(refusal.encode(), false).await {
            Ok(seq) => out.acked(seq).await,
            Err(error) => Err(error),
        };
        told.is_ok()
    }
}

/// When a peer that was not taken at its word is asked to begin anew.
#[derive(Debug, Default)]
pub(super) struct Again {
    /// How often in a row.
    asked: u32,
}

impl Again {
    /// How long from now. A gap comes right as soon as the peer hears of it.
    pub(super) fn after(&mut self, is_gap: bool) -> Duration {
        let asked = self.asked;
        self.asked = self.asked.saturating_add(1);
        match is_gap && asked == 0 {
            true => Duration::ZERO,
            false => AGAIN_AFTER
                .saturating_mul(1 << asked.min(16))
                .min(AGAIN_AFTER_MAX),
        }
    }

    /// All that was lacked came.
    pub(super) fn reset(&mut self) {
        self.asked = 0;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn refusals_come_back() {
        for (feed, is_gap) in [(Feed::Counters, true), (Feed::Logs, false)] {
            let mut refusal = Refusal {
                feed,
                seq: Seq(1 << 40),
                is_gap,
                reason: "ä".repeat(300),
            };
            let read = Refusal::decode(&refusal.encode()).unwrap();
            refusal.reason = "ä".repeat(100);
            assert_eq!(read, refusal);
        }
        assert_eq!(Refusal::decode(&[VERSION, 0, 0]), None);
    }

    #[test]
    fn a_gap_is_asked_for_at_once_and_what_stays_refused_less_and_less_often() {
        let mut again = Again::default();
        assert_eq!(again.after(true), Duration::ZERO);
        let after: Vec<_> = (0..12).map(|_| again.after(true).as_secs()).collect();
        assert_eq!(after, [2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300, 300]);
        again.reset();
        assert_eq!(again.after(false), AGAIN_AFTER);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes: Vec<u8>) {
            drop(Refusal::decode(&bytes));
        }
    }
}
