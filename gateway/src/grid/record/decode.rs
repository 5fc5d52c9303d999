//! Records of counters, read. They come from peers and from disk: nothing in them is believed.

use strait_transport::SiteName;

use super::super::arena::NAME_BYTES_MAX;
use super::super::clock::HLC_MAX;
use super::super::counter::{Cleared, Component, OriginId};
use super::super::merge::Numbers;
use super::super::origins::{ORIGINS_MAX, SITES_MAX};
use super::super::varint::{Malformed, Reader, put, put_bytes};
use super::super::{Epoch, Origin, RECORD_BYTES_MAX};
use super::{CounterRows, Part};

/// Components that one counter may have in a record.
pub(in crate::grid) const PARTS_MAX: usize = ORIGINS_MAX;

/// A decoded record of counters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::grid) struct CounterUpdates {
    /// Sites that presence refers to.
    pub(in crate::grid) sites: Vec<SiteName>,
    /// Origins that components refer to.
    pub(in crate::grid) origins: Vec<Origin>,
    /// Whoever has merged this holds all of the origin (by its place above) up to the epoch.
    pub(in crate::grid) complete: Vec<(usize, Epoch)>,
    /// The counters.
    pub(in crate::grid) rows: Vec<CounterUpdate>,
    text: Vec<u8>,
    parts: Vec<(usize, Component)>,
    more: Vec<MoreUpdate>,
}

/// What a row says besides presence and components.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::grid) struct MoreUpdate {
    /// Each with the place of the component's origin.
    pub(in crate::grid) cleared: Vec<(usize, Cleared)>,
    /// Reading of the hybrid clock at which the deadline was set; 0: nothing is said about it.
    pub(in crate::grid) deadline_hlc: u64,
    pub(in crate::grid) deadline_ms: u64,
    /// Place of the site that set it.
    pub(in crate::grid) deadline_site: usize,
}

/// One counter of a record; its key and components lie in [`CounterUpdates`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::grid) struct CounterUpdate {
    text: usize,
    key_len: usize,
    field_len: Option<usize>,
    /// Reading of the hybrid clock at which presence was set; 0: nothing is said about it.
    pub(in crate::grid) hlc: u64,
    /// Place of the site that set it.
    pub(in crate::grid) site: usize,
    /// Whether clients see the counter.
    pub(in crate::grid) present: bool,
    parts: usize,
    parts_len: usize,
    more: Option<usize>,
}

impl CounterUpdates {
    /// Key and field of one of the rows.
    pub(in crate::grid) fn key(&self, row: &CounterUpdate) -> (&[u8], Option<&[u8]>) {
        let field_at = row.text + row.key_len;
        let field = row
            .field_len
            .map(|len| &self.text[field_at..field_at + len]);
        (&self.text[row.text..field_at], field)
    }

    /// What one of the rows says besides, if anything.
    pub(in crate::grid) fn more(&self, row: &CounterUpdate) -> Option<&MoreUpdate> {
        self.more.get(row.more?)
    }

    /// The same, to be encoded again; `numbers` are what its names are here.
    pub(in crate::grid) fn into_rows(
        self,
        numbers: &Numbers,
    ) -> (CounterRows, Vec<(OriginId, Epoch)>) {
        let mut rows = CounterRows::default();
        for row in &self.rows {
            let parts = self.parts(row).iter().map(|(origin, component)| Part {
                origin: numbers.origin(*origin),
                component: *component,
            });
            let presence = (row.hlc, numbers.site(row.site), row.present);
            let extra = self.more(row).map(|more| numbers.extra(more));
            rows.push(self.key(row), presence, parts, extra.as_ref());
        }
        let complete = self.complete.iter();
        let complete = complete.map(|(origin, epoch)| (numbers.origin(*origin), *epoch));
        (rows, complete.collect())
    }

    /// Components of one of the rows, each with its origin's place.
    pub(in crate::grid) fn parts(&self, row: &CounterUpdate) -> &[(usize, Component)] {
        &self.parts[row.parts..row.parts + row.parts_len]
    }
}

/// Decodes a record of counters; `body` is what follows its head.
pub(in crate::grid) fn decode_counters(body: &[u8]) -> Result<CounterUpdates, Malformed> {
    let mut reader = Reader::new(body);
    let mut updates = CounterUpdates::read_head(&mut reader)?;
    // Each row takes a byte or more of each column.
    let rows = reader.bounded(reader.remaining())?;
    let mut columns = Columns::read(&mut reader)?;
    if !reader.is_empty() {
        return Err(Malformed("bytes after the last column"));
    }
    updates.rows.reserve(rows.min(columns.shared.remaining()));
    for _ in 0..rows {
        columns.row(&mut updates)?;
    }
    if columns.is_empty() {
        Ok(updates)
    } else {
        Err(Malformed("columns longer than their rows"))
    }
}

