//! One counter: components that merge by version, presence that merges by time.

use super::arena::NameRef;

/// One origin's share of a counter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Component {
    /// The origin's epoch that wrote `sum`; 0: there is none.
    pub(super) version: u64,
    /// Everything that the origin ever added.
    pub(super) sum: i64,
}

impl Component {
    /// The newer of the two. Equal versions of one origin are the same write.
    pub(super) fn merge(self, other: Self) -> Self {
        // The tie on sums can only come from damage; it is broken the same way everywhere.
        if (other.version, other.sum) > (self.version, self.sum) {
            other
        } else {
            self
        }
    }
}

/// A component as it stood when somebody set or deleted the counter: only what came after counts.
/// So two who clear what both have seen clear it once, and what neither saw stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Cleared {
    /// When, in half epochs of the component's origin: 2v after all of its epoch v; 2v − 1 by the
    /// origin itself, within it.
    pub(super) half_epoch: u64,
    /// The component's sum then.
    pub(super) sum: i64,
}

impl Cleared {
    /// In the epoch that the next flush will give.
    pub(super) const UNSEALED: u64 = u64::MAX;

    /// The epoch of the component's origin that whoever cleared it had seen.
    pub(super) fn epoch(self) -> u64 {
        self.half_epoch.div_ceil(2)
    }

    /// By the component's origin, whose sum begins again at 0.
    pub(super) fn by_origin(half_epoch: u64) -> Self {
        Self { half_epoch, sum: 0 }
    }

    /// By somebody else, who has seen `component`.
    pub(super) fn all_of(component: Component) -> Self {
        Self {
            half_epoch: 2 * component.version,
            sum: component.sum,
        }
    }

    /// Whether nothing was said of `component` since.
    pub(super) fn is_up_to(self, component: Component) -> bool {
        self.half_epoch.saturating_add(1) >= 2 * component.version
    }

    /// Whether nothing of `component` counts, nor was anything said of it since.
    pub(super) fn is_all_of(self, component: Component) -> bool {
        self.is_up_to(component) && self.rest_of(component) == 0
    }

    /// What of `component` came after.
    pub(super) fn rest_of(self, component: Component) -> i64 {
        if component.version.saturating_mul(2) < self.half_epoch {
            // All that we know of it was there before.
            return 0;
        }
        component.sum.wrapping_sub(self.sum)
    }
}

/// When a key expires; the last writer wins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Deadline {
    /// Milliseconds since 1970; 0: it does not expire.
    pub(super) at_ms: u64,
    /// When that was set: a reading of the hybrid clock. 0: never.
    pub(super) hlc: u64,
    /// Who set it.
    pub(super) site: SiteId,
}

impl Deadline {
    /// The reading that the next flush will give.
    pub(super) const UNSEALED: u64 = u64::MAX;
}

/// What few counters have beyond what fits a [`Counter`].
#[derive(Clone, Debug, Default)]
pub(super) struct Extra {
    /// Components of origins beyond the two that have room there.
    pub(super) parts: Vec<(OriginId, Component)>,
    pub(super) cleared: Vec<(OriginId, Cleared)>,
    pub(super) deadline: Deadline,
    /// Our epoch in which one of the two was last changed here.
    pub(super) changed: u64,
}

impl Extra {
    /// [`Extra::changed`] until the next flush.
    pub(super) const UNSEALED: u64 = u64::MAX;

    pub(super) fn cleared(&self, origin: OriginId) -> Option<Cleared> {
        let mut cleared = self.cleared.iter();
        cleared.find(|(known, _)| *known == origin).map(|(_, c)| *c)
    }

    /// Merges what somebody cleared of an origin's component: the later counts.
    pub(super) fn clear(&mut self, origin: OriginId, cleared: Cleared) {
        match self.cleared.iter_mut().find(|(known, _)| *known == origin) {
            Some((_, known)) => *known = (*known).max(cleared),
            None => push_one(&mut self.cleared, (origin, cleared)),
        }
    }

    /// Puts this in the place of what was known to be cleared of the origin.
    pub(super) fn replace_cleared(&mut self, origin: OriginId, cleared: Cleared) {
        self.cleared.retain(|(known, _)| *known != origin);
        push_one(&mut self.cleared, (origin, cleared));
    }

    /// Memory of its lists.
    pub(super) fn list_bytes(&self) -> usize {
        allocation_bytes(self.parts.capacity() * size_of::<(OriginId, Component)>())
            + allocation_bytes(self.cleared.capacity() * size_of::<(OriginId, Cleared)>())
    }

    /// Whether a record has anything to say of it besides components.
    pub(super) fn speaks(&self) -> bool {
        !self.cleared.is_empty() || self.deadline.hlc != 0
    }

    /// Stamps what changed since the last flush.
    pub(super) fn seal(&mut self, epoch: u64, hlc: u64) {
        for (_, cleared) in &mut self.cleared {
            if cleared.half_epoch == Cleared::UNSEALED {
                cleared.half_epoch = 2 * epoch - 1;
            }
        }
        if self.deadline.hlc == Deadline::UNSEALED {
            self.deadline.hlc = hlc;
        }
        self.changed = epoch;
    }
}

/// Appends to a list that hardly ever gets longer: a vector that grows by itself takes room for four.
pub(super) fn push_one<T>(list: &mut Vec<T>, item: T) {
    list.reserve_exact(1);
    list.push(item);
}

