//! The sending end.

use bytes::Bytes;
use hashbrown::HashMap;
use strait_dedup::range::Writer;

use super::super::super::keyspace::CounterRef;
use super::super::super::record::{
    CounterUpdate, CounterUpdates, KIND_PACKED_COUNTERS, MoreUpdate, VERSION, decode_counters,
};
use super::super::super::state::State;
use super::super::super::varint::{put, put_bytes};
use super::super::super::{Grid, LOOK_AHEAD_MAX, MERGE_SLICE};
use super::super::{GOES_ON, STARTS_OVER};
use super::{Common, Models, NUMBERED_MAX};

/// So many numbers that are not used any more are no reason to begin anew.
const SILENT_MIN: usize = 1 << 16;

/// Where a counter is kept, and its number.
type Place = (Option<CounterRef>, Option<u32>);

/// What the peer was told in this session, by number.
#[derive(Debug, Default)]
pub(in super::super) struct SentKeys {
    /// By a key's place, its number and 1; 0: not mentioned.
    keys: Vec<u32>,
    fields: HashMap<CounterRef, u32>,
    /// By number, the sum said last.
    sums: Vec<i64>,
    /// Whether the peer has been told that these numbers begin.
    begun: bool,
    /// They began anew in the middle of the session.
    goes_on: bool,
    /// Numbers that are not used any more.
    silent: usize,
    /// Counters that were hidden or forgotten here up to then have no number.
    silenced: u64,
}

impl SentKeys {
    /// Memory taken: what a list has room for beyond its length was never touched.
    pub(in super::super) fn bytes(&self) -> usize {
        self.keys.len() * size_of::<u32>()
            + self.sums.len() * size_of::<i64>()
            + self.fields.allocation_size()
    }

    fn find(&self, at: CounterRef) -> Option<u32> {
        if at.is_field() {
            return self.fields.get(&at).copied();
        }
        self.keys.get(at.name as usize)?.checked_sub(1)
    }

    /// Gives up the number of a counter: the peer may forget it.
    fn silence(&mut self, at: CounterRef) {
        let found = match at.is_field() {
            true => self.fields.remove(&at).is_some(),
            false => {
                let number = self.keys.get_mut(at.name as usize).map(std::mem::take);
                number.is_some_and(|number| number > 0)
            }
        };
        self.silent += usize::from(found);
    }

    /// Gives up the numbers of all counters that were hidden or forgotten here of late. All numbers, where
    /// those are more than is known, or most numbers are such. False then.
    fn follow(&mut self, state: &State) -> bool {
        let silenced = &state.keys.silenced;
        let is_crowded = self.silent > SILENT_MIN.max(self.sums.len() / 2);
        match silenced.since(self.silenced).filter(|_| !is_crowded) {
            Some(places) => places.for_each(|at| self.silence(at)),
            None => {
                *self = Self {
                    silenced: silenced.noted(),
                    goes_on: self.begun || self.goes_on,
                    ..Self::default()
                };
                return false;
            }
        }
        self.silenced = silenced.noted();
        true
    }

    /// Gives the key the next number, if there are any left.
    fn add(&mut self, at: Option<CounterRef>, sum: i64) {
        let number = self.sums.len();
        if number >= NUMBERED_MAX {
            return;
        }
        self.sums.push(sum);
        match at {
            Some(at) if at.is_field() => {
                self.fields.insert(at, number as u32);
            }
            Some(at) => {
                let place = at.name as usize;
                if self.keys.len() <= place {
                    self.keys.resize(place + 1, 0);
                }
                self.keys[place] = number as u32 + 1;
            }
            // The peer has numbered it, so we have too; it is never found again.
            None => {}
        }
    }
}

impl Grid {
    /// The form in which the record with this `body` goes to a peer that was sent all that `keys`
    /// knows of, and in the same order; none if it cannot be read.
    pub(in super::super) fn pack_counters(
        &self,
        keys: &mut SentKeys,
        body: &[u8],
    ) -> Option<Bytes> {
        let updates = decode_counters(body).ok()?;
        let places = self.places_of(&updates, keys);
        let mut known = Vec::new();
        let mut new = Vec::new();
        let mut hidden = Vec::new();
        for (row, (at, number)) in updates.rows.iter().zip(places) {
            match number {
                Some(number) => known.push((number, row)),
                None => new.push((at, row)),
            }
            hidden.extend(at.filter(|_| !row.present));
        }
        known.sort_unstable_by_key(|(number, _)| *number);

        let mut out = vec![VERSION, KIND_PACKED_COUNTERS];
        updates.put_head(&mut out);
        out.push(match (keys.begun, keys.goes_on) {
            (true, _) => 0,
            (false, false) => STARTS_OVER,
            (false, true) => STARTS_OVER | GOES_ON,
        });
        keys.begun = true;
        for count in [keys.sums.len(), known.len(), new.len()] {
            put(&mut out, count as u64);
        }
        let mut rows = RowWriter::new(&updates);
        for (number, row) in known {
            rows.number(number);
            rows.values(row, &mut keys.sums[number as usize]);
        }
        for (at, row) in new {
            let mut sum = 0;
            rows.name(row);
            rows.values(row, &mut sum);
            keys.add(at, sum);
        }
        hidden.into_iter().for_each(|at| keys.silence(at));
        put_bytes(&mut out, &rows.numbers.finish());
        out.extend_from_slice(&rows.text);
        Some(out.into())
    }

