//! What a peer claims of this site itself and of the time, and how far that is believed.
//!
//! A site alone writes its counters' components and its logs, so it knows them better than anybody
//! else, with one exception: its disk may have lost some. So from a start until every configured peer has
//! told all that it holds of us a peer may give back what our journal lost. After that, and of epochs
//! that no clock can have led to, what is not ours is not taken; the rest of the record is.

use std::time::Instant;

use strait_transport::{LogPace, SiteName};
use tracing::error;

use super::counter::{Extra, OriginId, SiteId, flag};
use super::merge::Numbers;
use super::record::{CounterUpdates, LogSection};
use super::runs::epoch_limit;
use super::state::State;
use super::{ApplyError, Epoch, Feed};

/// A log of ours that a peer gives back was not deleted and made again more often.
const OWN_REVISION_END: u64 = 1 << 61;

/// Log lines about claims, one for each kind of them.
#[derive(Debug, Default)]
pub(super) struct ClaimLines {
    lost: LogPace,
    counters: LogPace,
    logs: LogPace,
}

impl State {
    /// Whether what peers tell of our own logs gives back what our disk may have lost.
    fn may_lack_logs(&self) -> bool {
        !self.runs.is_begun() || !self.unheard_of_logs.is_empty()
    }

    /// `peer` has told all of `feed` that it holds and we said that we lack.
    pub(super) fn heard(&mut self, peer: &SiteName, feed: Feed) {
        match feed {
            Feed::Counters => self.runs.heard(peer, self.ticket),
            Feed::Logs => drop(self.unheard_of_logs.remove(peer)),
        }
    }

    /// Refuses readings of hybrid clocks that are too far ahead of our own.
    pub(super) fn check_clocks(
        &mut self,
        updates: &CounterUpdates,
        now_ms: u64,
    ) -> Result<(), ApplyError> {
        let latest = updates.latest_clock();
        if latest <= self.clock.taken_to(now_ms) {
            return Ok(());
        }
        self.tally.clocks_refused += 1;
        let ahead_ms = (latest >> 16).saturating_sub(now_ms);
        Err(ApplyError::ClockAhead {
            ahead_s: ahead_ms / 1000,
        })
    }

    /// Looks at what the record of a peer shows of our own counters: that the peer holds a state of ours
    /// that we do not. Where that can be, our disk has lost something that was durable, which comes back
    /// with this record. What cannot be is left out of `updates`; whether something was.
    pub(super) fn check_own(
        &mut self,
        from: &SiteName,
        updates: &mut CounterUpdates,
        numbers: &Numbers,
        now_ms: u64,
    ) -> bool {
        let is_own = |place: usize| numbers.origin(place) == OriginId::OWN;
        let own = updates.claims().filter(|(place, _)| is_own(*place));
        let lost = own
            .map(|(_, epoch)| epoch)
            .filter(|epoch| self.lost(*epoch));
        let limit = match self.runs.is_settled() {
            true => Epoch::default(),
            false => epoch_limit(now_ms),
        };
        let (given_back, false_ones): (Vec<_>, Vec<_>) = lost.partition(|epoch| *epoch <= limit.0);
        if let Some(newest) = given_back.into_iter().max() {
            self.take_back(from, newest);
        }
        let Some(newest) = false_ones.into_iter().max() else {
            return false;
        };
        self.tally.false_claims += 1;
        if let Some(more) = self.claim_lines.counters.is_due(Instant::now()) {
            error!(
                peer = %from,
                ours = self.epoch.0,
                theirs = newest,
                more,
                "a peer tells counters of this site that it has not written: they are not taken"
            );
        }
        updates
            .retain_claims(|place, epoch| !is_own(place) || !self.lost(epoch) || epoch <= limit.0);
        true
    }

    /// A peer holds epochs of ours up to `newest` that our journal lost.
    fn take_back(&mut self, from: &SiteName, newest: u64) {
        self.tally.own_from_peers += 1;
        if let Some(more) = self.claim_lines.lost.is_due(Instant::now()) {
            error!(
                peer = %from,
                ours = self.epoch.0,
                theirs = newest,
                more,
                "a peer holds counters of this site that its journal lost: they come back"
            );
        }
        if newest > self.epoch.0 {
            self.go_beyond(Epoch(newest));
        }
    }

    /// Whether this epoch of ours, which a peer names, is none that our journal knows of.
    pub(super) fn lost(&self, epoch: u64) -> bool {
        epoch > self.epoch.0 || self.runs.lost(epoch)
    }

    /// What we write next is newer than `lost`. So is what this run wrote, or peers that hold all up to
    /// there would not take it.
    fn go_beyond(&mut self, lost: Epoch) {
        self.runs.go_beyond(self.epoch, lost);
        self.epoch = lost;
        let changed: Vec<_> = self.runs.bases().map(|(at, _)| at).collect();
        for at in changed {
            if self.keys.counter(at).has(flag::MORE) {
                self.keys.extra_mut(at).changed = Extra::UNSEALED;
            }
            self.mark_quietly(at);
        }
    }

    /// Whether a peer's stretch is of a log of ours and tells more of it than there is. Then nothing of
    /// it is taken.
    pub(super) fn is_false_log(&mut self, from: &SiteName, section: &LogSection<'_>) -> bool {
        let head = &section.head;
        if head.log.site != *self.origins.site(SiteId::OWN) {
            return false;
        }
        let ours = self.log_position(&head.log);
        let last = section.entries.last().map_or(head.prev, |(id, _)| *id);
        let tells_more =
            last > ours.last || head.trimmed_to > ours.trimmed_to || head.revision > ours.revision;
        let is_false = tells_more && (!self.may_lack_logs() || head.revision >= OWN_REVISION_END);
        if is_false {
            self.tally.false_claims += 1;
            if let Some(more) = self.claim_lines.logs.is_due(Instant::now()) {
                error!(
                    peer = %from,
                    log = %head.log,
                    ours = %ours.last,
                    theirs = %last,
                    more,
                    "a peer tells more of a log of this site than it has written: that is not taken"
                );
            }
        }
        is_false
    }
}
