//! Records of logs: one stretch of one log.

use bytes::Bytes;

use super::super::arena::NAME_BYTES_MAX;
use super::super::varint::{Malformed, Reader, put, put_bytes};
use super::super::{EntryId, LogName, RECORD_BYTES_MAX};
use super::updates::site_name;
use super::{KIND_LOG, VERSION};

/// Site, name, three ids, a revision, a count, two column lengths: what comes before the entries.
const HEAD_BYTES_MAX: usize = 2 + 35 + 3 + NAME_BYTES_MAX + 7 * 10 + 2 * 10;
/// No log has been deleted and made again so often.
const REVISION_END: u64 = 1 << 62;
/// Most bytes for the id of one entry.
const ID_BYTES_MAX: usize = 20;

/// What a stretch of a log says of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::grid) struct LogHead {
    pub(in crate::grid) log: LogName,
    /// Id of the entry before the first one here: whoever has not got that has a gap.
    pub(in crate::grid) prev: EntryId,
    /// Everything up to here has been trimmed away by the origin.
    pub(in crate::grid) trimmed_to: EntryId,
    /// See [`LogPosition::revision`](super::super::LogPosition::revision).
    pub(in crate::grid) revision: u64,
}

impl LogHead {
    /// Appends all of it.
    pub(in crate::grid) fn put(&self, out: &mut Vec<u8>) {
        debug_assert!(self.revision < REVISION_END, "out of what readers take");
        self.log.put(out);
        for id in [self.prev, self.trimmed_to] {
            id.put(out);
        }
        put(out, self.revision);
    }

    /// Reads what [`Self::put`] wrote.
    pub(in crate::grid) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            log: LogName::read(reader)?,
            prev: EntryId::read(reader)?,
            trimmed_to: EntryId::read(reader)?,
            revision: revision(reader.varint()?)?,
        })
    }
}

/// Revisions stay far from where counting on would overflow.
fn revision(value: u64) -> Result<u64, Malformed> {
    if value >= REVISION_END {
        return Err(Malformed("a revision out of range"));
    }
    Ok(value)
}

/// A decoded stretch of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::grid) struct LogSection<'a> {
    pub(in crate::grid) head: LogHead,
    /// Ids, rising, and the fields and values as [`values_of`] reads them.
    pub(in crate::grid) entries: Vec<(EntryId, &'a [u8])>,
}

/// Writes one stretch of a log.
#[derive(Debug)]
pub(in crate::grid) struct SectionBuilder {
    head: Vec<u8>,
    ids: Vec<u8>,
    payloads: Vec<u8>,
    count: u64,
    last: EntryId,
    bytes_max: usize,
}

impl SectionBuilder {
    /// The record will have at most `bytes_max` bytes, or one entry.
    pub(in crate::grid) fn new(log: &LogHead, bytes_max: usize) -> Self {
        let mut head = vec![VERSION, KIND_LOG];
        log.put(&mut head);
        Self {
            head,
            ids: Vec::new(),
            payloads: Vec::new(),
            count: 0,
            last: log.prev,
            bytes_max: bytes_max.min(RECORD_BYTES_MAX),
        }
    }

    /// Adds the next entry; false when it has no room here any more.
    pub(in crate::grid) fn push(&mut self, id: EntryId, payload: &[u8]) -> bool {
        let taken = HEAD_BYTES_MAX + self.ids.len() + self.payloads.len();
        if self.count > 0 && taken + ID_BYTES_MAX + 5 + payload.len() > self.bytes_max {
            return false;
        }
        self.add(id, payload);
        true
    }

    /// Adds the next entry, room or not.
    pub(in crate::grid) fn add(&mut self, id: EntryId, payload: &[u8]) {
        let (ms, seq) = id.step_from(self.last);
        put(&mut self.ids, ms);
        put(&mut self.ids, seq);
        put_bytes(&mut self.payloads, payload);
        self.last = id;
        self.count += 1;
    }

    /// Bytes of the entries so far.
    pub(in crate::grid) fn len(&self) -> usize {
        self.ids.len() + self.payloads.len()
    }

    /// Id of the last entry added; `prev` if there is none.
    pub(in crate::grid) fn last(&self) -> EntryId {
        self.last
    }

    /// The record.
    pub(in crate::grid) fn finish(mut self) -> Bytes {
        put(&mut self.head, self.count);
        put_bytes(&mut self.head, &self.ids);
        put_bytes(&mut self.head, &self.payloads);
        // It may be kept among recent flushes: without room for more.
        self.head.into_boxed_slice().into()
    }
}

/// Decodes a record of a log; `body` is what follows its head.
pub(in crate::grid) fn decode_log(body: &[u8]) -> Result<LogSection<'_>, Malformed> {
    let mut reader = Reader::new(body);
    let head = LogHead::read(&mut reader)?;
    let count = reader.bounded(body.len())?;
    let mut ids = Reader::new(reader.bytes()?);
    let mut payloads = Reader::new(reader.bytes()?);
    let mut entries = Vec::with_capacity(count.min(ids.remaining()));
    let mut last = head.prev;
    for _ in 0..count {
        last = last.step(ids.varint()?, ids.varint()?)?;
        let payload = payloads.bytes()?;
        check_payload(payload)?;
        entries.push((last, payload));
    }
    if !(reader.is_empty() && ids.is_empty() && payloads.is_empty()) {
        return Err(Malformed("bytes after the last entry"));
    }
    Ok(LogSection { head, entries })
}