impl CounterUpdates {
    /// Reads what comes before the rows: sites, origins, completeness.
    pub(in crate::grid) fn read_head(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let mut updates = Self::default();
        read_names(reader, &mut updates)?;
        let complete = reader.bounded(updates.origins.len())?;
        for _ in 0..complete {
            let origin = place(reader.varint()?, updates.origins.len())?;
            let epoch = Epoch(version(reader.varint()?)?);
            updates.complete.push((origin, epoch));
        }
        Ok(updates)
    }

    /// Writes the same.
    pub(in crate::grid) fn put_head(&self, out: &mut Vec<u8>) {
        put(out, self.sites.len() as u64);
        for site in &self.sites {
            put_bytes(out, site.as_ref().as_bytes());
        }
        put(out, self.origins.len() as u64);
        for origin in &self.origins {
            // It was read from this list.
            let site = self.sites.iter().position(|site| *site == origin.site);
            put(out, site.unwrap_or(0) as u64);
            out.extend_from_slice(&origin.incarnation.to_le_bytes());
        }
        put(out, self.complete.len() as u64);
        for (origin, epoch) in &self.complete {
            put(out, *origin as u64);
            put(out, epoch.0);
        }
    }
}

fn read_names(reader: &mut Reader<'_>, updates: &mut CounterUpdates) -> Result<(), Malformed> {
    for _ in 0..reader.bounded(SITES_MAX)? {
        updates.sites.push(site_name(reader.bytes()?)?);
    }
    for _ in 0..reader.bounded(ORIGINS_MAX)? {
        let site = place(reader.varint()?, updates.sites.len())?;
        updates.origins.push(Origin {
            site: updates.sites[site].clone(),
            incarnation: reader.u64_le()?,
        });
    }
    Ok(())
}

/// A site's name.
pub(super) fn site_name(bytes: &[u8]) -> Result<SiteName, Malformed> {
    std::str::from_utf8(bytes)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or(Malformed("not a site's name"))
}

/// A place in a list of `len`.
pub(in crate::grid) fn place(place: u64, len: usize) -> Result<usize, Malformed> {
    let place = usize::try_from(place).ok().filter(|place| *place < len);
    place.ok_or(Malformed("a name that is not in the list"))
}

/// Epochs stay far from where counting on would overflow.
pub(in crate::grid) fn version(value: u64) -> Result<u64, Malformed> {
    if value >= 1 << 62 {
        return Err(Malformed("a version out of range"));
    }
    Ok(value)
}

/// A time at which a key expires, as Redis bounds it.
pub(in crate::grid) fn deadline(at_ms: u64) -> Result<u64, Malformed> {
    if at_ms > i64::MAX as u64 {
        return Err(Malformed("a deadline out of range"));
    }
    Ok(at_ms)
}

/// Likewise for halves of them.
pub(in crate::grid) fn half_epoch(value: u64) -> Result<u64, Malformed> {
    version(value / 2)?;
    Ok(value)
}

struct Columns<'a> {
    shared: Reader<'a>,
    rest: Reader<'a>,
    fields: Reader<'a>,
    text: Reader<'a>,
    presence: Reader<'a>,
    clock: Reader<'a>,
    counts: Reader<'a>,
    origins: Reader<'a>,
    versions: Reader<'a>,
    sums: Reader<'a>,
    extras: Reader<'a>,
    last_hlc: u64,
    last_version: u64,
    /// Where the key before lies.
    last_key: (usize, usize),
}

