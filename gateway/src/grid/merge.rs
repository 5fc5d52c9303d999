//! Merging records into memory: from peers, from the journal. One function for all.

use std::sync::Arc;

use super::clock::HLC_MAX;
use super::cold::Absent;
use super::counter::{Cleared, Component, Deadline, Extra, OriginId, SiteId, flag};
use super::digest::Scope;
use super::forget::is_dead_row;
use super::keyspace::CounterRef;
use super::record::{CounterUpdate, CounterUpdates, LogSection, MoreUpdate};
use super::runs::Clears;
use super::state::{LogId, State};
use super::{Epoch, LOOK_AHEAD_MAX, LogPosition};

/// The sites and origins of a record by their numbers here.
#[derive(Debug)]
pub(super) struct Numbers {
    pub(super) sites: Vec<SiteId>,
    pub(super) origins: Vec<OriginId>,
}

impl Numbers {
    /// What a row says besides presence and components.
    pub(super) fn extra(&self, more: &MoreUpdate) -> Extra {
        let cleared = more.cleared.iter();
        let site = self.sites.get(more.deadline_site);
        Extra {
            cleared: cleared
                .map(|(origin, cleared)| (self.origins[*origin], *cleared))
                .collect(),
            deadline: Deadline {
                at_ms: more.deadline_ms,
                hlc: more.deadline_hlc,
                site: site.copied().unwrap_or(SiteId::OWN),
            },
            ..Extra::default()
        }
    }

    /// Of a site by its place in the record.
    pub(super) fn site(&self, place: usize) -> SiteId {
        self.sites[place]
    }

    /// Of an origin by its place in the record.
    pub(super) fn origin(&self, place: usize) -> OriginId {
        self.origins[place]
    }
}

/// Where a row comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// Our journal, or a peer that tells what is new.
    Told,
    /// A comparison. What it finds missing here was lost, unless more names were forgotten than these,
    /// which had been when it began: then it may be one of them.
    /// A deleted counter is not taken where the scope is what is living.
    Compared { forgotten: u64, scope: Scope },
}

/// The record names more sites, origins or keys than there is room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooMany;

/// Why a stretch of a log was not merged. Nothing of it was.
#[derive(Debug)]
pub(super) enum NotMerged {
    /// Entries between ours and its first are missing.
    Gap { have: LogPosition },
    /// Its trim ends within this block on disk, which is to be thawed first.
    OnDisk(LogId, Absent),
}

impl State {
    /// Numbers for what a record names; before any of its rows is merged.
    pub(super) fn intern(&mut self, updates: &CounterUpdates) -> Result<Numbers, TooMany> {
        let names = Arc::make_mut(&mut self.origins);
        let sites = updates.sites.iter().map(|site| names.intern_site(site));
        let sites = sites.collect::<Option<_>>().ok_or(TooMany)?;
        let origins = updates.origins.iter().map(|origin| names.intern(origin));
        let origins = origins.collect::<Option<_>>().ok_or(TooMany)?;
        Ok(Numbers { sites, origins })
    }

    /// Merges counters of a record, which are kept at `places`, or wherever their names are if that
    /// is empty; of each, whether anything of it was news.
    pub(super) fn merge_rows(
        &mut self,
        updates: &CounterUpdates,
        rows: &[CounterUpdate],
        places: &[CounterRef],
        (numbers, source): (&Numbers, Source),
    ) -> Result<Vec<bool>, TooMany> {
        let mut news = Vec::with_capacity(rows.len());
        for (row, at) in rows.iter().zip(places) {
            news.push(self.merge_row(*at, (updates, row), numbers));
        }
        for rows in rows[places.len().min(rows.len())..].chunks(LOOK_AHEAD_MAX) {
            self.look_ahead(rows.iter().map(|row| updates.key(row).0));
            for row in rows {
                let (key, field) = updates.key(row);
                if self.may_be_forgotten((updates, row), source) {
                    news.push(false);
                    continue;
                }
                let at = self.place_or_create(key, field)?;
                news.push(self.merge_row(at, (updates, row), numbers));
            }
        }
        Ok(news)
    }