/// Memory that so many bytes take when they are allocated: with a header of 8, in steps of 16.
pub(super) fn allocation_bytes(bytes: usize) -> usize {
    const HEADER: usize = 8;
    const STEP: usize = 16;
    match bytes {
        0 => 0,
        bytes => (bytes + HEADER).next_multiple_of(STEP),
    }
}

/// Number of an origin in this process; see [`Names`](super::origins::Origins).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct OriginId(pub(super) u16);

/// Number of a site in this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct SiteId(pub(super) u8);

impl OriginId {
    /// Ourselves.
    pub(super) const OWN: Self = Self(0);
    /// No origin.
    pub(super) const NONE: Self = Self(u16::MAX);
}

impl SiteId {
    /// Our own site.
    pub(super) const OWN: Self = Self(0);
}

/// Bits of [`Counter::flags`].
pub(super) mod flag {
    /// Clients see the counter.
    pub(in crate::grid) const PRESENT: u8 = 1;
    /// Changed here since the last flush took it: it stands in the list of dirty counters.
    pub(in crate::grid) const DIRTY: u8 = 2;
    /// It has an [`Extra`](super::Extra), which the keyspace keeps.
    pub(in crate::grid) const MORE: u8 = 4;
    /// The name also has a hash.
    pub(in crate::grid) const HASH: u8 = 8;
    /// The name also has a log.
    pub(in crate::grid) const LOG: u8 = 16;
    /// The name is counted as visible.
    pub(in crate::grid) const VISIBLE: u8 = 32;
    /// Deleted with all of its hash: what it has is to be cleared before anything is added to it,
    /// merged into it or said of it; at the latest by the flush.
    pub(in crate::grid) const TO_CLEAR: u8 = 64;
    /// Dirty only because our component ends (see [`forget`](super::super::forget)): presence stays
    /// as it is. Of a blank counter: the walk has seen it so once.
    pub(in crate::grid) const ENDS: u8 = 128;
}

/// A counter, or a name that only has a hash or a log. 48 bytes: there are millions.
///
/// Nearly every counter has been written by one or two origins, so our own component and one
/// other have room here.
#[derive(Clone, Debug)]
pub(super) struct Counter {
    /// Our own component. Its sum runs ahead of its version while the counter is dirty.
    pub(super) own: Component,
    /// The component of `other_origin`.
    pub(super) other: Component,
    /// When presence last changed: a reading of the hybrid clock. 0: never.
    pub(super) hlc: u64,
    /// The key or field.
    pub(super) name: NameRef,
    /// Whose component `other` is.
    pub(super) other_origin: OriginId,
    /// Which site set presence last.
    pub(super) site: SiteId,
    /// See [`flag`].
    pub(super) flags: u8,
}

impl Counter {
    pub(super) fn new(name: NameRef) -> Self {
        Self {
            own: Component::default(),
            other: Component::default(),
            hlc: 0,
            name,
            other_origin: OriginId::NONE,
            site: SiteId::OWN,
            flags: 0,
        }
    }

    /// What stands at a place that is given back, until it goes to another name.
    pub(super) fn given_back(name: NameRef) -> Self {
        Self {
            // Any other that is to be cleared is dirty.
            flags: flag::TO_CLEAR,
            ..Self::new(name)
        }
    }

    pub(in crate::grid) fn is_given_back(&self) -> bool {
        self.has(flag::TO_CLEAR) && !self.has(flag::DIRTY)
    }

    pub(super) fn has(&self, bits: u8) -> bool {
        self.flags & bits != 0
    }

    pub(super) fn set(&mut self, bits: u8, on: bool) {
        if on {
            self.flags |= bits;
        } else {
            self.flags &= !bits;
        }
    }

    /// Sum of the components that have room here.
    pub(super) fn sum_inline(&self) -> i64 {
        self.own.sum.wrapping_add(self.other.sum)
    }

    /// Whether no one ever wrote it.
    pub(super) fn is_blank(&self) -> bool {
        self.hlc == 0
            && self.own.version == 0
            && self.other_origin == OriginId::NONE
            && !self.has(flag::DIRTY)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_counter_stays_small() {
        assert_eq!(size_of::<Counter>(), 48);
    }

    fn component() -> impl Strategy<Value = Component> {
        (0..5_u64, -3..3_i64).prop_map(|(version, sum)| Component { version, sum })
    }

    proptest! {
        #[test]
        fn merging_is_commutative_associative_idempotent(
            a in component(), b in component(), c in component(),
        ) {
            prop_assert_eq!(a.merge(b), b.merge(a));
            prop_assert_eq!(a.merge(b).merge(c), a.merge(b.merge(c)));
            prop_assert_eq!(a.merge(a), a);
        }

        #[test]
        fn what_is_cleared_does_not_count_and_what_came_later_does(
            versions in proptest::collection::vec(-9..9_i64, 1..9), at in any::<usize>(), seen in any::<usize>(),
        ) {
            let sum_at = |version: usize| versions[..version].iter().sum::<i64>();
            let (at, seen) = (at % (versions.len() + 1), seen % (versions.len() + 1));
            let cleared = Cleared { half_epoch: 2 * at as u64, sum: sum_at(at) };
            let component = Component { version: seen as u64, sum: sum_at(seen) };
            let later = versions[at.min(seen)..seen].iter().sum::<i64>();
            prop_assert_eq!(cleared.rest_of(component), later);
        }
    }
}