    /// Where the counters of a record are kept here, and their numbers.
    fn places_of(&self, updates: &CounterUpdates, keys: &mut SentKeys) -> Vec<Place> {
        let mut places = Vec::with_capacity(updates.rows.len());
        'anew: loop {
            places.clear();
            for rows in updates.rows.chunks(MERGE_SLICE) {
                let state = self.state.lock();
                if !keys.follow(&state) && !places.is_empty() {
                    continue 'anew;
                }
                for rows in rows.chunks(LOOK_AHEAD_MAX) {
                    state.look_ahead(rows.iter().map(|row| updates.key(row).0));
                    let found = rows.iter().map(|row| {
                        let (key, field) = updates.key(row);
                        state.find_counter(key, field)
                    });
                    places.extend(found.map(|at| (at, at.and_then(|at| keys.find(at)))));
                }
            }
            return places;
        }
    }
}

/// Writes rows: numbers to one place, text to another.
struct RowWriter<'a> {
    updates: &'a CounterUpdates,
    numbers: Writer,
    text: Vec<u8>,
    models: Models,
    last_number: u32,
    last_key: &'a [u8],
    last: Common,
}

impl<'a> RowWriter<'a> {
    fn new(updates: &'a CounterUpdates) -> Self {
        Self {
            updates,
            numbers: Writer::new(),
            text: Vec::new(),
            models: Models::default(),
            last_number: 0,
            last_key: &[],
            last: Common::default(),
        }
    }

    fn number(&mut self, number: u32) {
        let gap = u64::from(number - self.last_number);
        self.numbers.number(&mut self.models.gap, gap);
        self.last_number = number;
    }

    /// What the key has in common with the one before, at its beginning and at its end; the rest.
    fn name(&mut self, row: &'a CounterUpdate) {
        let (key, field) = self.updates.key(row);
        let last = self.last_key;
        let shared = last.iter().zip(key).take_while(|(a, b)| a == b).count();
        let (rest, last_rest) = (&key[shared..], &last[shared..]);
        let backwards = rest.iter().rev().zip(last_rest.iter().rev());
        let tail = backwards.take_while(|(a, b)| a == b).count();
        let middle = &rest[..rest.len() - tail];
        let models = &mut self.models;
        for (model, number) in [
            (&mut models.shared, shared),
            (&mut models.tail, tail),
            (&mut models.middle, middle.len()),
            (&mut models.field, field.map_or(0, |field| field.len() + 1)),
        ] {
            self.numbers.number(model, number as u64);
        }
        self.text.extend_from_slice(middle);
        self.text.extend_from_slice(field.unwrap_or_default());
        self.last_key = key;
    }

    /// Presence and components. `sum` is the one said last for this key, and then this one.
    fn values(&mut self, row: &CounterUpdate, sum: &mut i64) {
        let (out, models, last) = (&mut self.numbers, &mut self.models, &mut self.last);
        let presence = (row.site as u64) << 1 | u64::from(row.present);
        let parts = self.updates.parts(row);
        let more = self.updates.more(row);
        let alike = match (parts, more) {
            ([(origin, component)], None) => {
                *last
                    == Common {
                        presence,
                        hlc: row.hlc,
                        origin: *origin as u64,
                        version: component.version,
                    }
            }
            _ => false,
        };
        out.symbol(&mut models.alike, u8::from(alike));
        if !alike {
            out.number(&mut models.presence, presence);
            last.presence = presence;
            let clock = row.hlc.wrapping_sub(last.hlc) as i64;
            models.clock.put(out, clock);
            last.hlc = row.hlc;
            let count = (parts.len() as u64) << 1 | u64::from(more.is_some());
            out.number(&mut models.count, count);
        }
        for (origin, component) in parts {
            if !alike {
                out.number(&mut models.origin, *origin as u64);
                last.origin = *origin as u64;
                let version = component.version.wrapping_sub(last.version) as i64;
                models.version.put(out, version);
                last.version = component.version;
            }
            models.sum.put(out, component.sum.wrapping_sub(*sum));
            *sum = component.sum;
        }
        if let Some(more) = more {
            self.more(more);
        }
    }

    fn more(&mut self, more: &MoreUpdate) {
        let (out, models) = (&mut self.numbers, &mut self.models);
        out.number(&mut models.clearings, more.cleared.len() as u64);
        for (origin, cleared) in &more.cleared {
            out.number(&mut models.origin, *origin as u64);
            let newest = self.last.version.wrapping_mul(2);
            let half_epoch = cleared.half_epoch.wrapping_sub(newest) as i64;
            models.half_epoch.put(out, half_epoch);
            models.cleared.put(out, cleared.sum);
        }
        if more.deadline_hlc == 0 {
            out.number(&mut models.deadline, 0);
            return;
        }
        for number in [1, more.deadline_ms] {
            out.number(&mut models.deadline, number);
        }
        let clock = more.deadline_hlc.wrapping_sub(self.last.hlc) as i64;
        models.clock.put(out, clock);
        out.number(&mut models.presence, more.deadline_site as u64);
    }
}
