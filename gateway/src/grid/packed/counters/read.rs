//! Rows of a packed record, read. Nothing that the peer says is believed.

use std::ops::Range;

use strait_dedup::range::NumberReader;

use super::super::super::RECORD_BYTES_MAX;
use super::super::super::arena::NAME_BYTES_MAX;
use super::super::super::clock::HLC_MAX;
use super::super::super::counter::{Cleared, Component};
use super::super::super::record::{
    CounterUpdates, MoreUpdate, PARTS_MAX, deadline, half_epoch, place, version,
};
use super::super::super::varint::Reader;
use super::super::UnpackError;
use super::{Common, Models};

/// Rows and components of one record: it has room for no more when it stands alone.
pub(super) const ROWS_MAX: usize = RECORD_BYTES_MAX / ROW_BYTES_MIN;
const PARTS_PER_RECORD_MAX: usize = RECORD_BYTES_MAX / PART_BYTES_MIN;
/// A row takes a byte or more of six columns then, a component of three.
const ROW_BYTES_MIN: usize = 6;
const PART_BYTES_MIN: usize = 3;

/// How a row names its key.
pub(super) enum Key {
    /// By its number.
    Known(usize),
    /// Mentioned for the first time.
    New {
        key: Vec<u8>,
        field: Option<Vec<u8>>,
    },
}

/// One counter.
pub(super) struct Row {
    pub(super) key: Key,
    pub(super) hlc: u64,
    pub(super) site: usize,
    pub(super) present: bool,
    /// Where its components are in [`Rows::parts`].
    pub(super) parts: Range<usize>,
    pub(super) more: Option<MoreUpdate>,
}

/// All rows of a record. Sums are still differences.
#[derive(Default)]
pub(super) struct Rows {
    pub(super) rows: Vec<Row>,
    /// Components, each with the place of its origin.
    pub(super) parts: Vec<(usize, Component)>,
}

/// Reads rows one by one.
pub(super) struct RowReader<'a> {
    head: &'a CounterUpdates,
    numbers: NumberReader<'a>,
    text: Reader<'a>,
    models: Models,
    read: Rows,
    /// What was cleared, in all rows so far.
    clearings: usize,
    /// Bytes of all names so far: of what they have in common only once on the wire.
    name_bytes: usize,
    last_number: u64,
    last_key: Vec<u8>,
    last: Common,
}

impl<'a> RowReader<'a> {
    pub(super) fn new(head: &'a CounterUpdates, numbers: &'a [u8], text: &'a [u8]) -> Self {
        Self {
            head,
            numbers: NumberReader::new(numbers),
            text: Reader::new(text),
            models: Models::default(),
            read: Rows::default(),
            clearings: 0,
            name_bytes: 0,
            last_number: 0,
            last_key: Vec::new(),
            last: Common::default(),
        }
    }

    pub(super) fn number(&mut self, numbered: usize) -> Result<usize, UnpackError> {
        let gap = self.numbers.number(&mut self.models.gap)?;
        // Both are below 2^63.
        self.last_number += gap;
        match usize::try_from(self.last_number) {
            Ok(number) if number < numbered => Ok(number),
            Ok(_) | Err(_) => Err(UnpackError::Malformed("a key that has no number")),
        }
    }

    pub(super) fn name(&mut self) -> Result<Key, UnpackError> {
        let models = &mut self.models;
        let mut next = |model| {
            let number = self.numbers.number(model)?;
            usize::try_from(number)
                .ok()
                .filter(|number| *number <= NAME_BYTES_MAX + 1)
                .ok_or(UnpackError::Malformed("a name too long"))
        };
        let (shared, tail) = (next(&mut models.shared)?, next(&mut models.tail)?);
        let (middle, field) = (next(&mut models.middle)?, next(&mut models.field)?);
        let last = &self.last_key;
        if shared + tail > last.len() || shared + middle + tail > NAME_BYTES_MAX {
            return Err(UnpackError::Malformed("a name too long"));
        }
        self.name_bytes += shared + middle + tail + field.saturating_sub(1);
        if self.name_bytes > RECORD_BYTES_MAX {
            return Err(UnpackError::Malformed("names too long"));
        }
        let parts = [
            &last[..shared],
            self.text.take(middle)?,
            &last[last.len() - tail..],
        ];
        let key = parts.concat();
        let field = match field.checked_sub(1) {
            Some(len) => Some(self.text.take(len)?.to_vec()),
            None => None,
        };
        self.last_key.clone_from(&key);
        Ok(Key::New { key, field })
    }

