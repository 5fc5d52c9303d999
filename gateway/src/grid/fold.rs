//! Several flushes as one: of each counter what it has come to. So a counter that changes all the
//! time costs a link once for each shipment, however many flushes that holds.

use std::sync::Arc;

use bytes::Bytes;

use super::counter::OriginId;
use super::record::{CounterRows, Kind, decode_counters, kind_of};
use super::scan::{CounterCursor, Have, Show};
use super::state::State;
use super::{Flushed, Grid, Origin};

impl Grid {
    /// Records of counters that say what those of `flushes`, one after the other, say together.
    /// Not for tokio's threads.
    pub fn fold(&self, flushes: &[Arc<Flushed>]) -> Vec<Bytes> {
        let records = || flushes.iter().flat_map(|flushed| &flushed.counters);
        if records().count() > 1
            && let Some(folded) = folded(self.origin(), records())
        {
            return folded;
        }
        records().cloned().collect()
    }
}

/// Merges the records into an empty grid, and takes them out again. None if one cannot be read,
/// which is never so of our own.
fn folded<'a>(own: Origin, records: impl Iterator<Item = &'a Bytes>) -> Option<Vec<Bytes>> {
    let mut state = State::new(own, usize::MAX, false);
    for record in records {
        let Ok((Kind::Counters, body)) = kind_of(record) else {
            return None;
        };
        let updates = decode_counters(body).ok()?;
        let numbers = state.intern(&updates).ok()?;
        for row in &updates.rows {
            state.merge_row(&updates, row, &numbers).ok()?;
        }
        state.complete(&updates, &numbers);
    }
    let (mut cursor, mut rows) = (CounterCursor::default(), CounterRows::default());
    let everything = (&Have::default(), Show::Sealed);
    while state.scan_slice(&mut cursor, everything, &mut rows, usize::MAX) {}
    Some(rows.encode(&state.origins, &[(OriginId::OWN, state.epoch)]))
}
