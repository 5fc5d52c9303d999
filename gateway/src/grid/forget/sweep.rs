//! A peer that was away while counters were deleted and forgotten may still hold them: its directory was
//! put back from an older copy, or it was no member for a while. So it is told all that we hold, not only
//! what is new. What it holds of epochs that we hold all of, and is not told, was deleted.

use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::HashSet;
use strait_transport::SiteName;

use super::super::counter::{Cleared, Component, Deadline, Extra, OriginId, SiteId, flag};
use super::super::keyspace::CounterRef;
use super::super::record::CounterUpdates;
use super::super::state::State;
use super::super::{Epoch, FlushError, Grid, Positions};
use super::Rule;

/// Counters that are looked at under one hold of the lock.
const VISITS_PER_STEP: usize = 1024;

/// What one peer has told since it began to tell all: components, by their origins.
type Told = HashSet<(CounterRef, OriginId)>;

/// What peers tell that tell all they hold.
#[derive(Debug, Default)]
pub(in crate::grid) struct Sweeps(BTreeMap<SiteName, Arc<Told>>);

impl Sweeps {
    /// Whether no peer does.
    pub(in crate::grid) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this one does.
    pub(super) fn is_of(&self, peer: &SiteName) -> bool {
        self.0.contains_key(peer)
    }

    /// Memory taken.
    pub(in crate::grid) fn bytes(&self) -> usize {
        self.0.values().map(|told| told.allocation_size()).sum()
    }
}

impl State {
    /// Notes what a peer tells, if it tells all.
    pub(in crate::grid) fn note_told(
        &mut self,
        from: &SiteName,
        updates: &CounterUpdates,
        origins: &[OriginId],
    ) {
        let Some(mut told) = self.sweeps.0.remove(from) else {
            return;
        };
        let all = Arc::make_mut(&mut told);
        let of_peer = self.origins.of_site(from);
        for row in &updates.rows {
            let (key, field) = updates.key(row);
            if let Some(at) = self.find_counter(key, field) {
                let parts = updates.parts(row).iter();
                all.extend(parts.map(|(origin, _)| (at, origins[*origin])));
                if row.hlc == 0 {
                    // The peer's own component may be left out, as it is changing: it comes later.
                    all.extend(of_peer.iter().map(|origin| (at, *origin)));
                }
            }
        }
        self.sweeps.0.insert(from.clone(), told);
    }

    /// Sweeps some counters; where to go on.
    fn sweep_step(
        &mut self,
        mut at: Option<CounterRef>,
        (told, held): (&Told, &Positions),
    ) -> Option<CounterRef> {
        for _ in 0..VISITS_PER_STEP {
            let next = self.keys.following(at)?;
            at = Some(next);
            if !self.keys.counter(next).is_blank() {
                self.sweep_counter(next, (told, held));
            }
        }
        at
    }

    fn sweep_counter(&mut self, at: CounterRef, (told, held): (&Told, &Positions)) {
        self.clear_if_due(at);
        let held = |origin: OriginId| held.watermark(self.origins.origin(origin)).0;
        let own = (OriginId::OWN, self.keys.counter(at).own);
        let parts: Vec<_> = std::iter::once(own).chain(self.keys.others(at)).collect();
        let (mut gone, mut stays) = (Vec::new(), false);
        for (origin, component) in parts {
            let is_told = told.contains(&(at, origin));
            let is_dirty = origin == OriginId::OWN && self.keys.counter(at).has(flag::DIRTY);
            if !is_told && !is_dirty && component.version <= held(origin) {
                gone.push((origin, component));
            } else {
                stays = true;
            }
        }
        let base = self.runs.base(at);
        let base = base.filter(|base| {
            let is_gone = gone.iter().any(|(origin, _)| *origin == OriginId::OWN);
            let is_told = told.contains(&(at, OriginId::OWN));
            !is_gone && !is_told && base.version > 0 && base.version <= held(OriginId::OWN)
        });
        gone.retain(|(origin, _)| self.keys.is_living(at, *origin));
        let hides = !stays && self.keys.counter(at).has(flag::PRESENT);
        let expires = !stays && self.keys.extra(at).is_some_and(|e| e.deadline.at_ms != 0);
        if gone.is_empty() && base.is_none() && !hides && !expires {
            return;
        }
        self.runs.keep(at, self.keys.counter(at).own);
        self.take_away(at, gone, base);
        if hides {
            // Later than whatever showed it, and before whatever shows it in another life.
            let counter = self.keys.counter_mut(at);
            (counter.hlc, counter.site) = (counter.hlc + 1, SiteId::OWN);
            self.set_present(at, false);
        }
        if expires {
            self.end_deadline(at);
        }
        self.keys.extra_mut(at).changed = Extra::UNSEALED;
        self.mark_quietly(at);
    }

    fn take_away(
        &mut self,
        at: CounterRef,
        gone: Vec<(OriginId, Component)>,
        base: Option<Component>,
    ) {
        for (origin, component) in gone {
            let half_epoch = match origin {
                OriginId::OWN => Cleared::UNSEALED,
                // Its origin began again at 0 in some epoch after this one.
                _ => 2 * component.version + 1,
            };
            if origin == OriginId::OWN {
                self.keys.counter_mut(at).own.sum = 0;
            }
            let cleared = Cleared::by_origin(half_epoch);
            self.keys
                .change_extra(at, |extra| extra.clear(origin, cleared));
        }
        if let Some(base) = base {
            let cleared = self
                .keys
                .extra(at)
                .and_then(|extra| extra.cleared(OriginId::OWN));
            // Once cleared, the sum began again at 0: nothing of the base is in it.
            if cleared.is_none_or(|cleared| cleared.half_epoch <= base.version.saturating_mul(2)) {
                let own = &mut self.keys.counter_mut(at).own;
                own.sum = own.sum.wrapping_sub(base.sum);
            }
            self.runs.set_base(at, Component { sum: 0, ..base });
        }
    }

    fn end_deadline(&mut self, at: CounterRef) {
        let known = self.keys.extra(at).map(|extra| extra.deadline);
        let deadline = Deadline {
            at_ms: 0,
            hlc: known.map_or(1, |known| known.hlc.saturating_add(1)),
            site: SiteId::OWN,
        };
        if !at.is_field() {
            self.replace_deadline(at.name, deadline);
        }
    }
}

impl Grid {
    /// `from` begins to tell all that it holds, as it has forgotten what we may hold.
    pub fn begin_sweep(&self, from: &SiteName) {
        self.state
            .lock()
            .sweeps
            .0
            .insert(from.clone(), Arc::default());
    }

    /// It will not go on with that.
    pub fn abandon_sweep(&self, from: &SiteName) {
        self.state.lock().sweeps.0.remove(from);
    }

    /// `from` has told all that it holds, and `held` says up to where it holds all. What it did not tell of
    /// that is deleted here. Blocks for an fsync: until then we must not claim to hold as much.
    ///
    /// # Errors
    /// [`FlushError`]: that is not on disk. It can be asked for again.
    pub fn end_sweep(&self, from: &SiteName, held: &Positions) -> Result<(), FlushError> {
        let told = self.state.lock().sweeps.0.get(from).cloned();
        let told = told.filter(|_| !Rule::Sweep.is_broken());
        let Some(told) = told else { return Ok(()) };
        let mut at = None;
        loop {
            at = self.state.lock().sweep_step(at, (&told, held));
            if at.is_none() {
                break;
            }
        }
        let flushed = self.flush();
        if flushed.is_ok() {
            self.abandon_sweep(from);
        }
        flushed.map(|_: Epoch| ())
    }
}
