//! Proof that two sites hold the same: one figure over everything, in whatever order.

use std::fmt;

use super::cold::IdRange;
use super::counter::{Cleared, Extra, OriginId, flag};
use super::keyspace::CounterRef;
use super::state::State;
use super::{Grid, LogName, LogPosition};

/// Counters hashed under the lock at a time.
const SLICE: usize = 1024;

/// What of a counter is hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All that is kept of it: so peers of wire version 4 do.
    All,
    /// Nothing that a site may have forgotten: what was deleted, and components of which nothing counts.
    Living,
}

/// One figure over the grid's whole state; equal at two sites that hold the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Digest(pub [u8; 32]);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Digest {
    /// Adds an item. Sums of hashes do not depend on the order (Clarke et al., "Incremental
    /// Multiset Hash Functions", 2003: MSet-Add-Hash).
    fn add(&mut self, item: &blake3::Hasher) {
        let mut carry = 0;
        for (byte, more) in self.0.iter_mut().zip(item.finalize().as_bytes()) {
            let sum = u16::from(*byte) + u16::from(*more) + carry;
            *byte = sum as u8;
            carry = sum >> 8;
        }
    }
}

pub(super) fn with_length(hasher: &mut blake3::Hasher, bytes: &[u8]) {
    hasher.update(&(bytes.len() as u64).to_le_bytes());
    hasher.update(bytes);
}

impl State {
    /// Adds counters from `at` on; where to go on.
    fn digest_counters(
        &self,
        mut at: Option<CounterRef>,
        digest: &mut Digest,
    ) -> Option<CounterRef> {
        for _ in 0..SLICE {
            let next = self.keys.following(at)?;
            at = Some(next);
            self.digest_counter(next, digest);
        }
        at
    }

    fn digest_counter(&self, at: CounterRef, digest: &mut Digest) {
        if let Some(item) = self.counter_item(at, Scope::Living) {
            digest.add(&item);
        }
    }

    /// The hash of all that one counter is; none if nothing of it is in the scope.
    pub(super) fn counter_item(&self, at: CounterRef, scope: Scope) -> Option<blake3::Hasher> {
        let counter = self.keys.counter(at);
        if counter.is_blank() {
            return None;
        }
        let parts: Vec<_> = match scope {
            Scope::All => {
                let own = (counter.own.version > 0).then_some((OriginId::OWN, counter.own));
                own.into_iter().chain(self.keys.others(at)).collect()
            }
            Scope::Living => self.keys.living(at).collect(),
        };
        let is_dead = parts.is_empty() && !counter.has(flag::PRESENT);
        let expires = |extra: &Extra| extra.deadline.at_ms != 0;
        if scope == Scope::Living && is_dead && !self.keys.extra(at).is_some_and(expires) {
            return None;
        }
        let told: Vec<_> = parts.iter().map(|(origin, _)| *origin).collect();
        let named = parts
            .into_iter()
            .map(|(origin, component)| (self.origins.origin(origin), component));
        let mut parts: Vec<_> = named.collect();
        parts.sort_by_key(|(origin, _)| *origin);
        let mut item = blake3::Hasher::new();
        let (key, field) = self.keys.key_of(at);
        with_length(&mut item, key);
        item.update(&[
            u8::from(field.is_some()),
            u8::from(counter.has(flag::PRESENT)),
        ]);
        with_length(&mut item, field.unwrap_or_default());
        item.update(&counter.hlc.to_le_bytes());
        // Where presence was never said, nobody said it.
        let site = (counter.hlc > 0).then(|| self.origins.site(counter.site).as_ref().as_bytes());
        with_length(&mut item, site.unwrap_or_default());
        for (origin, component) in parts {
            with_length(&mut item, origin.site.as_ref().as_bytes());
            item.update(&origin.incarnation.to_le_bytes());
            item.update(&component.version.to_le_bytes());
            item.update(&component.sum.to_le_bytes());
        }
        if let Some(extra) = self.keys.extra(at) {
            self.digest_extra(extra, (scope, &told), &mut item);
        }
        Some(item)
    }

    fn digest_extra(
        &self,
        extra: &Extra,
        (scope, told): (Scope, &[OriginId]),
        item: &mut blake3::Hasher,
    ) {
        // An origin that began again at 0 may have forgotten when.
        let counts = |(origin, cleared): &&(OriginId, Cleared)| {
            scope == Scope::All || (cleared.sum != 0 && told.contains(origin))
        };
        let cleared = extra.cleared.iter().filter(counts);
        let mut cleared: Vec<_> = cleared
            .map(|(origin, cleared)| (self.origins.origin(*origin), cleared))
            .collect();
        cleared.sort_by_key(|(origin, _)| *origin);
        for (origin, cleared) in cleared {
            with_length(item, origin.site.as_ref().as_bytes());
            item.update(&origin.incarnation.to_le_bytes());
            item.update(&cleared.half_epoch.to_le_bytes());
            item.update(&cleared.sum.to_le_bytes());
        }
        let expires = extra.deadline.at_ms != 0 || scope == Scope::All;
        if extra.deadline.hlc != 0 && expires {
            item.update(&extra.deadline.hlc.to_le_bytes());
            item.update(&extra.deadline.at_ms.to_le_bytes());
            let site = self.origins.site(extra.deadline.site);
            with_length(item, site.as_ref().as_bytes());
        }
    }
}

impl Grid {
    /// One figure over all counters and logs, in whatever order: equal at two sites that hold the
    /// same. Takes long on large grids: not for tokio's threads.
    ///
    /// Writes that go on meanwhile may or may not be in it.
    pub fn digest(&self) -> Digest {
        if let Err(error) = self.flush() {
            tracing::warn!(%error, "the digest includes what is not on disk");
        }
        let mut digest = Digest::default();
        let mut at = None;
        loop {
            at = self.state.lock().digest_counters(at, &mut digest);
            if at.is_none() {
                break;
            }
        }
        for (name, position) in self.logs() {
            if position != LogPosition::default() {
                digest.add(&self.digest_log(&name));
            }
        }
        digest
    }

    fn digest_log(&self, name: &LogName) -> blake3::Hasher {
        let mut item = blake3::Hasher::new();
        with_length(&mut item, name.site.as_ref().as_bytes());
        with_length(&mut item, &name.name);
        let Some(id) = self.log_id(name) else {
            return item;
        };
        let read = self.read_log(id, IdRange::ALL, |id, payload| {
            item.update(&id.ms.to_le_bytes());
            item.update(&id.seq.to_le_bytes());
            with_length(&mut item, payload);
            true
        });
        if let Err(error) = read {
            tracing::error!(log = %name, %error, "the digest lacks entries of a log");
        }
        let position = self.state.lock().log(id).position();
        for id in [position.last, position.trimmed_to] {
            item.update(&id.ms.to_le_bytes());
            item.update(&id.seq.to_le_bytes());
        }
        item.update(&position.revision.to_le_bytes());
        item
    }
}
