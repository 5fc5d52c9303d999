//! What the receiving half of a feed tells the shipping half: of each kind the latest, however long the
//! shipping half is held up. So a peer that goes on talking while it reads nothing takes no memory here.

use std::collections::{BTreeSet, VecDeque};
use std::time::Instant;

use parking_lot::Mutex;
use strait_transport::{Received, SiteName};
use tokio::sync::Notify;

use super::refusals::Refusal;
use crate::grid::Positions;

/// Refusals that wait for the shipping half. A peer tells the next when the one before was heeded.
const NOT_TAKEN_MAX: usize = 8;

/// Something that the shipping half has to know.
#[derive(Debug)]
pub(super) enum Signal {
    /// The peer does not take something of ours. Acknowledged when that is heeded.
    NotTaken(Refusal, Received),
    /// The peer has links of its own to these sites.
    Linked(BTreeSet<SiteName>),
    /// The peer has told all that we lacked when it was told so.
    HeardAll,
    /// Tell the peer what we hold, at this time.
    TellOurs(Instant),
    /// The peer holds this: send what it lacks.
    Theirs(Positions),
}

/// The signals of one feed in one session.
#[derive(Debug, Default)]
pub(super) struct Signals {
    latest: Mutex<Latest>,
    told: Notify,
}

#[derive(Debug, Default)]
struct Latest {
    not_taken: VecDeque<(Refusal, Received)>,
    linked: Option<BTreeSet<SiteName>>,
    heard_all: bool,
    tell_ours: Option<Instant>,
    theirs: Option<Positions>,
}

impl Signals {
    /// Never waits.
    pub(super) fn tell(&self, signal: Signal) {
        self.latest.lock().note(signal);
        self.told.notify_one();
    }

    /// The next one, for the only task that asks. May be cancelled.
    pub(super) async fn next(&self) -> Signal {
        loop {
            let next = self.latest.lock().take();
            match next {
                Some(signal) => return signal,
                None => self.told.notified().await,
            }
        }
    }
}

impl Latest {
    fn note(&mut self, signal: Signal) {
        match signal {
            Signal::NotTaken(refusal, received) if self.not_taken.len() < NOT_TAKEN_MAX => {
                self.not_taken.push_back((refusal, received));
            }
            // Never heeded, and so never acknowledged.
            Signal::NotTaken(..) => {}
            Signal::Linked(sites) => self.linked = Some(sites),
            Signal::HeardAll => self.heard_all = true,
            Signal::TellOurs(at) => {
                self.tell_ours = Some(self.tell_ours.map_or(at, |before| before.min(at)));
            }
            Signal::Theirs(positions) => self.theirs = Some(positions),
        }
    }

    /// The positions come last: what is sent from there on goes by all the others.
    fn take(&mut self) -> Option<Signal> {
        if let Some((refusal, received)) = self.not_taken.pop_front() {
            return Some(Signal::NotTaken(refusal, received));
        }
        if let Some(sites) = self.linked.take() {
            return Some(Signal::Linked(sites));
        }
        if std::mem::take(&mut self.heard_all) {
            return Some(Signal::HeardAll);
        }
        let tell = self.tell_ours.take().map(Signal::TellOurs);
        tell.or_else(|| self.theirs.take().map(Signal::Theirs))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn the_latest_of_each_kind_is_kept_and_positions_come_last() {
        let (signals, now) = (Signals::default(), Instant::now());
        let before = strait_fuzz::held_bytes();
        for round in 0..100_000u64 {
            signals.tell(Signal::Theirs(Positions::default()));
            let name = format!("site{}", round % 128);
            signals.tell(Signal::Linked(BTreeSet::from([name.parse().unwrap()])));
            let at = now + Duration::from_secs(round);
            signals.tell(Signal::TellOurs(at));
            signals.tell(Signal::HeardAll);
        }
        let held = strait_fuzz::held_bytes() - before;
        assert!(held < 4096, "{held} bytes");
        let last = "site31".parse().unwrap();
        assert!(
            matches!(signals.next().await, Signal::Linked(sites) if sites == BTreeSet::from([last]))
        );
        assert!(matches!(signals.next().await, Signal::HeardAll));
        assert!(matches!(signals.next().await, Signal::TellOurs(at) if at == now));
        assert!(matches!(signals.next().await, Signal::Theirs(_)));
        assert!(signals.latest.lock().take().is_none());
    }
}
