//! Walking over everything in slices while clients go on writing.
//!
//! What is not durable is left out: our own component of a counter that is dirty, or whose flush
//! is not on disk yet. So a scan says nothing that a crash could take back. Whoever uses one
//! must let a flush that began after the scan's end come to disk and reach the reader too: that
//! flush holds what was left out, under a version above the scan's epoch.

use bytes::Bytes;
use hashbrown::HashMap;

use super::counter::{Extra, OriginId, SiteId, flag};
use super::keyspace::CounterRef;
use super::record::{CounterRows, Part};
use super::state::State;
use super::{Epoch, LogPosition, RECORD_BYTES_MAX};

/// Counters looked at under the lock at a time: some hundred microseconds.
const VISITS_PER_SLICE: usize = 2048;

/// What the reader of a scan already has.
#[derive(Clone, Debug, Default)]
pub(super) struct Have(pub(super) HashMap<OriginId, Epoch>);

impl Have {
    fn lacks(&self, origin: OriginId, version: u64) -> bool {
        self.0.get(&origin).is_none_or(|epoch| version > epoch.0)
    }
}

/// What of our own a scan may show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Show {
    /// Only what is on disk.
    Durable,
    /// Everything that a flush has taken: for the disk itself.
    Sealed,
    /// Everything as clients see it at the moment, flushed or not: not to be merged anywhere.
    Present,
}

/// Where a scan over the counters stands.
#[derive(Clone, Debug, Default)]
pub(super) struct CounterCursor {
    at: Option<CounterRef>,
    ended: bool,
    /// Counters whose component of ours was left out though something else of them was told.
    halved: Vec<CounterRef>,
    /// One of our own components that the reader lacks was left out.
    pub(super) leaves_out: bool,
    /// Counters of which only our own component is told, and that is left out, have a row without any.
    pub(super) names_all: bool,
}

/// Where a scan over the logs stands.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LogCursor {
    log: usize,
    have: LogPosition,
}

impl State {
    /// Collects what `have` lacks, until `rows` might take `bytes_max` or the slice is over.
    /// False at the end.
    pub(super) fn scan_slice(
        &self,
        cursor: &mut CounterCursor,
        (have, show): (&Have, Show),
        rows: &mut CounterRows,
        bytes_max: usize,
    ) -> bool {
        self.scan_slice_where(cursor, (have, show), rows, bytes_max, |_| true)
    }

    /// The same of the counters whose key and field `wanted` accepts.
    pub(super) fn scan_slice_where(
        &self,
        cursor: &mut CounterCursor,
        (have, show): (&Have, Show),
        rows: &mut CounterRows,
        bytes_max: usize,
        wanted: impl Fn((&[u8], Option<&[u8]>)) -> bool,
    ) -> bool {
        for _ in 0..VISITS_PER_SLICE {
            if cursor.ended || rows.bytes_max() >= bytes_max {
                break;
            }
            match self.keys.following(cursor.at) {
                None => cursor.ended = true,
                Some(at) => {
                    cursor.at = Some(at);
                    if wanted(self.keys.key_of(at)) {
                        self.collect(at, (have, show), rows, cursor);
                    }
                }
            }
        }
        !cursor.ended
    }