impl<'a> Columns<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        let mut next = || reader.bytes().map(Reader::new);
        Ok(Self {
            shared: next()?,
            rest: next()?,
            fields: next()?,
            text: next()?,
            presence: next()?,
            clock: next()?,
            counts: next()?,
            origins: next()?,
            versions: next()?,
            sums: next()?,
            extras: next()?,
            last_hlc: 0,
            last_version: 0,
            last_key: (0, 0),
        })
    }

    fn is_empty(&self) -> bool {
        [
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
        ]
        .iter()
        .all(|column| column.is_empty())
    }

    fn row(&mut self, updates: &mut CounterUpdates) -> Result<(), Malformed> {
        let (text, key_len, field_len) = self.names(&mut updates.text)?;
        let presence = usize::try_from(self.presence.varint()?).unwrap_or(usize::MAX);
        let (site, present) = (presence >> 1, presence & 1 == 1);
        if site >= updates.sites.len() {
            return Err(Malformed("a site that is not in the list"));
        }
        self.last_hlc = self.last_hlc.wrapping_add(self.clock.signed()? as u64);
        if self.last_hlc > HLC_MAX {
            return Err(Malformed("a clock reading out of range"));
        }
        let count = self.counts.bounded(2 * PARTS_MAX + 1)?;
        let (parts, parts_len) = (updates.parts.len(), count >> 1);
        for _ in 0..parts_len {
            let part = self.part(updates.origins.len())?;
            updates.parts.push(part);
        }
        let has_more = count & 1 == 1;
        if has_more {
            let more = self.more((updates.origins.len(), updates.sites.len()))?;
            updates.more.push(more);
        }
        updates.rows.push(CounterUpdate {
            text,
            key_len,
            field_len,
            hlc: self.last_hlc,
            site,
            present,
            parts,
            parts_len,
            more: has_more.then(|| updates.more.len() - 1),
        });
        Ok(())
    }

    fn more(&mut self, (origins, sites): (usize, usize)) -> Result<MoreUpdate, Malformed> {
        let column = &mut self.extras;
        let mut more = MoreUpdate::default();
        for _ in 0..column.bounded(PARTS_MAX)? {
            let origin = place(column.varint()?, origins)?;
            let cleared = Cleared {
                half_epoch: half_epoch(column.varint()?)?,
                sum: column.signed()?,
            };
            more.cleared.push((origin, cleared));
        }
        more.deadline_hlc = column.varint()?;
        if more.deadline_hlc > HLC_MAX {
            return Err(Malformed("a clock reading out of range"));
        }
        if more.deadline_hlc != 0 {
            more.deadline_ms = deadline(column.varint()?)?;
            more.deadline_site = place(column.varint()?, sites)?;
        }
        Ok(more)
    }

    /// Appends key and field to `text`; where they lie.
    fn names(&mut self, text: &mut Vec<u8>) -> Result<(usize, usize, Option<usize>), Malformed> {
        let (last, last_len) = self.last_key;
        let shared = self.shared.bounded(last_len)?;
        let rest = self.text.take(self.rest.bounded(NAME_BYTES_MAX)?)?;
        let field_len = self.fields.bounded(NAME_BYTES_MAX + 1)?.checked_sub(1);
        let field = self.text.take(field_len.unwrap_or(0))?;
        let (start, key_len) = (text.len(), shared + rest.len());
        // Shared prefixes unpack to far more than they take; an encoder counts them in full.
        if key_len > NAME_BYTES_MAX || start + key_len + field.len() > RECORD_BYTES_MAX {
            return Err(Malformed("names too long"));
        }
        text.extend_from_within(last..last + shared);
        text.extend_from_slice(rest);
        text.extend_from_slice(field);
        self.last_key = (start, key_len);
        Ok((start, key_len, field_len))
    }

    fn part(&mut self, origins: usize) -> Result<(usize, Component), Malformed> {
        let origin = place(self.origins.varint()?, origins)?;
        let step = self.versions.signed()? as u64;
        self.last_version = version(self.last_version.wrapping_add(step))?;
        let component = Component {
            version: self.last_version,
            sum: self.sums.signed()?,
        };
        Ok((origin, component))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::super::counter::{Deadline, Extra, SiteId};
    use super::super::super::origins::Origins;
    use super::super::{Kind, kind_of};
    use super::*;

    type Sample = (
        Vec<u8>,
        Option<Vec<u8>>,
        u64,
        bool,
        Vec<(u16, u64, i64)>,
        Option<(u64, i64, u64, u64)>,
    );

    fn samples() -> impl Strategy<Value = Vec<Sample>> {
        let name = || proptest::collection::vec(97..100_u8, 0..6);
        let part = (0..3_u16, 0..1_u64 << 62, any::<i64>());
        let parts = proptest::collection::vec(part, 0..4);
        let cleared = (0..1_u64 << 63, any::<i64>());
        let extra = (cleared, 1..=HLC_MAX, 0..1_u64 << 63);
        let extra = extra.prop_map(|((half, sum), hlc, at)| (half, sum, hlc, at));
        let row = (
            name(),
            proptest::option::of(name()),
            0..=HLC_MAX,
            any::<bool>(),
            parts,
            proptest::option::of(extra),
        );
        proptest::collection::vec(row, 0..40)
    }

    fn origins() -> Origins {
        let origin = |site: &str, incarnation| Origin {
            site: site.parse().unwrap(),
            incarnation,
        };
        let mut origins = Origins::new(origin("east", 1));
        origins.intern(&origin("west", 2)).unwrap();
        origins.intern(&origin("west", u64::MAX)).unwrap();
        origins
    }

    fn encode(samples: &[Sample], complete: &[(OriginId, Epoch)]) -> Vec<bytes::Bytes> {
        let mut rows = CounterRows::default();
        for (key, field, hlc, present, parts, extra) in samples {
            let parts = parts.iter().map(|&(origin, version, sum)| Part {
                origin: OriginId(origin),
                component: Component { version, sum },
            });
            let extra = extra.map(|(half_epoch, sum, hlc, at_ms)| Extra {
                cleared: vec![(OriginId(1), Cleared { half_epoch, sum })],
                deadline: Deadline {
                    at_ms,
                    hlc,
                    site: SiteId(1),
                },
                ..Extra::default()
            });
            let presence = (*hlc, SiteId(1), *present);
            rows.push((key, field.as_deref()), presence, parts, extra.as_ref());
        }
        rows.encode(&origins(), complete)
    }

    proptest! {
        #[test]
        fn decoding_gives_back_what_was_encoded(mut samples in samples(), epoch in 0..1_u64 << 62) {
            let complete = [(OriginId(2), Epoch(epoch))];
            let records = encode(&samples, &complete);
            prop_assert_eq!(records.len(), 1);
            let (kind, body) = kind_of(&records[0]).unwrap();
            prop_assert_eq!(kind, Kind::Counters);
            let updates = decode_counters(body).unwrap();
            let names = origins();
            let id = |place: usize| (0..3).find(|id| *names.origin(OriginId(*id)) == updates.origins[place]).unwrap();
            prop_assert_eq!(id(updates.complete[0].0), 2);
            prop_assert_eq!(updates.complete[0].1, Epoch(epoch));
            let mut decoded: Vec<Sample> = updates.rows.iter().map(|row| {
                let (key, field) = updates.key(row);
                let parts = updates.parts(row).iter();
                let parts = parts.map(|(place, c)| (id(*place), c.version, c.sum)).collect();
                let extra = updates.more(row).map(|more| {
                    let (origin, cleared) = more.cleared[0];
                    assert_eq!(id(origin), 1);
                    (cleared.half_epoch, cleared.sum, more.deadline_hlc, more.deadline_ms)
                });
                (key.to_vec(), field.map(<[u8]>::to_vec), row.hlc, row.present, parts, extra)
            }).collect();
            samples.sort();
            decoded.sort();
            prop_assert_eq!(decoded, samples);
        }

        #[test]
        fn damaged_records_are_survived(samples in samples(), flips: Vec<(usize, u8)>, cut: usize) {
            let mut bytes = encode(&samples, &[])[0].to_vec();
            for (place, flip) in flips {
                let place = place % bytes.len();
                bytes[place] ^= flip;
            }
            bytes.truncate(cut % (bytes.len() + 1));
            if let Ok((Kind::Counters, body)) = kind_of(&bytes) {
                let read = decode_counters(body);
                prop_assert!(read.map_or(true, |updates| updates.rows.len() <= bytes.len()));
            }
        }

        #[test]
        fn any_bytes_are_survived(bytes: Vec<u8>) {
            prop_assert!(decode_counters(&bytes).map_or(true, |u| u.rows.len() <= bytes.len()));
        }
    }

    #[test]
    fn many_counters_take_several_records_of_bounded_length() {
        let samples: Vec<Sample> = (0..60_000)
            .map(|i| {
                (
                    format!("banner:{i:07}:impressions").into_bytes(),
                    None,
                    5,
                    true,
                    vec![(0, 1, i)],
                    None,
                )
            })
            .collect();
        let records = encode(&samples, &[(OriginId(0), Epoch(1))]);
        assert!(records.len() > 1);
        let mut rows = 0;
        for (place, record) in records.iter().enumerate() {
            assert!(record.len() <= RECORD_BYTES_MAX);
            let updates = decode_counters(&record[2..]).unwrap();
            rows += updates.rows.len();
            assert_eq!(
                updates.complete.len(),
                usize::from(place + 1 == records.len())
            );
        }
        assert_eq!(rows, samples.len());
    }
}
