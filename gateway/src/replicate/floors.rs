//! What every peer holds of our logs: only that may be forgotten when it is trimmed.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use strait_transport::SiteName;

use crate::grid::{EntryId, Grid, LogName};

/// What each peer holds of each of our logs.
#[derive(Debug)]
pub struct Floors {
    grid: Arc<Grid>,
    peers: usize,
    held: Mutex<HashMap<LogName, HashMap<SiteName, EntryId>>>,
}

impl Floors {
    /// For a grid that is replicated to so many peers.
    pub fn new(grid: Arc<Grid>, peers: usize) -> Self {
        Self {
            grid,
            peers,
            held: Mutex::default(),
        }
    }

    /// `site` durably holds these logs up to these ids.
    pub(super) fn raise(&self, site: &SiteName, logs: Vec<(LogName, EntryId)>) {
        for (log, id) in logs {
            if let Some(floor) = self.raise_one(site, &log, id) {
                self.grid.set_log_floor(&log, floor);
            }
        }
    }

    /// The id up to which all peers hold `log` now, if all hold some of it.
    fn raise_one(&self, site: &SiteName, log: &LogName, id: EntryId) -> Option<EntryId> {
        let mut held = self.held.lock();
        let sites = held.entry(log.clone()).or_default();
        sites.insert(site.clone(), id);
        (sites.len() == self.peers)
            .then(|| sites.values().min().copied())
            .flatten()
    }
}
