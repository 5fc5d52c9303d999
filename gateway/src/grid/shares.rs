//! What a counter is made of: each origin's component, and what of it counts.

use super::counter::{Cleared, Component, Counter, Extra, OriginId, flag, push_one};
use super::forget::{Rule, Stable};
use super::keyspace::{CounterRef, Keyspace};

/// One origin's share of a counter.
struct Share {
    origin: OriginId,
    component: Component,
    /// What was cleared of it, by the latest clear.
    cleared: Option<Cleared>,
    /// What of the component counts.
    rest: i64,
    /// Nothing was said of it since it was cleared, or ever.
    is_clear: bool,
}

impl Share {
    /// Whether nothing of it can count any more, whatever later component or older clear of this
    /// origin it meets: the origin itself has begun again at 0.
    fn has_ended(&self) -> bool {
        self.is_clear && self.cleared.is_some_and(|cleared| cleared.sum == 0)
    }
}

impl Keyspace {
    /// What counts of all components, whether clients see the counter or not.
    pub(super) fn sum(&self, at: CounterRef) -> i64 {
        self.sum_of(self.counter(at), at)
    }

    /// The same of `counter`, which stands at `at`.
    pub(super) fn sum_of(&self, counter: &Counter, at: CounterRef) -> i64 {
        if !counter.has(flag::MORE) {
            return counter.sum_inline();
        }
        self.shares(at)
            .fold(0, |sum, share| sum.wrapping_add(share.rest))
    }

    /// Every component, with what of it counts.
    fn shares(&self, at: CounterRef) -> impl Iterator<Item = Share> {
        let counter = self.counter(at);
        self.shares_of(counter, at)
    }

