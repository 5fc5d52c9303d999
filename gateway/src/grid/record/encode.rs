//! Counters to records: sorted by key, one column for each property.

use bytes::Bytes;

use super::super::clock::HLC_MAX;
use super::super::counter::{Component, Extra, OriginId, SiteId};
use super::super::origins::Origins;
use super::super::runs::EPOCH_LAST;
use super::super::varint::{put, put_bytes, put_signed};
use super::super::{Epoch, RECORD_BYTES_MAX};
use super::{KIND_COUNTERS, VERSION};

/// One component as a record carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::grid) struct Part {
    pub(in crate::grid) origin: OriginId,
    pub(in crate::grid) component: Component,
}

#[derive(Clone, Copy, Debug)]
struct Row {
    text: usize,
    key_len: u32,
    field_len: Option<u32>,
    hlc: u64,
    parts: usize,
    parts_len: u16,
    /// Place in [`CounterRows::extras`] and 1; 0: none.
    extra: u32,
    site: SiteId,
    present: bool,
}

impl Row {
    fn text_len(&self) -> usize {
        self.key_len as usize + self.field_len.unwrap_or(0) as usize
    }
}

/// Most bytes that one row takes besides its text and parts: three lengths, a presence, a clock
/// reading, a count.
const ROW_BYTES_MAX: usize = 3 * 3 + 2 + 10 + 3;
const PART_BYTES_MAX: usize = 3 + 10 + 10;
/// Likewise for what was cleared of one component, and for a deadline with the count of those.
const CLEARED_BYTES_MAX: usize = 3 + 10 + 10;
const DEADLINE_BYTES_MAX: usize = 3 + 10 + 10 + 2;
/// Most bytes that the head takes for one origin: its site, its incarnation, its completeness.
const ORIGIN_BYTES_MAX: usize = 34 + 2 + 8 + 3 + 10;
/// Version, kind, counts and column lengths.
const HEAD_BYTES_MAX: usize = 2 + 4 * 5 + 11 * 5;

/// Counters collected for encoding, in any order.
#[derive(Debug, Default)]
pub(in crate::grid) struct CounterRows {
    text: Vec<u8>,
    rows: Vec<Row>,
    parts: Vec<Part>,
    extras: Vec<Extra>,
    extra_bytes: usize,
    /// A number that whoever reads the records would refuse.
    out_of_range: Option<&'static str>,
}

impl CounterRows {
    /// Adds one counter. `hlc` 0: nothing is said about its presence.
    pub(in crate::grid) fn push(
        &mut self,
        (key, field): (&[u8], Option<&[u8]>),
        (hlc, site, present): (u64, SiteId, bool),
        parts: impl IntoIterator<Item = Part>,
        extra: Option<&Extra>,
    ) {
        if let Some(extra) = extra {
            self.extra_bytes += extra_bytes_max(extra);
            self.out_of_range = self.out_of_range.or(extra_out_of_range(extra));
            self.extras.push(extra.clone());
        }
        let first_part = self.parts.len();
        self.parts.extend(parts);
        let versions = self.parts[first_part..].iter();
        if versions.map(|part| part.component.version).max() > Some(EPOCH_LAST.0) {
            self.out_of_range = Some("a version");
        }
        if hlc > HLC_MAX {
            self.out_of_range = Some("a clock reading");
        }
        self.rows.push(Row {
            text: self.text.len(),
            // Names and origins are far fewer than these types hold.
            key_len: key.len() as u32,
            field_len: field.map(|field| field.len() as u32),
            hlc,
            site,
            present,
            parts: first_part,
            parts_len: (self.parts.len() - first_part) as u16,
            extra: extra.map_or(0, |_| self.extras.len() as u32),
        });
        self.text.extend_from_slice(key);
        self.text.extend_from_slice(field.unwrap_or_default());
    }

