//! A record of counters as it is read: its head, its rows, and what both refer to.

use strait_transport::SiteName;

use super::super::counter::{Cleared, Component, OriginId};
use super::super::merge::Numbers;
use super::super::origins::{ORIGINS_MAX, SITES_MAX};
use super::super::runs::EPOCH_LAST;
use super::super::varint::{Malformed, Reader, put, put_bytes};
use super::super::{Epoch, Origin};
use super::{CounterRows, Part};

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
    pub(super) text: Vec<u8>,
    pub(super) parts: Vec<(usize, Component)>,
    pub(super) more: Vec<MoreUpdate>,
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
    pub(super) text: usize,
    pub(super) key_len: usize,
    pub(super) field_len: Option<usize>,
    /// Reading of the hybrid clock at which presence was set; 0: nothing is said about it.
    pub(in crate::grid) hlc: u64,
    /// Place of the site that set it.
    pub(in crate::grid) site: usize,
    /// Whether clients see the counter.
    pub(in crate::grid) present: bool,
    pub(super) parts: usize,
    pub(super) parts_len: usize,
    pub(super) more: Option<usize>,
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
        let complete = self.add_rows(numbers, &mut rows);
        (rows, complete)
    }

    /// Adds its rows to others; what it says of completeness.
    pub(in crate::grid) fn add_rows(
        &self,
        numbers: &Numbers,
        rows: &mut CounterRows,
    ) -> Vec<(OriginId, Epoch)> {
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
        complete.collect()
    }

    /// Components of one of the rows, each with its origin's place.
    pub(in crate::grid) fn parts(&self, row: &CounterUpdate) -> &[(usize, Component)] {
        &self.parts[row.parts..row.parts + row.parts_len]
    }

    /// Leaves out what it says of an origin, by its place, up to an epoch for which `keeps` says no.
    pub(in crate::grid) fn retain_claims(&mut self, keeps: impl Fn(usize, u64) -> bool) {
        self.complete
            .retain(|(place, epoch)| keeps(*place, epoch.0));
        let parts = std::mem::take(&mut self.parts);
        for row in &mut self.rows {
            let kept = parts[row.parts..row.parts + row.parts_len].iter();
            let kept = kept.filter(|(place, component)| keeps(*place, component.version));
            row.parts = self.parts.len();
            self.parts.extend(kept);
            row.parts_len = self.parts.len() - row.parts;
        }
        for more in &mut self.more {
            let keeps = |(place, cleared): &(usize, Cleared)| keeps(*place, cleared.epoch());
            more.cleared.retain(keeps);
        }
    }

    /// Everything that it claims of origins, by their places: up to which epoch each was written.
    pub(in crate::grid) fn claims(&self) -> impl Iterator<Item = (usize, u64)> {
        let complete = self.complete.iter().map(|(place, epoch)| (*place, epoch.0));
        let parts = self.parts.iter();
        let parts = parts.map(|(place, component)| (*place, component.version));
        let cleared = self.more.iter().flat_map(|more| &more.cleared);
        let cleared = cleared.map(|(place, cleared)| (*place, cleared.epoch()));
        complete.chain(parts).chain(cleared)
    }

    /// The latest reading of a hybrid clock in it.
    pub(in crate::grid) fn latest_clock(&self) -> u64 {
        let rows = self.rows.iter().map(|row| row.hlc);
        let deadlines = self.more.iter().map(|more| more.deadline_hlc);
        rows.chain(deadlines).max().unwrap_or(0)
    }

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
pub(in crate::grid) fn site_name(bytes: &[u8]) -> Result<SiteName, Malformed> {
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
    if value > EPOCH_LAST.0 {
        return Err(Malformed("a version out of range"));
    }
    Ok(value)
}