    fn collect(
        &self,
        at: CounterRef,
        (have, show): (&Have, Show),
        rows: &mut CounterRows,
        cursor: &mut CounterCursor,
    ) {
        let counter = self.keys.counter(at);
        let dirty = counter.has(flag::DIRTY) && show != Show::Present;
        let settled = match show {
            Show::Durable => !dirty && counter.own.version <= self.durable_epoch.0,
            Show::Sealed => !dirty,
            Show::Present => true,
        };
        let mut own = Part {
            origin: OriginId::OWN,
            component: counter.own,
        };
        if show == Show::Present {
            own.component.version = own.component.version.max(1);
        }
        let written = counter.own.version > 0 || counter.has(flag::DIRTY);
        let own = (settled && written).then_some(own);
        let others = self.keys.others(at);
        let others = others.map(|(origin, component)| Part { origin, component });
        let parts: Vec<_> = own
            .into_iter()
            .chain(others)
            .filter(|part| have.lacks(part.origin, part.component.version))
            .collect();
        let settled_to = match show {
            Show::Durable => self.durable_epoch,
            Show::Sealed | Show::Present => self.epoch,
        };
        // What of this is not durable is in a flush to come, with all the rest of it. What is, while
        // our component is not, would be in none: a flush says only what has changed with it. What was
        // there at the start may be older or newer than what the reader has.
        let extra = self.keys.extra(at);
        let extra = extra.filter(|extra| extra.speaks() && extra.changed <= settled_to.0);
        let is_halved = own.is_none()
            && extra.is_some_and(|extra| {
                let old = written && extra.changed == 0;
                old || have.lacks(OriginId::OWN, extra.changed.max(1))
            });
        if is_halved && dirty {
            cursor.halved.push(at);
        }
        let version = counter.own.version;
        if own.is_none() && version > 0 && have.lacks(OriginId::OWN, version) {
            cursor.leaves_out = true;
        }
        let is_named = cursor.names_all && written && own.is_none();
        if parts.is_empty() && !is_halved && !is_named {
            return;
        }
        // Likewise for presence: while it is ours and not on disk, nothing is said about it.
        let unsettled = dirty || (counter.site == SiteId::OWN && !settled);
        let hlc = match (show, unsettled) {
            // One that no flush has stamped yet is seen all the same.
            (Show::Present, _) => counter.hlc.max(1),
            (_, true) => 0,
            (_, false) => counter.hlc,
        };
        let presence = (hlc, counter.site, counter.has(flag::PRESENT));
        rows.push(self.keys.key_of(at), presence, parts, extra);
    }

    /// Has the next flush say all of the counters of which a scan told a part: whoever has the
    /// component that it gives them must have the rest too.
    pub(super) fn say_whole(&mut self, cursor: &mut CounterCursor) {
        for at in cursor.halved.drain(..) {
            self.keys.extra_mut(at).changed = Extra::UNSEALED;
        }
    }

    /// The next stretch of the next log, none at the end.
    pub(super) fn scan_logs(&self, cursor: &mut LogCursor, show: Show) -> Option<Bytes> {
        while let Some(log) = self.logs.get(cursor.log) {
            let to = match show {
                Show::Durable => log.durable,
                Show::Sealed | Show::Present => log.position(),
            };
            // What is on disk outside the journal need not go there.
            let on_disk = LogPosition {
                last: log.cold_to(),
                ..LogPosition::default()
            };
            let have = cursor.have.max_of(&on_disk);
            match log.section_after(have, to, RECORD_BYTES_MAX) {
                Ok(Some((record, have))) => {
                    cursor.have = have;
                    return Some(record);
                }
                // What follows says by its beginning that something is missing before it.
                Err(absent) if absent.is_lost() && absent.last > have.last => {
                    cursor.have = LogPosition {
                        last: absent.last,
                        ..have
                    };
                    continue;
                }
                Ok(None) | Err(_) => {}
            }
            *cursor = LogCursor {
                log: cursor.log + 1,
                have: LogPosition::default(),
            };
        }
        None
    }

    /// Up to where everything of each origin is held here.
    pub(super) fn completeness(&self, show: Show) -> Vec<(OriginId, Epoch)> {
        let (own, others) = match show {
            Show::Durable => (self.durable_epoch, &self.durable_watermarks),
            Show::Sealed | Show::Present => (self.epoch, &self.watermarks),
        };
        let others = others.iter().map(|(origin, epoch)| (*origin, *epoch));
        std::iter::once((OriginId::OWN, own))
            .chain(others)
            .collect()
    }
}