    /// A number among them that whoever reads their records would refuse: never so, unless a program
    /// went wrong. It must not reach a disk.
    pub(in crate::grid) fn out_of_range(&self) -> Option<&'static str> {
        self.out_of_range
    }

    /// How many there are.
    pub(in crate::grid) fn len(&self) -> usize {
        self.rows.len()
    }

    /// An upper bound of the encoded length, heads apart.
    pub(in crate::grid) fn bytes_max(&self) -> usize {
        self.text.len()
            + self.rows.len() * ROW_BYTES_MAX
            + self.parts.len() * PART_BYTES_MAX
            + self.extra_bytes
    }

    /// Bytes of keys and fields.
    pub(in crate::grid) fn text_len(&self) -> usize {
        self.text.len()
    }

    fn extra(&self, row: &Row) -> Option<&Extra> {
        self.extras.get((row.extra as usize).checked_sub(1)?)
    }

    fn key(&self, row: &Row) -> (&[u8], Option<&[u8]>) {
        let (key, field) =
            self.text[row.text..row.text + row.text_len()].split_at(row.key_len as usize);
        (key, row.field_len.map(|_| field))
    }

    /// The rows by key, and which each of them was when it was added. Most keys have a beginning in
    /// common; eight bytes after that decide nearly every comparison without a look at the text.
    fn sorted(&mut self) -> (Vec<Row>, Vec<u32>) {
        let rows = std::mem::take(&mut self.rows);
        let first = rows.first().map_or(&[][..], |row| self.key(row).0);
        let common = rows.iter().fold(first.len(), |common, row| {
            let pairs = self.key(row).0.iter().zip(&first[..common]);
            pairs.take_while(|(a, b)| a == b).count()
        });
        let decisive = |row: &Row| {
            let rest = &self.key(row).0[common..];
            let taken = rest.len().min(8);
            let mut eight = [0; 8];
            eight[..taken].copy_from_slice(&rest[..taken]);
            u64::from_be_bytes(eight)
        };
        let mut order: Vec<(u64, u32)> = rows.iter().map(decisive).zip(0..).collect();
        order.sort_unstable_by(|a, b| {
            let text = |place: u32| self.key(&rows[place as usize]);
            a.0.cmp(&b.0).then_with(|| text(a.1).cmp(&text(b.1)))
        });
        let order: Vec<u32> = order.into_iter().map(|(_, place)| place).collect();
        let sorted = order.iter().map(|place| rows[*place as usize]);
        (sorted.collect(), order)
    }

    /// Encodes everything, in as many records as needed. The last one carries `complete`: whoever
    /// has merged all of them holds everything of these origins up to these epochs.
    pub(in crate::grid) fn encode(
        self,
        origins: &Origins,
        complete: &[(OriginId, Epoch)],
    ) -> Vec<Bytes> {
        let records = self.encode_ordered(origins, complete).into_iter();
        records.map(|(record, _)| record).collect()
    }

    /// The same; with each record, which of the rows that were added its own are.
    pub(in crate::grid) fn encode_ordered(
        mut self,
        origins: &Origins,
        complete: &[(OriginId, Epoch)],
    ) -> Vec<(Bytes, Vec<u32>)> {
        debug_assert_eq!(self.out_of_range, None, "out of what readers take");
        let (rows, mut order) = self.sorted();
        let room = RECORD_BYTES_MAX
            .saturating_sub(HEAD_BYTES_MAX)
            .saturating_sub(origins.len() * ORIGIN_BYTES_MAX);
        let mut records = Vec::new();
        let mut rest = &rows[..];
        loop {
            let taken = self.fitting(rest, room);
            let (now, later) = rest.split_at(taken);
            let last = later.is_empty();
            let later_order = order.split_off(taken);
            let record = self.record(now, origins, if last { complete } else { &[] });
            records.push((record, std::mem::replace(&mut order, later_order)));
            if last {
                return records;
            }
            rest = later;
        }
    }

    /// Likewise, in no record if there are none.
    pub(in crate::grid) fn encode_some(self, origins: &Origins) -> Vec<Bytes> {
        match self.len() {
            0 => Vec::new(),
            _ => self.encode(origins, &[]),
        }
    }

    /// How many of the rows fit into `room` bytes for certain; at least one.
    fn fitting(&self, rows: &[Row], room: usize) -> usize {
        let mut bytes = 0;
        let over = rows.iter().position(|row| {
            let parts = usize::from(row.parts_len) * PART_BYTES_MAX;
            let extra = self.extra(row).map_or(0, extra_bytes_max);
            bytes += row.text_len() + ROW_BYTES_MAX + parts + extra;
            bytes > room
        });
        over.unwrap_or(rows.len()).max(1).min(rows.len())
    }

    fn record(&self, rows: &[Row], origins: &Origins, complete: &[(OriginId, Epoch)]) -> Bytes {
        let mut head = Head::default();
        let complete: Vec<_> = complete
            .iter()
            .map(|(origin, epoch)| (head.origin(*origin, origins), *epoch))
            .collect();
        let mut columns = Columns::default();
        let mut last_key: &[u8] = &[];
        for row in rows {
            let (key, field) = self.key(row);
            columns.names(last_key, key, field);
            last_key = key;
            columns.presence(row, head.site(row.site));
            let extra = self.extra(row);
            let count = u64::from(row.parts_len) << 1 | u64::from(extra.is_some());
            put(&mut columns.counts, count);
            for part in &self.parts[row.parts..row.parts + usize::from(row.parts_len)] {
                columns.part(head.origin(part.origin, origins), part.component);
            }
            if let Some(extra) = extra {
                columns.extra(extra, &mut head, origins);
            }
        }
        let mut out = vec![VERSION, KIND_COUNTERS];
        head.write(&mut out, origins);
        put(&mut out, complete.len() as u64);
        for (origin, epoch) in complete {
            put(&mut out, origin);
            put(&mut out, epoch.0);
        }
        put(&mut out, rows.len() as u64);
        columns.write(&mut out);
        // It may be kept among recent flushes: without room for more.
        out.into_boxed_slice().into()
    }
}

