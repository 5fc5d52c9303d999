//! Comparing two grids range by range: where they differ, and what each holds there.
//!
//! Counters fall into ranges by a hash of their name. A range's fingerprint is a sum of hashes,
//! so it does not depend on the order, and one pass over the grid gives all of them.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::counter::{Component, OriginId};
use super::digest::Scope;
use super::keyspace::CounterRef;
use super::merge::{Numbers, Source};
use super::record::{CounterRows, CounterUpdate, CounterUpdates, Kind, decode_counters, kind_of};
use super::scan::{CounterCursor, Have, Show};
use super::state::State;
use super::{Applied, ApplyError, Epoch, Grid, RECORD_BYTES_MAX};

/// Counters hashed under the lock at a time.
const SLICE: usize = 1024;

/// Number of ranges that counters are compared in.
pub const RANGES: usize = 1 << 16;

/// One fingerprint for each range of counters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprints(pub Vec<u128>);

/// When a comparison began: how many names had been forgotten by then. What it finds missing here may have
/// been forgotten since; if none was, it was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ComparisonBegun {
    forgotten: u64,
    scope: Scope,
}

impl ComparisonBegun {
    /// None has.
    pub const NEVER: Self = Self {
        forgotten: u64::MAX,
        scope: Scope::Living,
    };
}

/// While a comparison is under way nothing is forgotten, so long at most: its peer may have gone.
const FORGETS_NOTHING: Duration = Duration::from_secs(60);

/// A set of ranges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ranges(Vec<u64>);

impl Ranges {
    fn contains(&self, range: u16) -> bool {
        self.0[usize::from(range) / 64] >> (range % 64) & 1 == 1
    }
}

impl FromIterator<u16> for Ranges {
    fn from_iter<T: IntoIterator<Item = u16>>(ranges: T) -> Self {
        let mut words = vec![0; RANGES / 64];
        for range in ranges {
            words[usize::from(range) / 64] |= 1 << (range % 64);
        }
        Self(words)
    }
}

/// A counter of which a site lost what it says it holds, or of which two sites tell different
/// sums of one version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Key, and field of a hash, escaped.
    pub name: String,
    /// Whose component it is.
    pub origin: String,
    /// Version and sum here.
    pub ours: (u64, i64),
    /// Version and sum at the peer.
    pub theirs: (u64, i64),
}

/// Walks over the counters of some ranges.
#[derive(Debug)]
pub struct RangeScan {
    ranges: Ranges,
    cursor: CounterCursor,
    ended: bool,
}

impl RangeScan {
    pub fn new(ranges: Ranges) -> Self {
        Self {
            ranges,
            cursor: CounterCursor::default(),
            ended: false,
        }
    }
}

/// The range of a counter.
fn range_of((key, field): (&[u8], Option<&[u8]>)) -> u16 {
    let key = crc32c::crc32c(key);
    let both = field.map_or(key, |field| crc32c::crc32c_append(key, field));
    (both >> 16) as u16
}

impl State {
    fn fingerprint_slice(
        &self,
        mut at: Option<CounterRef>,
        (sums, scope): (&mut [u128], Scope),
    ) -> Option<CounterRef> {
        for _ in 0..SLICE {
            let next = self.keys.following(at)?;
            at = Some(next);
            if let Some(item) = self.counter_item(next, scope) {
                let sum = &mut sums[usize::from(range_of(self.keys.key_of(next)))];
                *sum = sum.wrapping_add(short(&item));
            }
        }
        at
    }

    fn source_of_comparison(
        &self,
        from: &strait_transport::SiteName,
        begun: ComparisonBegun,
    ) -> Source {
        // What a peer lacks that was forgotten here was before.
        let forgotten = match self.forgetting.is_behind(from) {
            true => u64::MAX,
            false => begun.forgotten,
        };
        Source::Compared {
            forgotten,
            scope: begun.scope,
        }
    }

    /// Whether a peer's component shows that something is wrong: we say that we hold everything
    /// of its origin up to its version, and hold something else.
    fn differs(&self, origin: OriginId, ours: Component, theirs: Component) -> bool {
        let watermark = match origin {
            OriginId::OWN => self.durable_epoch,
            other => self
                .durable_watermarks
                .get(&other)
                .copied()
                .unwrap_or_default(),
        };
        let lost = theirs.version > ours.version && theirs.version <= watermark.0;
        lost || (theirs.version == ours.version && theirs.sum != ours.sum && ours.version > 0)
    }

    fn differences_of(
        &self,
        updates: &CounterUpdates,
        row: &CounterUpdate,
        (numbers, source): (&Numbers, Source),
        found: &mut Vec<Difference>,
    ) {
        if self.may_be_forgotten((updates, row), source) {
            return;
        }
        let (key, field) = updates.key(row);
        let at = self.find_counter(key, field);
        for (place, theirs) in updates.parts(row) {
            let origin = numbers.origin(*place);
            let ours = match (at, origin) {
                (None, _) => Component::default(),
                (Some(at), OriginId::OWN) => self.settled_own(at, *theirs),
                (Some(at), other) => self.keys.other(at, other),
            };
            let more = updates.more(row);
            let cleared = more.and_then(|more| more.cleared.iter().find(|(of, _)| of == place));
            let is_dead = cleared.is_some_and(|(_, cleared)| cleared.is_all_of(*theirs));
            // Nothing of it counts: it may well be forgotten here.
            let is_forgotten = ours.version == 0 && is_dead;
            if !is_forgotten && self.differs(origin, ours, *theirs) {
                found.push(Difference {
                    name: shown(key, field),
                    origin: self.origins.origin(origin).to_string(),
                    ours: (ours.version, ours.sum),
                    theirs: (theirs.version, theirs.sum),
                });
            }
        }
    }