impl LogName {
    /// Appends site and name.
    pub(in crate::grid) fn put(&self, out: &mut Vec<u8>) {
        put_bytes(out, self.site.as_ref().as_bytes());
        put_bytes(out, &self.name);
    }

    /// Reads what [`Self::put`] wrote.
    pub(in crate::grid) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let site = site_name(reader.bytes()?)?;
        let name = reader.bytes()?;
        if name.len() > NAME_BYTES_MAX {
            return Err(Malformed("a log's name too long"));
        }
        let name = name.into();
        Ok(Self { site, name })
    }
}

impl EntryId {
    /// Appends both halves.
    pub(in crate::grid) fn put(self, out: &mut Vec<u8>) {
        put(out, self.ms);
        put(out, self.seq);
    }

    /// Reads what [`Self::put`] wrote.
    pub(in crate::grid) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (ms, seq) = (reader.varint()?, reader.varint()?);
        Ok(Self { ms, seq })
    }

    /// What a record says of an id after that of the entry before: milliseconds more, and the
    /// sequence, or how much more that is if the milliseconds are the same.
    pub(in crate::grid) fn step_from(self, before: Self) -> (u64, u64) {
        let ms = self.ms.wrapping_sub(before.ms);
        let base = if ms == 0 { before.seq } else { 0 };
        (ms, self.seq.wrapping_sub(base))
    }

    /// The id after `self` of which a record says this.
    pub(in crate::grid) fn step(self, ms: u64, seq: u64) -> Result<Self, Malformed> {
        let id = if ms == 0 {
            let seq = self.seq.checked_add(seq);
            seq.map(|seq| Self { ms: self.ms, seq })
        } else {
            self.ms.checked_add(ms).map(|ms| Self { ms, seq })
        };
        id.filter(|id| *id > self)
            .ok_or(Malformed("ids that do not rise"))
    }
}

/// Checks that [`values_of`] will read all of `payload`.
fn check_payload(payload: &[u8]) -> Result<(), Malformed> {
    let mut reader = Reader::new(payload);
    let count = reader.bounded(payload.len())?;
    for _ in 0..count {
        reader.bytes()?;
    }
    if count % 2 == 0 && count > 0 && reader.is_empty() {
        Ok(())
    } else {
        Err(Malformed("an entry's fields are damaged"))
    }
}

/// Packs fields and values for an entry.
pub(crate) fn pack_values<'a>(values: impl ExactSizeIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut payload = Vec::with_capacity(128);
    put(&mut payload, values.len() as u64);
    values.for_each(|value| put_bytes(&mut payload, value));
    payload
}

/// How many fields and values an entry has, and each in turn.
pub(crate) fn values_of(payload: &[u8]) -> (usize, impl Iterator<Item = &[u8]>) {
    let mut reader = Reader::new(payload);
    let count = reader.bounded(payload.len()).unwrap_or(0);
    (count, (0..count).map_while(move |_| reader.bytes().ok()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Kind, kind_of};
    use super::*;

    fn head(prev: EntryId, revision: u64) -> LogHead {
        let log = LogName {
            site: "east".parse().unwrap(),
            name: b"clicks"[..].into(),
        };
        LogHead {
            log,
            prev,
            trimmed_to: EntryId::MAX,
            revision,
        }
    }

    proptest! {
        #[test]
        fn decoding_gives_back_what_was_encoded(
            prev in (0..9_u64, 0..9_u64),
            steps in proptest::collection::vec((0..3_u64, 0..3_u64, any::<Vec<u8>>()), 0..30),
            revision in 0..REVISION_END,
        ) {
            let prev = EntryId { ms: prev.0, seq: prev.1 };
            let mut builder = SectionBuilder::new(&head(prev, revision), 1 << 20);
            let (mut id, mut entries) = (prev, Vec::new());
            for (ms, seq, value) in steps {
                let seq = if ms == 0 { id.seq + seq + 1 } else { seq };
                id = EntryId { ms: id.ms + ms, seq };
                let mut payload = Vec::new();
                put(&mut payload, 2);
                put_bytes(&mut payload, b"field");
                put_bytes(&mut payload, &value);
                prop_assert!(builder.push(id, &payload));
                let (count, values) = values_of(&payload);
                prop_assert_eq!((count, values.last()), (2, Some(&value[..])));
                entries.push((id, payload));
            }
            let record = builder.finish();
            let (kind, body) = kind_of(&record).unwrap();
            prop_assert_eq!(kind, Kind::Log);
            let section = decode_log(body).unwrap();
            let expected: Vec<_> = entries.iter().map(|(id, p)| (*id, &p[..])).collect();
            prop_assert_eq!(section.entries, expected);
            prop_assert_eq!(section.head, head(prev, revision));
        }

        #[test]
        fn any_bytes_are_survived(bytes: Vec<u8>) {
            prop_assert!(decode_log(&bytes).map_or(true, |s| s.entries.len() <= bytes.len()));
        }
    }
}