    /// Where a counter is kept, if there is one.
    pub(super) fn find_counter(&self, key: &[u8], field: Option<&[u8]>) -> Option<CounterRef> {
        let name = self.keys.find(key)?;
        match field {
            None => Some(CounterRef::key(name)),
            Some(field) => {
                let field = self.keys.find_field(name, field)?;
                Some(CounterRef::field(name, field))
            }
        }
    }

    /// Where a counter is kept, which is made if there is none.
    pub(super) fn place_or_create(
        &mut self,
        key: &[u8],
        field: Option<&[u8]>,
    ) -> Result<CounterRef, TooMany> {
        let name = self.keys.find_or_create(key).ok_or(TooMany)?;
        let Some(field) = field else {
            return Ok(CounterRef::key(name));
        };
        let field = self.keys.find_or_create_field(name, field);
        Ok(CounterRef::field(name, field.ok_or(TooMany)?))
    }

    /// Whether a row of a comparison may be of a counter that is not here because it was forgotten.
    pub(super) fn may_be_forgotten(
        &self,
        (updates, row): (&CounterUpdates, &CounterUpdate),
        source: Source,
    ) -> bool {
        let Source::Compared { forgotten, scope } = source else {
            return false;
        };
        let (key, field) = updates.key(row);
        let at = self.find_counter(key, field);
        let is_here = at.is_some_and(|at| !self.keys.counter(at).is_blank());
        let is_dead = || scope == Scope::Living && is_dead_row(updates, row);
        !is_here && (self.keys.forgotten != forgotten || is_dead())
    }

    fn merge_row(
        &mut self,
        at: CounterRef,
        (updates, row): (&CounterUpdates, &CounterUpdate),
        numbers: &Numbers,
    ) -> bool {
        // What was deleted is what was here by then.
        self.clear_if_due(at);
        let lost_clear = updates.more(row).and_then(|more| {
            let mut cleared = more.cleared.iter();
            let own = cleared.find(|(origin, _)| numbers.origins[*origin] == OriginId::OWN);
            own.map(|(_, cleared)| *cleared)
        });
        // Before what of ours comes back, which is a change of ours for the next flush.
        let mut news = self.merge_presence(at, row.hlc, numbers.sites[row.site], row.present);
        for (origin, component) in updates.parts(row) {
            news |= match numbers.origins[*origin] {
                OriginId::OWN => self.merge_own(at, *component, lost_clear),
                origin => self.merge_other(at, origin, *component),
            };
        }
        if let Some(more) = updates.more(row) {
            let said = |state: &Self| {
                let extra = state.keys.extra(at);
                extra.map(|extra| (extra.cleared.clone(), extra.deadline))
            };
            let before = said(self);
            let extra = numbers.extra(more);
            for (origin, cleared) in extra.cleared {
                self.keys
                    .change_extra(at, |known| known.clear(origin, cleared));
            }
            if extra.deadline.hlc != 0 && !at.is_field() {
                self.merge_deadline(at.name, extra.deadline);
            }
            news |= said(self) != before;
        }
        if news {
            self.touched(at.name);
        }
        news
    }

