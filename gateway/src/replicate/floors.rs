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
    held: Mutex<Held>,
}

#[derive(Debug)]
struct Held {
    peers: usize,
    logs: HashMap<LogName, HashMap<SiteName, EntryId>>,
}

impl Floors {
    /// For a grid that is replicated to so many peers.
    pub fn new(grid: Arc<Grid>, peers: usize) -> Self {
        let logs = HashMap::new();
        Self {
            grid,
            held: Mutex::new(Held { peers, logs }),
        }
    }

    /// `site` durably holds these logs up to these ids.
    pub(super) fn raise(&self, site: &SiteName, logs: Vec<(LogName, EntryId)>) {
        for (log, id) in logs {
            let floor = self.held.lock().raise(site, &log, id);
            if let Some(floor) = floor {
                self.grid.set_log_floor(&log, floor);
            }
        }
    }

    /// `site` is a peer no longer: nothing is kept for it.
    pub(super) fn forget(&self, site: &SiteName) {
        self.held.lock().forget(site);
    }
}

impl Held {
    /// The id up to which all peers hold `log` now, if all hold some of it.
    fn raise(&mut self, site: &SiteName, log: &LogName, id: EntryId) -> Option<EntryId> {
        let sites = self.logs.entry(log.clone()).or_default();
        sites.insert(site.clone(), id);
        (sites.len() == self.peers)
            .then(|| sites.values().min().copied())
            .flatten()
    }

    fn forget(&mut self, site: &SiteName) {
        self.peers = self.peers.saturating_sub(1);
        for sites in self.logs.values_mut() {
            sites.remove(site);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_peers_count_and_those_that_were_removed_do_not() {
        let [east, west]: [SiteName; 2] = ["east", "west"].map(|site| site.parse().unwrap());
        let log = LogName {
            site: "north".parse().unwrap(),
            name: (*b"clicks").into(),
        };
        let id = |ms| EntryId { ms, seq: 0 };
        let mut held = Held {
            peers: 2,
            logs: HashMap::new(),
        };
        assert_eq!(held.raise(&east, &log, id(5)), None);
        assert_eq!(held.raise(&west, &log, id(3)), Some(id(3)));
        assert_eq!(held.raise(&east, &log, id(7)), Some(id(3)));
        held.forget(&west);
        assert_eq!(held.raise(&east, &log, id(8)), Some(id(8)));
    }
}
