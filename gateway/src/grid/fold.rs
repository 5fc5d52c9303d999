//! Several flushes as one: of each counter what it has come to. So a counter that changes all the
//! time costs a link once for each shipment, however many flushes that holds.

use std::sync::Arc;

use bytes::Bytes;
use hashbrown::HashMap;

use super::record::{CounterRows, CounterUpdates, Kind, Malformed, decode_counters, kind_of};
use super::{Flushed, Grid};

/// Flushes that are left with fewer rows than this each go in one record. With more, each keeps a
/// record of its own: there all rows have the same version and clock reading, which then cost
/// next to nothing, and in one record of all flushes would be most of it.
const ROWS_PER_RECORD_MIN: usize = 16;

impl Grid {
    /// Records of counters that say what `flushes` of [`Feed::Counters`], one after the other, say
    /// together.
    /// Not for tokio's threads.
    pub fn fold(&self, flushes: &[Arc<Flushed>]) -> Vec<Bytes> {
        let records = || flushes.iter().flat_map(|flushed| &flushed.records);
        if records().count() > 1
            && let Ok(folded) = self.folded(records())
        {
            return folded;
        }
        records().cloned().collect()
    }

    /// The same of any records. An error if one cannot be read, which is never so of our own.
    fn folded<'a>(
        &self,
        records: impl Iterator<Item = &'a Bytes>,
    ) -> Result<Vec<Bytes>, Malformed> {
        let mut all: Vec<_> = records.map(updates_of).collect::<Result<_, _>>()?;
        let kept = keep_last(&mut all);
        let in_one = kept < all.len() * ROWS_PER_RECORD_MIN;
        let last = all.len().saturating_sub(1);
        let (mut folded, mut rows) = (Vec::new(), CounterRows::default());
        for (place, mut updates) in all.into_iter().enumerate() {
            if place < last {
                // That much is complete only with the rows that took others' place.
                updates.complete.clear();
            }
            let (numbers, origins) = {
                let mut state = self.state.lock();
                let numbers = state.intern(&updates);
                let numbers = numbers.map_err(|_| Malformed("too many origins"))?;
                (numbers, state.origins.clone())
            };
            let complete = updates.add_rows(&numbers, &mut rows);
            if place == last || (!in_one && rows.len() > 0) {
                folded.extend(std::mem::take(&mut rows).encode(&origins, &complete));
            }
        }
        Ok(folded)
    }
}

fn updates_of(record: &Bytes) -> Result<CounterUpdates, Malformed> {
    match kind_of(record)? {
        (Kind::Counters, body) => decode_counters(body),
        (
            Kind::Log
            | Kind::PackedCounters
            | Kind::PackedLog
            | Kind::Runs
            | Kind::Renewed
            | Kind::Doubts
            | Kind::Forgotten,
            _,
        ) => Err(Malformed("no record of counters")),
    }
}

/// Leaves out rows of counters that come again in a later record. How many rows are left.
fn keep_last(all: &mut [CounterUpdates]) -> usize {
    let kept = rows_kept(all);
    for (updates, kept) in all.iter_mut().zip(kept) {
        let mut kept = kept.into_iter();
        updates.rows.retain(|_| kept.next().unwrap_or(true));
    }
    all.iter().map(|updates| updates.rows.len()).sum()
}

/// Of each record's rows, whether nothing later says the same.
fn rows_kept(all: &[CounterUpdates]) -> Vec<Vec<bool>> {
    let mut last = HashMap::new();
    for (place, updates) in all.iter().enumerate() {
        last.extend(updates.rows.iter().map(|row| (updates.key(row), place)));
    }
    let is_kept = |(place, updates): (usize, &CounterUpdates)| {
        let rows = updates.rows.iter();
        // What was cleared, or when it expires, is said only by the row that changed it.
        let kept = rows.map(|row| last[&updates.key(row)] == place || updates.more(row).is_some());
        kept.collect()
    };
    all.iter().enumerate().map(is_kept).collect()
}
