//! The receiving end. Nothing that the peer says is believed.

use super::super::counter::Component;
use super::super::keyspace::CounterRef;
use super::super::merge::{Numbers, TooMany};
use super::super::record::{CounterRows, CounterUpdates, Kind, Malformed, Part, kind_of};
use super::super::state::State;
use super::super::varint::Reader;
use super::super::{Grid, MERGE_SLICE, RECORD_BYTES_MAX};
use super::read::{Key, ROWS_MAX, Row, RowReader, Rows};
use super::{NUMBERED_MAX, STARTS_OVER};
use bytes::Bytes;

/// What the peer said in this session, by number.
#[derive(Debug, Default)]
pub struct HeardKeys {
    keys: Vec<(CounterRef, i64)>,
    /// A record could not be read, so ours may not be the peer's numbers any more.
    lost: bool,
}

/// Why a packed record was not turned back.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The peer's fault. Until its numbers start over nothing that is packed can be read.
    #[error("the peer sent a packed record that cannot be read: {0}")]
    Malformed(&'static str),
    /// It follows one that could not be read.
    #[error("the peer's key numbers are lost")]
    Lost,
    /// Our own fault: too many names. Try again later.
    #[error("no room for more origins or names")]
    Refused,
}

impl From<Malformed> for UnpackError {
    fn from(error: Malformed) -> Self {
        Self::Malformed(error.0)
    }
}

impl From<strait_dedup::range::EndsEarly> for UnpackError {
    fn from(_: strait_dedup::range::EndsEarly) -> Self {
        Self::Malformed("numbers that end early")
    }
}

impl From<TooMany> for UnpackError {
    fn from(_: TooMany) -> Self {
        Self::Refused
    }
}

impl Grid {
    /// The records, each of which stands alone, that a peer has sent as `packed`, after all that
    /// `keys` knows of. What is not packed comes back as it is. Not for tokio's threads.
    pub fn unpack(&self, keys: &mut HeardKeys, packed: Bytes) -> Result<Vec<Bytes>, UnpackError> {
        let (kind, body) = kind_of(&packed)?;
        if kind != Kind::Packed {
            return Ok(vec![packed]);
        }
        let read = self.unpack_counters(keys, body);
        if let Err(UnpackError::Malformed(_)) = read {
            keys.lost = true;
        }
        read
    }

    fn unpack_counters(
        &self,
        keys: &mut HeardKeys,
        body: &[u8],
    ) -> Result<Vec<Bytes>, UnpackError> {
        let mut reader = Reader::new(body);
        let head = CounterUpdates::read_head(&mut reader)?;
        if reader.byte()? & STARTS_OVER != 0 {
            *keys = HeardKeys::default();
        } else if keys.lost {
            return Err(UnpackError::Lost);
        }
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
        let places = self.resolve(keys, &read.rows)?;
        // From here on nothing fails, so nothing is done by half.
        let records = self.rebuild(keys, &read, &places, &numbers);
        let state = self.state.lock();
        let complete: Vec<_> = head
            .complete
            .iter()
            .map(|(origin, epoch)| (numbers.origins[*origin], *epoch))
            .collect();
        let origins = state.origins.clone();
        drop(state);
        Ok(records.encode(&origins, &complete))
    }

    /// Where the rows' counters are kept here; new ones are made.
    fn resolve(&self, keys: &HeardKeys, rows: &[Row]) -> Result<Vec<CounterRef>, UnpackError> {
        let mut places = Vec::with_capacity(rows.len());
        let mut bytes = 0;
        for rows in rows.chunks(MERGE_SLICE) {
            let mut state = self.state.lock();
            for row in rows {
                let at = match &row.key {
                    Key::Known(number) => keys.keys[*number].0,
                    Key::New { key, field } => state.place_or_create(key, field.as_deref())?,
                };
                let (key, field) = state.keys.key_of(at);
                bytes += key.len() + field.map_or(0, <[u8]>::len);
                places.push(at);
            }
            if bytes > RECORD_BYTES_MAX {
                return Err(UnpackError::Malformed("names too long"));
            }
        }
        Ok(places)
    }

    /// The rows with their names and whole sums; `keys` learns both.
    fn rebuild(
        &self,
        keys: &mut HeardKeys,
        read: &Rows,
        places: &[CounterRef],
        numbers: &Numbers,
    ) -> CounterRows {
        let mut rebuilt = CounterRows::default();
        let places = places.chunks(MERGE_SLICE);
        for (rows, places) in read.rows.chunks(MERGE_SLICE).zip(places) {
            let state = self.state.lock();
            for (row, at) in rows.iter().zip(places) {
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
                keys.learn(&row.key, *at, sum);
            }
        }
        rebuilt
    }
}

impl HeardKeys {
    fn learn(&mut self, key: &Key, at: CounterRef, sum: i64) {
        match key {
            Key::Known(number) => self.keys[*number].1 = sum,
            Key::New { .. } if self.keys.len() < NUMBERED_MAX => self.keys.push((at, sum)),
            Key::New { .. } => {}
        }
    }
}

impl State {
    fn place_or_create(&mut self, key: &[u8], field: Option<&[u8]>) -> Result<CounterRef, TooMany> {
        let name = self.keys.find_or_create(key).ok_or(TooMany)?;
        let Some(field) = field else {
            return Ok(CounterRef::key(name));
        };
        let field = self.keys.find_or_create_field(name, field);
        Ok(CounterRef::field(name, field.ok_or(TooMany)?))
    }
}
