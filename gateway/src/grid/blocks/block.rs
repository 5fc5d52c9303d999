//! One block: its entries, or where they are.

use super::super::EntryId;
use super::super::cold::{Absent, Cold};
use super::super::varint::{Reader, put, put_bytes};
use super::BLOCK_BYTES;

/// Ids and lengths of one entry take at most this.
pub(super) const ENTRY_HEAD_BYTES_MAX: usize = 10 + 10 + 5;

#[derive(Debug)]
pub(super) struct Block {
    pub(super) first: EntryId,
    pub(super) last: EntryId,
    pub(super) count: u64,
    pub(super) body: Body,
}

/// Where the entries of a block are.
#[derive(Debug)]
pub(super) enum Body {
    /// In memory, and in the journal.
    Hot(Vec<u8>),
    /// On disk.
    Cold(Cold),
    /// On disk, and in memory because something looks into it.
    Thawed(Cold, Box<[u8]>),
    /// Nowhere: the disk gave them back damaged, or not at all.
    Lost,
    /// Perhaps there never were any: a damaged journal may have held some.
    Doubtful,
}

impl Block {
    pub(super) fn new(first: EntryId) -> Self {
        Self {
            first,
            last: first,
            count: 0,
            body: Body::Hot(Vec::new()),
        }
    }

    /// Entries that are nowhere; nobody knows how many.
    pub(super) fn hole(first: EntryId, last: EntryId) -> Self {
        Self {
            first,
            last,
            count: 0,
            body: Body::Lost,
        }
    }

    /// Ids of which nobody knows whether entries had them.
    pub(super) fn doubt(first: EntryId, last: EntryId) -> Self {
        Self {
            body: Body::Doubtful,
            ..Self::hole(first, last)
        }
    }

    pub(super) fn push(&mut self, id: EntryId, payload: &[u8]) {
        let Body::Hot(bytes) = &mut self.body else {
            debug_assert!(false, "entries are added to blocks in memory");
            return;
        };
        make_room(bytes, payload.len() + ENTRY_HEAD_BYTES_MAX);
        put_entry(bytes, self.last, id, payload);
        self.last = id;
        self.count += 1;
    }

    /// Its entries as bytes, if they are in memory.
    pub(super) fn bytes(&self) -> Option<&[u8]> {
        match &self.body {
            Body::Hot(bytes) => Some(bytes),
            Body::Thawed(_, bytes) => Some(bytes),
            Body::Cold(_) | Body::Lost | Body::Doubtful => None,
        }
    }

    /// Likewise, and nothing else of it.
    pub(super) fn into_bytes(self) -> Box<[u8]> {
        match self.body {
            Body::Hot(bytes) => bytes.into(),
            Body::Thawed(_, bytes) => bytes,
            Body::Cold(_) | Body::Lost | Body::Doubtful => Box::default(),
        }
    }

    pub(super) fn memory(&self) -> usize {
        let entries = match &self.body {
            Body::Hot(bytes) => bytes.capacity(),
            Body::Thawed(_, bytes) => bytes.len(),
            Body::Cold(_) | Body::Lost | Body::Doubtful => 0,
        };
        size_of::<Self>() + entries
    }

    /// What it takes in memory, or took when it was there.
    pub(super) fn bytes_hot(&self) -> u64 {
        match &self.body {
            Body::Hot(_) => self.memory() as u64,
            Body::Cold(cold) | Body::Thawed(cold, _) => u64::from(cold.bytes_hot),
            Body::Lost | Body::Doubtful => 0,
        }
    }

    /// Whether its entries are nowhere, if there are any.
    pub(super) fn is_lost(&self) -> bool {
        matches!(self.body, Body::Lost | Body::Doubtful)
    }

    /// Whether nobody knows that it has any.
    pub(super) fn is_doubtful(&self) -> bool {
        matches!(self.body, Body::Doubtful)
    }

    /// Whether `id` lies within it and is not its last.
    pub(super) fn is_parted_by(&self, id: EntryId) -> bool {
        self.first <= id && id < self.last
    }

    pub(super) fn iter(&self) -> BlockIter<'_> {
        let absent = self.bytes().is_none().then(|| self.absent());
        BlockIter {
            reader: Reader::new(self.bytes().unwrap_or_default()),
            last: self.first,
            absent,
        }
    }

    pub(super) fn absent(&self) -> Absent {
        let cold = match &self.body {
            Body::Cold(cold) | Body::Thawed(cold, _) => Some(cold.clone()),
            Body::Hot(_) | Body::Lost | Body::Doubtful => None,
        };
        Absent {
            first: self.first,
            last: self.last,
            cold,
            is_doubtful: self.is_doubtful(),
        }
    }

    /// How many entries are above `after` and at most `to`; of a lost one all or none.
    pub(super) fn count(&self, after: EntryId, to: EntryId) -> Result<u64, Absent> {
        if self.first > after && self.last <= to {
            return Ok(self.count);
        }
        if self.is_lost() {
            return Ok(if self.last <= to { self.count } else { 0 });
        }
        let mut count = 0;
        for entry in self.iter() {
            let (id, _) = entry?;
            count += u64::from(id > after && id <= to);
        }
        Ok(count)
    }
}

/// Makes room for an entry as a vector would, but for no more than a whole block: that would take up
/// to twice what its entries do.
fn make_room(bytes: &mut Vec<u8>, needed: usize) {
    let len = bytes.len() + needed;
    if len > bytes.capacity() {
        let capacity = (2 * bytes.capacity()).min(BLOCK_BYTES).max(len);
        bytes.reserve_exact(capacity - bytes.len());
    }
}

fn put_entry(bytes: &mut Vec<u8>, last: EntryId, id: EntryId, payload: &[u8]) {
    let ms = id.ms - last.ms;
    put(bytes, ms);
    put(bytes, if ms == 0 { id.seq - last.seq } else { id.seq });
    put_bytes(bytes, payload);
}

/// An entry, or where the next ones are to be had.
pub(in crate::grid) type Entry<'a> = Result<(EntryId, &'a [u8]), Absent>;

/// Reads one block from its start.
pub(super) struct BlockIter<'a> {
    reader: Reader<'a>,
    last: EntryId,
    absent: Option<Absent>,
}

impl<'a> Iterator for BlockIter<'a> {
    type Item = Entry<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(absent) = self.absent.take() {
            return Some(Err(absent));
        }
        let ms = self.reader.varint().ok()?;
        let seq = self.reader.varint().ok()?;
        self.last = if ms == 0 {
            EntryId {
                ms: self.last.ms,
                seq: self.last.seq + seq,
            }
        } else {
            EntryId {
                ms: self.last.ms + ms,
                seq,
            }
        };
        Some(Ok((self.last, self.reader.bytes().ok()?)))
    }
}