/// The sites and origins that one record names, by their place in its head.
#[derive(Default)]
struct Head {
    sites: Vec<SiteId>,
    origins: Vec<(OriginId, u64)>,
}

impl Head {
    fn site(&mut self, site: SiteId) -> u64 {
        place_of(&mut self.sites, site)
    }

    fn origin(&mut self, origin: OriginId, names: &Origins) -> u64 {
        if let Some(place) = self.origins.iter().position(|(known, _)| *known == origin) {
            return place as u64;
        }
        let site = self.site(names.site_of(origin));
        self.origins.push((origin, site));
        self.origins.len() as u64 - 1
    }

    fn write(&self, out: &mut Vec<u8>, names: &Origins) {
        put(out, self.sites.len() as u64);
        for site in &self.sites {
            put_bytes(out, names.site(*site).as_ref().as_bytes());
        }
        put(out, self.origins.len() as u64);
        for (origin, site) in &self.origins {
            put(out, *site);
            out.extend_from_slice(&names.origin(*origin).incarnation.to_le_bytes());
        }
    }
}

fn extra_out_of_range(extra: &Extra) -> Option<&'static str> {
    let mut halves = extra.cleared.iter().map(|(_, cleared)| cleared.half_epoch);
    if halves.any(|half_epoch| half_epoch / 2 > EPOCH_LAST.0) {
        return Some("a half epoch");
    }
    let deadline = extra.deadline;
    let is_out = deadline.hlc > HLC_MAX || deadline.at_ms > i64::MAX as u64;
    is_out.then_some("a deadline")
}

fn extra_bytes_max(extra: &Extra) -> usize {
    extra.cleared.len() * CLEARED_BYTES_MAX + DEADLINE_BYTES_MAX
}

fn place_of<T: PartialEq>(list: &mut Vec<T>, value: T) -> u64 {
    let place = list.iter().position(|known| *known == value);
    place.unwrap_or_else(|| {
        list.push(value);
        list.len() - 1
    }) as u64
}

#[derive(Default)]
struct Columns {
    shared: Vec<u8>,
    rest: Vec<u8>,
    fields: Vec<u8>,
    text: Vec<u8>,
    presence: Vec<u8>,
    clock: Vec<u8>,
    counts: Vec<u8>,
    origins: Vec<u8>,
    versions: Vec<u8>,
    sums: Vec<u8>,
    extras: Vec<u8>,
    last_hlc: u64,
    last_version: u64,
}

impl Columns {
    fn names(&mut self, last_key: &[u8], key: &[u8], field: Option<&[u8]>) {
        let shared = last_key.iter().zip(key).take_while(|(a, b)| a == b).count();
        put(&mut self.shared, shared as u64);
        put(&mut self.rest, (key.len() - shared) as u64);
        put(
            &mut self.fields,
            field.map_or(0, |field| field.len() as u64 + 1),
        );
        self.text.extend_from_slice(&key[shared..]);
        self.text.extend_from_slice(field.unwrap_or_default());
    }

    fn presence(&mut self, row: &Row, site: u64) {
        put(&mut self.presence, site << 1 | u64::from(row.present));
        put_signed(&mut self.clock, row.hlc.wrapping_sub(self.last_hlc) as i64);
        self.last_hlc = row.hlc;
    }

    fn part(&mut self, origin: u64, component: Component) {
        put(&mut self.origins, origin);
        let step = component.version.wrapping_sub(self.last_version);
        put_signed(&mut self.versions, step as i64);
        self.last_version = component.version;
        put_signed(&mut self.sums, component.sum);
    }

    fn extra(&mut self, extra: &Extra, head: &mut Head, names: &Origins) {
        let out = &mut self.extras;
        put(out, extra.cleared.len() as u64);
        for (origin, cleared) in &extra.cleared {
            put(out, head.origin(*origin, names));
            put(out, cleared.half_epoch);
            put_signed(out, cleared.sum);
        }
        let deadline = extra.deadline;
        put(out, deadline.hlc);
        if deadline.hlc != 0 {
            put(out, deadline.at_ms);
            put(out, head.site(deadline.site));
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        let columns = [
            &self.shared,
            &self.rest,
            &self.fields,
            &self.text,
            &self.presence,
            &self.clock,
            &self.counts,
            &self.origins,
            &self.versions,
            &self.sums,
            &self.extras,
        ];
        for column in columns {
            put_bytes(out, column);
        }
    }
}
