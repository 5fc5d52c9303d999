//! Forgetting counters that were deleted, so that a gateway can make and delete them for years.
//! docs/STORE.md, "Forgetting", has the rule and why it holds.

mod rule;
mod stable;
mod sweep;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use bytes::Bytes;
use strait_transport::SiteName;

use super::counter::{OriginId, flag};
use super::keyspace::CounterRef;
use super::record::{CounterUpdate, CounterUpdates, KIND_FORGOTTEN, VERSION};
use super::state::State;
use super::varint::{Malformed, Reader};
use super::{Epoch, Grid, Origin, Positions};

pub(super) use rule::Rule;
#[cfg(test)]
pub(super) use rule::broken;
pub(super) use stable::{Members, Stable};
pub use stable::{Statement, StatementError};
pub(super) use sweep::Sweeps;

/// Names that are looked at under one hold of the lock.
const VISITS_PER_STEP: usize = 2048;

/// What is forgotten, and how far the walk over all names has come.
#[derive(Debug, Default)]
pub(super) struct Forgetting {
    /// While a walk is under way, what every site holds.
    stable: Option<Stable>,
    /// The next name of the walk.
    next: u32,
    /// Names that the walk found dead, and left.
    left: u64,
    /// The same of the last walk that ended.
    pub(super) dead: u64,
    /// Names that were forgotten since the start.
    pub(super) total: u64,
    /// Up to where something of each origin was forgotten.
    horizon: BTreeMap<OriginId, Epoch>,
    /// Comparisons that are under way, and until when at most: what they find missing here must not have
    /// been forgotten meanwhile.
    pub(super) held: BTreeMap<SiteName, Instant>,
    /// For whom names that are dead are kept: members that had not said what they hold when a walk last began, or
    /// who hold less than we do.
    pub(super) kept_for: Vec<SiteName>,
    /// Peers that lack something that was forgotten here: nothing of theirs is taken until they were told
    /// all that is left.
    behind: BTreeSet<SiteName>,
}

/// What becomes of a name.
enum Fate {
    /// Clients see it, or somebody may have more to say of it.
    Stays,
    /// Nobody sees it, and some site may not know that yet.
    IsDead,
    /// What it holds of ours ends: nothing that comes later builds on it.
    Ends(Vec<CounterRef>),
    Goes,
}

impl Forgetting {
    pub(super) fn is_behind(&self, peer: &SiteName) -> bool {
        self.behind.contains(peer)
    }
}

impl State {
    /// Looks at some names; false at the end.
    fn forget_step(&mut self, stable: &Stable) -> bool {
        for _ in 0..VISITS_PER_STEP {
            let place = self.forgetting.next;
            if self.keys.names.get(place).is_none() {
                return false;
            }
            self.forgetting.next += 1;
            match self.fate(place, stable) {
                Fate::Stays => {}
                Fate::IsDead => self.forgetting.left += 1,
                Fate::Ends(counters) => {
                    self.forgetting.left += 1;
                    counters.into_iter().for_each(|at| self.end(at));
                }
                Fate::Goes => self.forget(place),
            }
        }
        true
    }

    fn fate(&mut self, place: u32, stable: &Stable) -> Fate {
        let counter = self.keys.names.at(place);
        let in_use = flag::VISIBLE | flag::PRESENT | flag::LOG | flag::DIRTY;
        if counter.has(in_use) || counter.is_given_back() {
            return Fate::Stays;
        }
        if counter.is_blank() && !counter.has(flag::MORE | flag::HASH) {
            return self.fate_of_blank(place);
        }
        let hash = self.keys.hashes.get(&place);
        let fields = hash.map_or(0, |hash| hash.fields.len() as u32);
        let fields = (0..fields).map(|field| CounterRef::field(place, field));
        let all: Vec<_> = std::iter::once(CounterRef::key(place))
            .chain(fields)
            .collect();
        if !all.iter().all(|at| self.is_at_rest(*at)) {
            return Fate::Stays;
        }
        let ends = |at: &CounterRef| match self.keys.is_all_clear(*at) {
            true => !self.keys.has_own_ended(*at),
            // Counted where the deletion was not known yet: whoever writes next would clear it, and
            // when that is everybody nothing shows it again.
            false => self.keys.is_stable(*at, stable),
        };
        let ending: Vec<_> = match Rule::EndOwn.is_broken() {
            true => Vec::new(),
            false => all.iter().copied().filter(ends).collect(),
        };
        if !ending.is_empty() {
            return Fate::Ends(ending);
        }
        let goes =
            |at: &CounterRef| self.keys.is_all_clear(*at) && self.keys.is_stable(*at, stable);
        match stable.is_known && all.iter().all(goes) {
            true => Fate::Goes,
            false => Fate::IsDead,
        }
    }

