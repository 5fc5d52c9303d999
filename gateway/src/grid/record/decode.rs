//! Records of counters, read. They come from peers and from disk: nothing in them is believed.

use super::super::RECORD_BYTES_MAX;
use super::super::arena::NAME_BYTES_MAX;
use super::super::clock::HLC_MAX;
use super::super::counter::{Cleared, Component};
use super::super::origins::ORIGINS_MAX;
use super::super::varint::{Malformed, Reader};
use super::updates::{CounterUpdate, CounterUpdates, MoreUpdate, place, version};

/// Components that one counter may have in a record.
pub(in crate::grid) const PARTS_MAX: usize = ORIGINS_MAX;

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

    use super::super::super::counter::{Deadline, Extra, OriginId, SiteId};
    use super::super::super::origins::Origins;
    use super::super::super::{Epoch, Origin};
    use super::super::{CounterRows, Kind, Part, kind_of};
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