    /// Our own component, from our journal or back from a peer, with what its row says was cleared of it.
    fn merge_own(
        &mut self,
        at: CounterRef,
        component: Component,
        cleared: Option<Cleared>,
    ) -> bool {
        if component.version > self.epoch.0 {
            // Also when it comes from a peer: what we write next must be newer.
            self.epoch = Epoch(component.version);
        }
        if self.runs.lost(component.version) {
            // It is written anew: other peers, who heard of later epochs, would not be sent this one.
            self.mark_quietly(at);
        }
        let cleared = Clears {
            lost: cleared.unwrap_or_default(),
            since: self
                .keys
                .extra(at)
                .and_then(|extra| extra.cleared(OriginId::OWN))
                .unwrap_or_default(),
        };
        if let Some(more) = self.runs.take_back(at, component, cleared) {
            if more != 0 {
                self.mark_quietly(at);
                let own = &mut self.keys.counter_mut(at).own;
                own.sum = own.sum.wrapping_add(more);
            }
            return more != 0;
        }
        let counter = self.keys.counter_mut(at);
        let dirty = counter.has(flag::DIRTY);
        if counter.own.version >= component.version {
            // While it is dirty our sum runs ahead of its version.
            let same = counter.own.version != component.version
                || counter.own.sum == component.sum
                || dirty;
            if !same {
                // Ours is right: the next flush says so under a newer version.
                self.mark_quietly(at);
                self.contradiction(at, OriginId::OWN);
            }
            return false;
        }
        if dirty && !self.replaying {
            // We have already gone on from an older state; ours will be the newer version.
            return false;
        }
        self.runs.replay(at, counter.own, component.version);
        counter.own = component;
        true
    }

    fn merge_other(&mut self, at: CounterRef, origin: OriginId, component: Component) -> bool {
        let known = self.keys.other(at, origin);
        if known.version == component.version && known.sum != component.sum && known.version > 0 {
            self.contradiction(at, origin);
        }
        let news = known.merge(component) != known;
        if news {
            self.keys.merge_other(at, origin, component);
        }
        news
    }

    /// Two sites tell different sums of one version: memory, a disk or a program went wrong.
    /// Both take the same of the two, until the origin has heard of it and writes it anew.
    fn contradiction(&mut self, at: CounterRef, origin: OriginId) {
        self.tally.conflicts += 1;
        let (key, field) = self.keys.key_of(at);
        tracing::debug!(
            origin = %self.origins.origin(origin),
            key = %key.escape_ascii(),
            field = %field.unwrap_or_default().escape_ascii(),
            "the counter that sites disagree about"
        );
    }

    fn merge_presence(&mut self, at: CounterRef, hlc: u64, site: SiteId, present: bool) -> bool {
        debug_assert!(hlc <= HLC_MAX, "checked by the decoder");
        self.clock.observe(hlc);
        let counter = self.keys.counter(at);
        // A change of ours that the next flush will stamp is later than anything seen by then.
        let is_ours = counter.has(flag::DIRTY) && !counter.has(flag::ENDS);
        if hlc == 0 || (is_ours && !self.replaying) {
            return false;
        }
        let known = (
            counter.hlc,
            self.origins.site(counter.site),
            counter.has(flag::PRESENT),
        );
        let news = (hlc, self.origins.site(site), present) > known;
        if news {
            let counter = self.keys.counter_mut(at);
            counter.hlc = hlc;
            counter.site = site;
            self.set_present(at, present);
        }
        news
    }

    /// Notes what a record, now merged in full, says about completeness; whether that was news.
    pub(super) fn complete(&mut self, updates: &CounterUpdates, numbers: &Numbers) -> bool {
        let mut news = false;
        for (origin, epoch) in &updates.complete {
            let known = match numbers.origins[*origin] {
                OriginId::OWN => &mut self.epoch,
                origin => self.watermarks.entry(origin).or_default(),
            };
            news |= *epoch > *known;
            *known = (*known).max(*epoch);
        }
        news
    }

    /// Merges a stretch of a log; how many entries were new.
    pub(super) fn merge_section(
        &mut self,
        section: &LogSection<'_>,
    ) -> Result<Result<u64, NotMerged>, TooMany> {
        let id = self.find_or_create_log(&section.head.log).ok_or(TooMany)?;
        let log = &self.logs[id.0];
        if log.has_gap_before(section) {
            return Ok(Err(NotMerged::Gap {
                have: log.position(),
            }));
        }
        let merged = self.with_log(id, |log| log.merge(section));
        Ok(merged.map_err(|absent| NotMerged::OnDisk(id, absent)))
    }
}