    /// A name that was made and came to nothing: of a record that said nothing new. One that is on its
    /// way from a record to its first counter looks the same for a moment.
    fn fate_of_blank(&mut self, place: u32) -> Fate {
        let counter = self.keys.names.at_mut(place);
        if counter.has(flag::ENDS) {
            return Fate::Goes;
        }
        counter.set(flag::ENDS, true);
        Fate::Stays
    }

    /// Whether clients see nothing of the counter, and all of it is on disk.
    fn is_at_rest(&self, at: CounterRef) -> bool {
        let counter = self.keys.counter(at);
        if counter.has(flag::PRESENT | flag::DIRTY | flag::TO_CLEAR) {
            return false;
        }
        let extra = self.keys.extra(at);
        let is_settled = extra.is_none_or(|extra| extra.changed <= self.durable_epoch.0);
        let expires = extra.is_some_and(|extra| extra.deadline.at_ms != 0);
        is_settled && !expires
    }

    /// Our component begins again at 0, for good: presence and all else stay as they are.
    fn end(&mut self, at: CounterRef) {
        self.clear(at, true);
        self.mark_quietly(at);
    }

    fn forget(&mut self, place: u32) {
        let fields = self.keys.hashes.get(&place);
        let fields = fields.map_or(0, |hash| hash.fields.len() as u32);
        let fields = (0..fields).map(|field| CounterRef::field(place, field));
        for at in std::iter::once(CounterRef::key(place)).chain(fields) {
            for (origin, version) in self.keys.versions(at) {
                let known = self.forgetting.horizon.entry(origin).or_default();
                *known = (*known).max(Epoch(version));
            }
        }
        if Rule::Forgets.is_broken() {
            return;
        }
        self.keys.forget(place);
        self.forgetting.total += 1;
    }

    /// Whether somebody at `theirs` may hold what was forgotten here, and not know that it was deleted.
    pub(super) fn has_forgotten_beyond(&self, theirs: &Positions) -> bool {
        let mut horizon = self.forgetting.horizon.iter();
        let is_beyond = |(origin, epoch): (&OriginId, &Epoch)| {
            theirs.watermark(self.origins.origin(*origin)) < *epoch
        };
        // After damage nobody knows whether all is here that was not forgotten.
        !self.doubtful && !Rule::TellAll.is_broken() && horizon.any(is_beyond)
    }

    /// Up to where something of each origin was forgotten.
    pub(super) fn forgotten_to(&self) -> Positions {
        let horizon = self.forgetting.horizon.iter();
        let named = horizon.map(|(id, epoch)| (self.origins.origin(*id).clone(), *epoch));
        Positions {
            watermarks: named.collect(),
            ..Positions::default()
        }
    }

    /// For the journal: what was forgotten, and the clock, which may have come from there.
    pub(super) fn forgotten_records(&self) -> Vec<Bytes> {
        if self.forgetting.horizon.is_empty() || Rule::NoteForgotten.is_broken() {
            return Vec::new();
        }
        let forgotten = self.forgotten_to();
        let record = |piece: Bytes| {
            let head = [VERSION, KIND_FORGOTTEN];
            [&head[..], &self.clock.last().to_le_bytes(), &piece]
                .concat()
                .into()
        };
        forgotten.encode().into_iter().map(record).collect()
    }