    /// What the row says besides its key.
    pub(super) fn row(&mut self, key: Key) -> Result<(), UnpackError> {
        let (numbers, models) = (&mut self.numbers, &mut self.models);
        let last = &mut self.last;
        let alike = numbers.symbol(&mut models.alike)? == 1;
        let mut count = 1 << 1;
        if !alike {
            last.presence = numbers.number(&mut models.presence)?;
            let clock = models.clock.read(numbers)? as u64;
            last.hlc = last.hlc.wrapping_add(clock);
            count = numbers.number(&mut models.count)?;
        }
        let site = usize::try_from(last.presence >> 1).unwrap_or(usize::MAX);
        if site >= self.head.sites.len() {
            return Err(UnpackError::Malformed("a site that is not in the list"));
        }
        if last.hlc > HLC_MAX {
            return Err(UnpackError::Malformed("a clock reading out of range"));
        }
        let has_more = count & 1 == 1;
        let count = bounded(count >> 1, PARTS_MAX)?;
        let first = self.read.parts.len();
        if first + count > PARTS_PER_RECORD_MAX {
            return Err(UnpackError::Malformed("too many components"));
        }
        for _ in 0..count {
            if !alike {
                last.origin = numbers.number(&mut models.origin)?;
                let step = models.version.read(numbers)? as u64;
                last.version = version(last.version.wrapping_add(step))?;
            }
            let origin = place(last.origin, self.head.origins.len())?;
            let component = Component {
                version: last.version,
                sum: models.sum.read(numbers)?,
            };
            self.read.parts.push((origin, component));
        }
        let (hlc, presence) = (last.hlc, last.presence);
        let more = if has_more { Some(self.more()?) } else { None };
        self.read.rows.push(Row {
            key,
            hlc,
            site,
            present: presence & 1 == 1,
            parts: first..self.read.parts.len(),
            more,
        });
        Ok(())
    }

    fn more(&mut self) -> Result<MoreUpdate, UnpackError> {
        let (numbers, models) = (&mut self.numbers, &mut self.models);
        let mut more = MoreUpdate::default();
        let count = bounded(numbers.number(&mut models.clearings)?, PARTS_MAX)?;
        self.clearings += count;
        if self.clearings > PARTS_PER_RECORD_MAX {
            return Err(UnpackError::Malformed("too many components"));
        }
        for _ in 0..count {
            let origin = numbers.number(&mut models.origin)?;
            let step = models.half_epoch.read(numbers)? as u64;
            let newest = self.last.version.wrapping_mul(2);
            let cleared = Cleared {
                half_epoch: half_epoch(newest.wrapping_add(step))?,
                sum: models.cleared.read(numbers)?,
            };
            let origin = place(origin, self.head.origins.len())?;
            more.cleared.push((origin, cleared));
        }
        if numbers.number(&mut models.deadline)? != 0 {
            more.deadline_ms = deadline(numbers.number(&mut models.deadline)?)?;
            let clock = models.clock.read(numbers)? as u64;
            more.deadline_hlc = self.last.hlc.wrapping_add(clock);
            let site = numbers.number(&mut models.presence)?;
            more.deadline_site = place(site, self.head.sites.len())?;
            if more.deadline_hlc > HLC_MAX {
                return Err(UnpackError::Malformed("a clock reading out of range"));
            }
        }
        Ok(more)
    }

    pub(super) fn finish(self) -> Result<Rows, UnpackError> {
        if self.text.is_empty() {
            Ok(self.read)
        } else {
            Err(UnpackError::Malformed("bytes after the last name"))
        }
    }
}

fn bounded(number: u64, max: usize) -> Result<usize, UnpackError> {
    let number = usize::try_from(number).ok().filter(|number| *number <= max);
    number.ok_or(UnpackError::Malformed("number too large"))
}

#[cfg(test)]
mod tests {
    use strait_dedup::range::Writer;

    use super::*;

    #[test]
    fn names_that_have_much_in_common_take_no_more_memory_than_a_record() {
        let (mut numbers, mut models) = (Writer::new(), Models::default());
        let mut say = |shared: usize, middle: usize| {
            numbers.number(&mut models.shared, shared as u64);
            numbers.number(&mut models.tail, 0);
            numbers.number(&mut models.middle, middle as u64);
            numbers.number(&mut models.field, 0);
        };
        say(0, NAME_BYTES_MAX);
        (0..40).for_each(|_| say(NAME_BYTES_MAX, 0));
        let numbers = numbers.finish();
        let (head, text) = (CounterUpdates::default(), vec![b'a'; NAME_BYTES_MAX]);
        let mut reader = RowReader::new(&head, &numbers, &text);
        let read = (0..41).take_while(|_| reader.name().is_ok()).count();
        assert_eq!(read, RECORD_BYTES_MAX / NAME_BYTES_MAX);
    }
}
