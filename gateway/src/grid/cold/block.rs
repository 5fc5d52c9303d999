//! A block of a log as it stands in a file: entries packed, then compressed.
//!
//! Words that entries share are most of what a single block would say. So blocks that stand beside
//! each other in a file are a *group*: each is packed after those before it, and read after them.

use bytes::Bytes;

use super::super::blocks::Stretch;
use super::super::packed::{self, HeardEntries, SentEntries};
use super::super::record::{Kind, LogHead, LogSection, SectionBuilder, decode_log, kind_of};
use super::super::varint::{Malformed, Reader, put};
use super::super::{EntryId, LogName, RECORD_BYTES_MAX};
use super::IdRange;

/// First byte of a block's record.
pub(super) const KIND_BLOCK: u8 = 1;
/// Level of zstd: what packing leaves are numbers, which do not compress, and text.
const LEVEL: i32 = 3;

/// What a block says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BlockHead {
    pub(super) log: LogName,
    pub(super) stretch: Stretch,
    /// Bytes of the file from the first block of its group to this one.
    pub(super) since: u32,
}

/// A block that was read: all its entries.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(super) stretch: Stretch,
    /// As in a record of a log.
    body: Bytes,
}

impl Loaded {
    /// Its entries, ids rising, at least one.
    pub(in crate::grid) fn entries(&self) -> Vec<(EntryId, &[u8])> {
        // It was read once before it became this.
        decode_log(&self.body).map_or_else(|_| Vec::new(), |section| section.entries)
    }

    /// Hands `found` those in `range` that are not trimmed, until it returns false, which is
    /// returned then.
    pub(super) fn hand_out(
        &self,
        range: IdRange,
        trimmed_to: EntryId,
        found: &mut impl FnMut(EntryId, &[u8]) -> bool,
    ) -> bool {
        let mut entries = self.entries();
        if range.newest_first {
            entries.reverse();
        }
        let seen =
            |(id, _): &(EntryId, &[u8])| *id > trimmed_to && (range.start..=range.end).contains(id);
        let mut entries = entries.into_iter().filter(seen);
        entries.all(|(id, payload)| found(id, payload))
    }
}

impl BlockHead {
    /// Reads the head of a block's record: what follows it is compressed.
    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        if reader.byte()? != KIND_BLOCK {
            return Err(Malformed("no block of this release"));
        }
        Ok(Self {
            log: LogName::read(reader)?,
            stretch: Stretch::read(reader)?,
            since: u32::try_from(reader.varint()?).map_err(|_| Malformed("too large"))?,
        })
    }

    /// The head of a block's record.
    pub(super) fn of(record: &[u8]) -> Result<Self, Malformed> {
        Self::read(&mut Reader::new(record))
    }
}

/// The record of a block with the entries of `section`, as [`SectionBuilder`] made it, after those
/// of its group that `sent` knows of. Compresses: not for tokio's threads.
pub(super) fn encode(
    head: &BlockHead,
    sent: &mut SentEntries,
    section: &Bytes,
) -> std::io::Result<Vec<u8>> {
    let packed = packed::pack_log(sent, section);
    let mut record = vec![KIND_BLOCK];
    head.log.put(&mut record);
    head.stretch.put(&mut record);
    put(&mut record, u64::from(head.since));
    record.extend(zstd::bulk::compress(&packed, LEVEL)?);
    Ok(record)
}

/// Reads what [`encode`] wrote, after those of its group that were `heard`, whatever the bytes
/// are. Takes at most a few times [`RECORD_BYTES_MAX`]. Not for tokio's threads.
pub(in crate::grid) fn decode(
    heard: &mut Option<HeardEntries>,
    record: &[u8],
) -> Result<Loaded, Malformed> {
    let mut reader = Reader::new(record);
    let head = BlockHead::read(&mut reader)?;
    let packed = zstd::bulk::decompress(reader.rest(), RECORD_BYTES_MAX);
    let packed = packed.map_err(|_| Malformed("it does not decompress"))?;
    let section = packed::unpack_log(heard, packed.into())?;
    let body = match kind_of(&section)? {
        (Kind::Log, body) => section.slice_ref(body),
        _ => return Err(Malformed("it holds no entries of a log")),
    };
    check(&head, &decode_log(&body)?)?;
    Ok(Loaded {
        stretch: head.stretch,
        body,
    })
}

fn check(head: &BlockHead, section: &LogSection<'_>) -> Result<(), Malformed> {
    let first = section.entries.first().map(|(id, _)| *id);
    let last = section.entries.last().map(|(id, _)| *id);
    let stretch = &head.stretch;
    let agrees = section.head.log == head.log
        && section.head.prev == stretch.prev
        && (first, last) == (Some(stretch.first), Some(stretch.last))
        && section.entries.len() as u64 == stretch.count;
    match agrees {
        true => Ok(()),
        false => Err(Malformed("its entries are not those that it names")),
    }
}

/// Begins the entries of a block, for [`encode`].
pub(in crate::grid) fn section(log: &LogName, prev: EntryId) -> SectionBuilder {
    let head = LogHead {
        log: log.clone(),
        prev,
        trimmed_to: EntryId::MIN,
        revision: 0,
    };
    SectionBuilder::new(&head, RECORD_BYTES_MAX)
}