    /// Takes what [`Self::forgotten_records`] wrote.
    pub(super) fn read_forgotten(&mut self, body: &[u8]) -> Result<(), Malformed> {
        let mut reader = Reader::new(body);
        let clock = reader.u64_le()?;
        let mut forgotten = Positions::default();
        let read = forgotten.extend_from(reader.rest());
        read.map_err(|_| Malformed("positions that cannot be read"))?;
        if !Rule::NoteClock.is_broken() {
            self.clock.observe(clock.min(super::clock::HLC_MAX));
        }
        for (origin, epoch) in forgotten.watermarks {
            let mut intern =
                |origin: &Origin| std::sync::Arc::make_mut(&mut self.origins).intern(origin);
            let origin = intern(&origin).ok_or(Malformed("too many origins"))?;
            let known = self.forgetting.horizon.entry(origin).or_default();
            *known = (*known).max(epoch);
        }
        Ok(())
    }

    /// Begins a walk if anything can be forgotten.
    fn begin_forgetting(&mut self) -> bool {
        let has_hidden = self.keys.names.used() as u64 > self.visible;
        if !has_hidden || self.keeps_all() {
            return false;
        }
        let (stable, kept_for) = self.find_stable();
        (self.forgetting.stable, self.forgetting.kept_for) = (Some(stable), kept_for);
        (self.forgetting.next, self.forgetting.left) = (0, 0);
        true
    }

    /// Whether nothing may be forgotten now.
    fn keeps_all(&self) -> bool {
        let now = Instant::now();
        let starts = self.runs.is_open() && !Rule::WaitForOwnStart.is_broken();
        let compares = self.forgetting.held.values().any(|until| now < *until);
        starts
            || !self.sweeps.is_empty()
            || self.doubtful
            || self.refused.is_some()
            || (compares && !Rule::HoldForComparisons.is_broken())
    }

    /// Goes on with a walk; false when it is over.
    fn go_on_forgetting(&mut self) -> bool {
        let Some(stable) = self.forgetting.stable.take() else {
            return false;
        };
        if self.keeps_all() || !self.forget_step(&stable) {
            self.forgetting.dead = self.forgetting.left;
            self.keys.give_back_spare();
            return false;
        }
        self.forgetting.stable = Some(stable);
        true
    }
}

/// Whether a row says of itself that nothing of it counts.
pub(super) fn is_dead_row(updates: &CounterUpdates, row: &CounterUpdate) -> bool {
    let cleared = updates
        .more(row)
        .map(|more| &more.cleared[..])
        .unwrap_or_default();
    let is_clear = |(origin, component): &(usize, super::counter::Component)| {
        let cleared = cleared.iter().find(|(of, _)| of == origin);
        cleared.is_some_and(|(_, cleared)| cleared.is_all_of(*component))
    };
    !row.present && updates.parts(row).iter().all(is_clear)
}

impl Grid {
    /// Begins a walk that forgets what can be: whether there is anything to do.
    pub(super) fn begin_forgetting(&self) -> bool {
        self.state.lock().begin_forgetting()
    }

    /// Goes on with it for a moment; false when it is over.
    pub(super) fn go_on_forgetting(&self) -> bool {
        self.state.lock().go_on_forgetting()
    }

    /// Forgets all that can be forgotten now.
    pub fn forget(&self) {
        if self.begin_forgetting() {
            while self.go_on_forgetting() {}
        }
    }

    /// Whether somebody who holds `theirs` may hold counters that were deleted and forgotten here since.
    pub fn has_forgotten_beyond(&self, theirs: &Positions) -> bool {
        self.state.lock().has_forgotten_beyond(theirs)
    }

    /// `peer` says that it durably holds `theirs`. Whether nothing that it tells may be taken: see
    /// [`Self::is_behind`].
    pub fn hear_positions(&self, peer: &SiteName, theirs: &Positions) -> bool {
        let mut state = self.state.lock();
        state.members.hear_positions(peer, theirs);
        let is_behind = state.has_forgotten_beyond(theirs) && !Rule::PutAsideBehind.is_broken();
        match is_behind {
            true => drop(state.forgetting.behind.insert(peer.clone())),
            false => drop(state.forgetting.behind.remove(peer)),
        }
        is_behind
    }

    /// Whether `peer` may hold as if they were there counters that were deleted and forgotten here: it is
    /// to sweep them before anything of it is taken.
    pub fn is_behind(&self, peer: &SiteName) -> bool {
        let state = self.state.lock();
        // Of two that have to sweep something one begins.
        state.forgetting.behind.contains(peer) && !state.sweeps.is_of(peer)
    }
}
