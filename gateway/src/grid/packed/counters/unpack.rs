//! The receiving end. Nothing that the peer says is believed.

use super::super::super::counter::Component;
use super::super::super::forget::Rule;
use super::super::super::keyspace::CounterRef;
use super::super::super::merge::Numbers;
use super::super::super::record::{CounterRows, CounterUpdates, Part};
use super::super::super::state::State;
use super::super::super::varint::Reader;
use super::super::super::{Grid, MERGE_SLICE, RECORD_BYTES_MAX};
use super::super::{UnpackError, Unpacked, begun};
use super::NUMBERED_MAX;
use super::read::{Key, ROWS_MAX, Row, RowReader, Rows};
use bytes::Bytes;

/// What the peer said in this session, by number.
#[derive(Debug, Default)]
pub(in super::super) struct HeardKeys {
    keys: Vec<(CounterRef, i64)>,
    /// Which life of its name's place each of them is.
    lives: Vec<u32>,
}

impl Grid {
    /// The records, each of which stands alone, that a peer has sent as `body`, after all that
    /// `heard` knows of.
    pub(in super::super) fn unpack_counters(
        &self,
        heard: &mut Option<HeardKeys>,
        body: &[u8],
    ) -> Result<Vec<Unpacked>, UnpackError> {
        let mut reader = Reader::new(body);
        let head = CounterUpdates::read_head(&mut reader)?;
        let keys = begun(heard, reader.byte()?)?;
        if reader.varint()? != keys.keys.len() as u64 {
            return Err(UnpackError::Malformed("key numbers that are not ours"));
        }
        let known = reader.bounded(ROWS_MAX)?;
        let new = reader.bounded(ROWS_MAX)?;
        let numbers = reader.bytes()?;
        let mut read = RowReader::new(&head, numbers, reader.rest());
        for _ in 0..known {
            let key = read.number(keys.keys.len())?;
            read.row(Key::Known(key))?;
        }
        for _ in 0..new {
            let name = read.name()?;
            read.row(name)?;
        }
        let read = read.finish()?;
        let numbers = self.state.lock().intern(&head)?;
        let (forgotten, mut places) = self.resolve(keys, &read.rows)?;
        let rows = self.rebuild(keys, &read, (forgotten, &mut places), &numbers)?;
        let origins = self.state.lock().origins.clone();
        let complete: Vec<_> = head
            .complete
            .iter()
            .map(|(origin, epoch)| (numbers.origins[*origin], *epoch))
            .collect();
        let records = rows.encode_ordered(&origins, &complete).into_iter();
        let placed = |(record, order): (Bytes, Vec<u32>)| Unpacked {
            record,
            places: order.iter().map(|n| places[*n as usize]).collect(),
            promises: true,
            forgotten,
        };
        Ok(records.map(placed).collect())
    }

    /// Where the rows' counters are kept here, as long as no more than so many names are forgotten; new
    /// ones are made.
    fn resolve(
        &self,
        keys: &HeardKeys,
        rows: &[Row],
    ) -> Result<(u64, Vec<CounterRef>), UnpackError> {
        let mut places = Vec::with_capacity(rows.len());
        let forgotten = self.state.lock().keys.forgotten;
        for rows in rows.chunks(MERGE_SLICE) {
            let mut state = self.state.lock();
            for row in rows {
                places.push(state.resolve(keys, &row.key)?);
            }
        }
        Ok((forgotten, places))
    }

    /// The rows with their names and whole sums; `keys` learns both. When it fails, what `keys`
    /// knows is of no use any more.
    fn rebuild(
        &self,
        keys: &mut HeardKeys,
        read: &Rows,
        (forgotten, places): (u64, &mut [CounterRef]),
        numbers: &Numbers,
    ) -> Result<CounterRows, UnpackError> {
        let mut rebuilt = CounterRows::default();
        let places = places.chunks_mut(MERGE_SLICE);
        for (rows, places) in read.rows.chunks(MERGE_SLICE).zip(places) {
            let mut state = self.state.lock();
            if state.keys.forgotten != forgotten {
                for (row, at) in rows.iter().zip(&mut *places) {
                    *at = state.resolve(keys, &row.key)?;
                }
            }
            state.keys.look_at(places);
            for (row, at) in rows.iter().zip(&*places) {
                let mut sum = match row.key {
                    Key::Known(number) => keys.keys[number].1,
                    Key::New { .. } => 0,
                };
                let presence = (row.hlc, numbers.sites[row.site], row.present);
                let whole = read.parts[row.parts.clone()].iter().map(|(origin, step)| {
                    sum = sum.wrapping_add(step.sum);
                    let component = Component { sum, ..*step };
                    Part {
                        origin: numbers.origins[*origin],
                        component,
                    }
                });
                let extra = row.more.as_ref().map(|more| numbers.extra(more));
                rebuilt.push(state.keys.key_of(*at), presence, whole, extra.as_ref());
                if rebuilt.text_len() > RECORD_BYTES_MAX {
                    return Err(UnpackError::Malformed("names too long"));
                }
                keys.learn(&row.key, (*at, state.keys.life(*at)), sum);
            }
        }
        Ok(rebuilt)
    }
}

impl State {
    /// Where a counter is kept. One that the peer names by a number may have been forgotten here: the
    /// peer, which has not yet, is to begin anew.
    fn resolve(&mut self, keys: &HeardKeys, key: &Key) -> Result<CounterRef, UnpackError> {
        match key {
            Key::Known(number) => {
                let at = keys.keys[*number].0;
                let lives = self.keys.life(at) == keys.lives[*number];
                let lives = lives || Rule::CheckLives.is_broken();
                lives.then_some(at).ok_or(UnpackError::Forgotten)
            }
            Key::New { key, field } => Ok(self.place_or_create(key, field.as_deref())?),
        }
    }
}

impl HeardKeys {
    /// Memory taken: what the lists have room for beyond their length was never touched.
    pub(in super::super) fn bytes(&self) -> usize {
        self.keys.len() * size_of::<(CounterRef, i64)>() + self.lives.len() * size_of::<u32>()
    }

    fn learn(&mut self, key: &Key, (at, life): (CounterRef, u32), sum: i64) {
        match key {
            Key::Known(number) => self.keys[*number].1 = sum,
            Key::New { .. } if self.keys.len() < NUMBERED_MAX => {
                self.keys.push((at, sum));
                self.lives.push(life);
            }
            Key::New { .. } => {}
        }
    }
}
