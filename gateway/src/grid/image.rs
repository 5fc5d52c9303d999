//! A grid that is only looked at: from its journal or from a snapshot, with no gateway.

use std::io;
use std::path::Path;

use strait_transport::SiteName;

use super::clock::now_ms;
use super::cold::{ColdError, ReadCache};
use super::counter::{SiteId, flag};
use super::keyspace::CounterRef;
use super::merge::Source;
use super::record::{decode_counters, kind_of};
use super::snapshot::{SnapshotError, SnapshotReader};
use super::state::{Kind, State, shown_name};
use super::{EntryId, GridOpenError, Origin, Recovery, recovery};

/// What clients would see, at rest.
#[derive(Debug)]
pub struct Image {
    state: State,
}

impl Image {
    /// What the journal in `dir` holds, of a gateway that may be running: up to its last flush.
    /// Changes nothing there.
    pub fn of_journal(dir: &Path, site: &SiteName) -> Result<(Self, Recovery), GridOpenError> {
        let mut image = Self::empty(site);
        let recovery = recovery::look(dir, &mut image.state)?;
        image.state.now_ms = now_ms();
        Ok((image, recovery))
    }

    /// The counters that the snapshot at `path` holds.
    pub fn of_snapshot(path: &Path, site: &SiteName) -> Result<Self, SnapshotError> {
        let mut image = Self::empty(site);
        let state = &mut image.state;
        let mut reader = SnapshotReader::open(path)?;
        state.now_ms = reader.head().time_ms;
        while let Some(record) = reader.next()? {
            let unreadable = || reader.damaged("a record cannot be read");
            let (_, body) = kind_of(&record).map_err(|_| unreadable())?;
            let updates = decode_counters(body).map_err(|_| unreadable())?;
            let numbers = state.intern(&updates).map_err(|_| unreadable())?;
            let merged = state.merge_rows(&updates, &updates.rows, &[], (&numbers, Source::Told));
            merged.map_err(|_| unreadable())?;
        }
        Ok(image)
    }

    fn empty(site: &SiteName) -> Self {
        // Nobody's incarnation: whatever is merged is somebody else's, and sums up all the same.
        let own = Origin {
            site: site.clone(),
            incarnation: 0,
        };
        Self {
            state: State::new(own, usize::MAX, false),
        }
    }

    /// Every counter that clients see: key, field of a hash, value.
    pub fn counters(
        &self,
        mut found: impl FnMut(&[u8], Option<&[u8]>, i64) -> io::Result<()>,
    ) -> io::Result<()> {
        let keys = &self.state.keys;
        let mut at = keys.following(None);
        while let Some(place) = at {
            if keys.counter(place).has(flag::PRESENT) && !self.is_hidden(place) {
                let (key, field) = keys.key_of(place);
                found(key, field, keys.sum(place))?;
            }
            at = keys.following(Some(place));
        }
        Ok(())
    }

    /// The value of one, if clients see it.
    pub fn counter(&self, key: &[u8], field: Option<&[u8]>) -> Option<i64> {
        let keys = &self.state.keys;
        let name = keys.find(key)?;
        let place = match field {
            None => CounterRef::key(name),
            Some(field) => CounterRef::field(name, keys.find_field(name, field)?),
        };
        let seen = keys.counter(place).has(flag::PRESENT) && !self.is_hidden(place);
        seen.then(|| keys.sum(place))
    }

    /// Every key that expires, soonest first, and when, in milliseconds since 1970.
    pub fn deadlines(&self, mut found: impl FnMut(&[u8], u64) -> io::Result<()>) -> io::Result<()> {
        for (at_ms, place) in &self.state.deadlines {
            if self.state.kind_at(*place).is_some() {
                found(self.state.keys.key_of(CounterRef::key(*place)).0, *at_ms)?;
            }
        }
        Ok(())
    }

    /// A hash behind a counter of the same name; a key whose deadline has passed.
    fn is_hidden(&self, at: CounterRef) -> bool {
        let kind = if at.is_field() {
            Kind::Hash
        } else {
            Kind::Counter
        };
        self.state.kind_at(at.name) != Some(kind)
    }

    /// Logs that are there with no entry left, by the names that clients know them by here, and the id
    /// of the last entry each had, where that is from `until_ms` at the latest.
    pub fn emptied_logs(&self, until_ms: u64) -> impl Iterator<Item = (Vec<u8>, EntryId)> {
        let own = self.state.origins.site(SiteId::OWN);
        let logs = self.state.logs.iter();
        logs.filter(|log| log.exists() && log.len() == 0 && !log.is_uncounted())
            .map(|log| {
                (
                    shown_name(&log.name, log.name.site == *own),
                    log.position().last,
                )
            })
            .filter(move |(_, last)| last.ms <= until_ms)
    }

    /// Every entry of every log up to `until_ms`, log by log: the name that clients know the log
    /// by here, its id, and fields and values for [`values_of`](super::values_of). What is lost is left
    /// out: of which log, and what.
    pub fn entries(
        &self,
        until_ms: u64,
        mut found: impl FnMut(&[u8], EntryId, &[u8]) -> io::Result<()>,
    ) -> io::Result<Vec<(Vec<u8>, String)>> {
        let mut left_out = Vec::new();
        let (own, cache) = (self.state.origins.site(SiteId::OWN), ReadCache::default());
        let until = EntryId {
            ms: until_ms,
            seq: u64::MAX,
        };
        for log in self.state.logs.iter().filter(|log| log.exists()) {
            let name = shown_name(&log.name, log.name.site == *own);
            for entry in log.range(EntryId::MIN, until) {
                match entry {
                    Ok((id, payload)) => found(&name, id, payload)?,
                    Err(absent) => {
                        let loaded = match cache.load(&absent) {
                            Ok(loaded) => loaded,
                            Err(error @ ColdError::Io { .. }) => {
                                return Err(io::Error::other(error));
                            }
                            Err(error) => {
                                left_out.push((name.clone(), error.to_string()));
                                continue;
                            }
                        };
                        let seen = |(id, _): &(EntryId, &[u8])| {
                            *id <= until && *id > log.position().trimmed_to
                        };
                        for (id, payload) in loaded.entries().into_iter().filter(seen) {
                            found(&name, id, payload)?;
                        }
                    }
                }
            }
        }
        Ok(left_out)
    }
}