    /// Our own component; while its sum runs ahead of its version, what the peer says of it.
    fn settled_own(&self, at: CounterRef, theirs: Component) -> Component {
        let counter = self.keys.counter(at);
        match counter.has(super::counter::flag::DIRTY) {
            true if theirs.version <= counter.own.version => theirs,
            _ => counter.own,
        }
    }
}

fn shown(key: &[u8], field: Option<&[u8]>) -> String {
    match field {
        None => key.escape_ascii().to_string(),
        Some(field) => format!("{} {}", key.escape_ascii(), field.escape_ascii()),
    }
}

pub(super) fn short(item: &blake3::Hasher) -> u128 {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&item.finalize().as_bytes()[..16]);
    u128::from_le_bytes(bytes)
}

impl Grid {
    /// Names of counters in a range, at most so many. Reads all names: not for tokio's threads.
    pub fn names_in(&self, range: u16, most: usize) -> Vec<String> {
        let (mut names, mut at) = (Vec::new(), None);
        loop {
            let state = self.lock();
            for _ in 0..SLICE {
                let Some(next) = state.keys.following(at).filter(|_| names.len() < most) else {
                    return names;
                };
                at = Some(next);
                let (key, field) = state.keys.key_of(next);
                if range_of((key, field)) == range {
                    names.push(shown(key, field));
                }
            }
        }
    }

    /// The fingerprint of each range. Reads all counters: not for tokio's threads.
    pub fn fingerprints(&self, scope: Scope) -> Fingerprints {
        let (mut sums, mut at) = (vec![0; RANGES], None);
        loop {
            at = self.lock().fingerprint_slice(at, (&mut sums, scope));
            if at.is_none() {
                return Fingerprints(sums);
            }
        }
    }

    /// A comparison with `peer` begins: nothing is forgotten for a while.
    pub fn begin_comparison(
        &self,
        peer: &strait_transport::SiteName,
        scope: Scope,
    ) -> ComparisonBegun {
        let mut state = self.lock();
        let until = Instant::now() + FORGETS_NOTHING;
        state.forgetting.held.insert(peer.clone(), until);
        ComparisonBegun {
            forgotten: state.keys.forgotten,
            scope,
        }
    }

    /// All that the comparison with `peer` tells of counters is merged.
    pub fn end_comparison(&self, peer: &strait_transport::SiteName) {
        self.lock().forgetting.held.remove(peer);
    }

    /// The next record of what is durable here in the ranges of `scan`, about `bytes_max` long; none at
    /// the end.
    pub fn next_of_ranges(&self, scan: &mut RangeScan, bytes_max: usize) -> Option<Bytes> {
        let bytes_max = bytes_max.min(RECORD_BYTES_MAX / 2);
        let mut rows = CounterRows::default();
        while !scan.ended && rows.bytes_max() < bytes_max {
            let in_ranges = |name: (&[u8], Option<&[u8]>)| scan.ranges.contains(range_of(name));
            let state = self.lock();
            let mut have = Have::default();
            if state.runs.is_open() {
                // Ours might take the place of what a peer holds and we lost.
                have.0.insert(OriginId::OWN, Epoch(u64::MAX));
            }
            let wanted = (&have, Show::Durable);
            scan.ended =
                !state.scan_slice_where(&mut scan.cursor, wanted, &mut rows, bytes_max, in_ranges);
        }
        if rows.len() == 0 {
            return None;
        }
        let origins = self.lock().origins.clone();
        rows.encode(&origins, &[]).pop()
    }

    /// Merges what the peer `from` holds in ranges that differ. Says what of it shows that
    /// something was lost or damaged; what was only on its way is none of that.
    ///
    /// What was lost here comes back with this. Where a sum of ours is contradicted, the counter
    /// is written anew with the next flush, under a version above both: the origin's word counts.
    pub fn apply_compared(
        &self,
        from: &strait_transport::SiteName,
        record: Bytes,
        begun: ComparisonBegun,
    ) -> Result<(Applied, Vec<Difference>), ApplyError> {
        let malformed = |error: super::record::Malformed| ApplyError::Malformed(error.0);
        let (kind, body) = kind_of(&record).map_err(malformed)?;
        if kind != Kind::Counters {
            return Err(ApplyError::Malformed("no record of counters"));
        }
        let mut updates = decode_counters(body).map_err(malformed)?;
        // Parts of a comparison promise no completeness.
        updates.complete.clear();
        let full = |_| ApplyError::Refused("too many origins or names".to_owned());
        let mut found = Vec::new();
        let (numbers, source) = {
            let mut state = self.lock();
            let numbers = state.intern(&updates).map_err(full)?;
            (numbers, state.source_of_comparison(from, begun))
        };
        for rows in updates.rows.chunks(SLICE) {
            let state = self.lock();
            for row in rows {
                state.differences_of(&updates, row, (&numbers, source), &mut found);
            }
        }
        let applied = self.apply_from(from, record, source)?;
        self.lock().tally.differences += found.len() as u64;
        Ok((applied, found))
    }
}