    fn shares_of<'a>(
        &'a self,
        counter: &'a Counter,
        at: CounterRef,
    ) -> impl Iterator<Item = Share> + 'a {
        let extra = self.extra(at);
        std::iter::once((OriginId::OWN, counter.own))
            .chain(self.others(at))
            .map(move |(origin, component)| {
                let cleared = extra.and_then(|extra| extra.cleared(origin));
                // While it is dirty our own sum is newer than its version.
                let ahead = origin == OriginId::OWN && counter.has(flag::DIRTY);
                let rest = match cleared {
                    None => component.sum,
                    Some(cleared) if ahead => component.sum.wrapping_sub(cleared.sum),
                    Some(cleared) => cleared.rest_of(component),
                };
                // Nothing has been said of it since it was cleared, or ever.
                let still = match cleared {
                    None => component.version == 0,
                    Some(cleared) if ahead => cleared.half_epoch == Cleared::UNSEALED,
                    Some(cleared) => cleared.is_up_to(component),
                };
                Share {
                    origin,
                    component,
                    cleared,
                    rest,
                    is_clear: still && rest == 0,
                }
            })
    }

    /// Components of which something counts, or may.
    pub(super) fn living(&self, at: CounterRef) -> impl Iterator<Item = (OriginId, Component)> {
        let living = self.shares(at).filter(|share| !share.is_clear);
        living.map(|share| (share.origin, share.component))
    }

    /// Whether something of the origin's component counts, or may.
    pub(super) fn is_living(&self, at: CounterRef, origin: OriginId) -> bool {
        self.living(at).any(|(of, _)| of == origin)
    }

    /// Whether nothing of any component counts, and nothing was said of others' since they were cleared.
    pub(super) fn is_all_clear(&self, at: CounterRef) -> bool {
        let is_clear = |share: Share| match share.origin {
            OriginId::OWN => share.rest == 0,
            _ => share.is_clear,
        };
        self.shares(at).all(is_clear)
    }

    /// Whether our component, if there is any, has ended: see [`forget`](super::forget).
    pub(super) fn has_own_ended(&self, at: CounterRef) -> bool {
        let own = self.shares(at).next();
        own.is_none_or(|own| own.component.version == 0 || own.has_ended())
    }

    /// Whether every site holds all of the counter.
    pub(super) fn is_stable(&self, at: CounterRef, stable: &Stable) -> bool {
        let mut versions = self.versions(at);
        versions.all(|(origin, version)| stable.covers(origin, version))
    }

    /// Up to which version of each origin the counter says anything.
    pub(super) fn versions(&self, at: CounterRef) -> impl Iterator<Item = (OriginId, u64)> {
        let own = (OriginId::OWN, self.counter(at).own.version);
        let others = self.others(at);
        let others = others.map(|(origin, component)| (origin, component.version));
        let extra = self.extra(at).filter(|_| !Rule::WaitForClears.is_broken());
        let cleared = extra.into_iter().flat_map(|extra| &extra.cleared);
        let cleared = cleared.map(|(origin, cleared)| (*origin, cleared.epoch()));
        std::iter::once(own).chain(others).chain(cleared)
    }

    /// From here on nothing of what the counter has now counts. The next flush must take it. Our own
    /// component begins again at 0; with `end` it says so of the version that the flush will give, even if
    /// it never counted anything or has said so before.
    ///
    /// A component that adds up to 0 by chance is cleared too: somebody may have cleared a part
    /// of it that does not.
    pub(super) fn clear(&mut self, at: CounterRef, end: bool) {
        self.counter_mut(at).set(flag::TO_CLEAR, false);
        let is_own = |share: &Share| share.origin == OriginId::OWN;
        let seen: Vec<_> = self
            .shares(at)
            .filter(|share| !share.is_clear || (end && is_own(share)))
            .map(|share| match share.origin {
                OriginId::OWN => (share.origin, Cleared::by_origin(Cleared::UNSEALED)),
                other => (other, Cleared::all_of(share.component)),
            })
            .collect();
        if seen.is_empty() {
            return;
        }
        if seen.iter().any(|(origin, _)| *origin == OriginId::OWN) {
            self.counter_mut(at).own.sum = 0;
        }
        self.change_extra(at, |extra| {
            extra.changed = Extra::UNSEALED;
            for (origin, cleared) in seen {
                // Later than whatever was cleared before, also within the same epoch.
                extra.replace_cleared(origin, cleared);
            }
        });
    }

    /// What the counter has beyond its [`Counter`].
    pub(super) fn extra(&self, at: CounterRef) -> Option<&Extra> {
        let has = self.counter(at).has(flag::MORE);
        has.then(|| self.more.get(&at)).flatten()
    }

    /// Likewise, new if need be. Its lists are changed by [`Keyspace::change_extra`].
    pub(super) fn extra_mut(&mut self, at: CounterRef) -> &mut Extra {
        if !self.counter(at).has(flag::MORE) {
            self.counter_mut(at).set(flag::MORE, true);
        }
        self.more.entry(at).or_default()
    }

    /// Changes what the counter has beyond its [`Counter`], its lists too.
    pub(super) fn change_extra<T>(
        &mut self,
        at: CounterRef,
        change: impl FnOnce(&mut Extra) -> T,
    ) -> T {
        let extra = self.extra_mut(at);
        let before = extra.list_bytes();
        let changed = change(extra);
        let after = extra.list_bytes();
        self.more_bytes += after;
        self.more_bytes -= before;
        changed
    }

    /// Components of other origins.
    pub(super) fn others(&self, at: CounterRef) -> impl Iterator<Item = (OriginId, Component)> {
        let counter = self.counter(at);
        let inline = (counter.other_origin != OriginId::NONE)
            .then_some((counter.other_origin, counter.other));
        let more = self.extra(at).map(|extra| extra.parts.iter().copied());
        inline.into_iter().chain(more.into_iter().flatten())
    }

    /// The component of another origin; one of version 0 if there is none.
    pub(super) fn other(&self, at: CounterRef, origin: OriginId) -> Component {
        let found = self.others(at).find(|(known, _)| *known == origin);
        found.map(|(_, component)| component).unwrap_or_default()
    }

    /// Puts a component of another origin in the place of the one that is there.
    pub(super) fn put_other(&mut self, at: CounterRef, origin: OriginId, component: Component) {
        let mut others: Vec<_> = self.others(at).collect();
        others.retain(|(known, _)| *known != origin);
        if component.version > 0 {
            others.push((origin, component));
        }
        let counter = self.counter_mut(at);
        (counter.other_origin, counter.other) = (OriginId::NONE, Component::default());
        if counter.has(flag::MORE) {
            self.extra_mut(at).parts.clear();
        }
        for (origin, component) in others {
            self.merge_other(at, origin, component);
        }
    }

    /// Merges a component of another origin.
    pub(super) fn merge_other(&mut self, at: CounterRef, origin: OriginId, component: Component) {
        let counter = self.counter_mut(at);
        if counter.other_origin == OriginId::NONE {
            counter.other_origin = origin;
        }
        if counter.other_origin == origin {
            counter.other = counter.other.merge(component);
            return;
        }
        self.change_extra(at, |Extra { parts, .. }| {
            match parts.iter_mut().find(|(known, _)| *known == origin) {
                Some((_, known)) => *known = known.merge(component),
                None => push_one(parts, (origin, component)),
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn components_beyond_two_have_room_too() {
        let mut keys = Keyspace::new();
        let at = CounterRef::key(keys.find_or_create(b"a").unwrap());
        for origin in 1..6 {
            for version in [2, 1, 3] {
                let component = Component {
                    version,
                    sum: version as i64,
                };
                keys.merge_other(at, OriginId(origin), component);
            }
        }
        assert_eq!(keys.sum(at), 15);
        assert_eq!(keys.others(at).count(), 5);
    }
}
