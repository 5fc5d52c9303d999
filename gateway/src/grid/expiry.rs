//! Keys that expire. The deadline is replicated, last writer wins; when it has passed, every site
//! deletes by its own clock what it has seen of the key by then. As with `DEL`, what two sites
//! delete goes once, and what a site had not seen stays.

use super::counter::{Deadline, Extra, SiteId};
use super::keyspace::CounterRef;
use super::recent::Feed;
use super::state::{Kind, OpError, State};

/// Keys deleted under one hold of the lock.
const EXPIRED_PER_STEP: usize = 256;
/// After so many fields of hashes no further key is.
const FIELDS_PER_STEP: u64 = 1 << 16;

impl State {
    /// When `key` expires, in milliseconds since 1970: none if there is no such key, 0 if never.
    pub(crate) fn deadline(&self, key: &[u8]) -> Option<u64> {
        let place = self.keys.find(key)?;
        self.kind_at(place)?;
        Some(self.deadline_at(place))
    }

    fn deadline_at(&self, place: u32) -> u64 {
        let extra = self.keys.extra(CounterRef::key(place));
        extra.map_or(0, |extra| extra.deadline.at_ms)
    }

    /// Whether the key's deadline has passed.
    pub(super) fn is_due(&self, place: u32) -> bool {
        let at_ms = self.deadline_at(place);
        at_ms != 0 && at_ms <= self.now_ms
    }

    /// Has `key`, if it is there, expire at `at_ms`; 0: never. One that has passed deletes it.
    pub(crate) fn set_deadline(&mut self, key: &[u8], at_ms: u64) -> Result<(), OpError> {
        let Some(place) = self.keys.find(key) else {
            return Ok(());
        };
        self.check_not_refused()?;
        match self.kind_at(place) {
            None => return Ok(()),
            Some(Kind::Log(_)) if at_ms == 0 => return Ok(()),
            Some(Kind::Log(_)) => return Err(OpError::LogDeadline),
            Some(Kind::Counter | Kind::Hash) => {}
        }
        let moves = self.deadline_at(place) != at_ms;
        self.tally.writes[Feed::Counters as usize] += u64::from(moves);
        self.put_deadline(place, at_ms);
        self.expire_if_due(key);
        Ok(())
    }

    /// Changes the deadline, if it is another, and lists the key for the next flush.
    pub(super) fn put_deadline(&mut self, place: u32, at_ms: u64) {
        if self.deadline_at(place) == at_ms {
            return;
        }
        let deadline = Deadline {
            at_ms,
            hlc: Deadline::UNSEALED,
            site: SiteId::OWN,
        };
        self.replace_deadline(place, deadline);
        let at = CounterRef::key(place);
        self.keys.extra_mut(at).changed = Extra::UNSEALED;
        self.mark_counter(at);
    }

    pub(super) fn replace_deadline(&mut self, place: u32, deadline: Deadline) {
        let extra = self.keys.extra_mut(CounterRef::key(place));
        let before = std::mem::replace(&mut extra.deadline, deadline);
        self.deadlines.remove(&(before.at_ms, place));
        if deadline.at_ms != 0 {
            self.deadlines.insert((deadline.at_ms, place));
        }
        // A key whose deadline had passed is there again when a peer's later one takes its place.
        self.recount(place);
        self.touched(place);
    }

    /// Merges a deadline from a record; a change of ours that waits for its flush is later.
    pub(super) fn merge_deadline(&mut self, place: u32, deadline: Deadline) {
        self.clock.observe(deadline.hlc);
        let rank = |deadline: &Deadline| {
            let site = self.origins.site(deadline.site).clone();
            (deadline.hlc, site, deadline.at_ms)
        };
        let known = self.keys.extra(CounterRef::key(place));
        let known = known.map_or_else(Deadline::default, |extra| extra.deadline);
        if rank(&deadline) > rank(&known) {
            self.replace_deadline(place, deadline);
        }
    }

    /// Deletes `key` if its deadline has passed: before anything is written to it.
    pub(super) fn expire_if_due(&mut self, key: &[u8]) {
        if self.deadlines.is_empty() {
            return;
        }
        if let Some(place) = self.keys.find(key)
            && self.is_due(place)
        {
            self.expire(place);
        }
    }

    /// Returns how many fields the key had.
    fn expire(&mut self, place: u32) -> u64 {
        let fields = self.clear_fields(place);
        self.clear_counter(place);
        self.put_deadline(place, 0);
        self.recount(place);
        self.tally.expired += 1;
        fields
    }

    /// Deletes some of the keys whose deadline has passed by `now_ms`; whether there are more.
    /// While the journal refuses writes they stay, unseen.
    pub(crate) fn expire_some(&mut self, now_ms: u64) -> bool {
        self.now_ms = now_ms;
        if self.refused.is_some() {
            return false;
        }
        let mut fields = 0;
        for _ in 0..EXPIRED_PER_STEP {
            match self.deadlines.first() {
                Some((at_ms, place)) if *at_ms <= now_ms => {
                    let place = *place;
                    fields += self.expire(place);
                }
                Some(_) | None => return false,
            }
            if fields >= FIELDS_PER_STEP {
                break;
            }
        }
        true
    }

    /// Keys that have a deadline.
    pub(crate) fn expiring(&self) -> u64 {
        self.deadlines.len() as u64
    }
}
