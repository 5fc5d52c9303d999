//! Which sites we have links to that are up: peers need not pass on to us what those write.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use strait_transport::SiteName;
use tokio::sync::watch;

/// A link that is down for less than this is not missed: others would send what it will.
const GRACE: Duration = Duration::from_secs(3);

/// The sites to which links are up, or were a moment ago.
#[derive(Debug)]
pub struct Neighbours {
    /// False: we pass nothing on.
    relay: bool,
    /// How often each came up.
    ups: Mutex<BTreeMap<SiteName, u64>>,
    known: watch::Sender<BTreeSet<SiteName>>,
}

impl Neighbours {
    /// Without `relay` this site passes nothing on for others.
    pub fn new(relay: bool) -> Self {
        Self {
            relay,
            ups: Mutex::default(),
            known: watch::Sender::default(),
        }
    }

    /// Whether this site passes on to one peer what another wrote.
    pub(super) fn relays(&self) -> bool {
        self.relay
    }

    /// The sites, as they come and go.
    pub(super) fn subscribe(&self) -> watch::Receiver<BTreeSet<SiteName>> {
        self.known.subscribe()
    }

    pub(super) fn handle_up(&self, site: &SiteName) {
        *self.ups.lock().entry(site.clone()).or_default() += 1;
        self.known
            .send_if_modified(|known| known.insert(site.clone()));
    }

    /// Forgets `site` unless it comes back soon.
    pub(super) fn handle_down(self: &Arc<Self>, site: &SiteName) {
        let seen = self.ups_of(site);
        let (neighbours, site) = (self.clone(), site.clone());
        tokio::spawn(async move {
            tokio::time::sleep(GRACE).await;
            neighbours.forget(&site, seen);
        });
    }

    /// How often `site` has come up so far.
    fn ups_of(&self, site: &SiteName) -> u64 {
        self.ups.lock().get(site).copied().unwrap_or_default()
    }

    /// Forgets `site` unless it has come up again since `seen`.
    fn forget(&self, site: &SiteName, seen: u64) {
        if self.ups_of(site) == seen {
            self.known.send_if_modified(|known| known.remove(site));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_break_is_not_told() {
        let neighbours = Neighbours::new(true);
        let (east, mut known) = ("east".parse().unwrap(), neighbours.subscribe());
        neighbours.handle_up(&east);
        assert!(known.borrow_and_update().contains(&east));
        let at_break = neighbours.ups_of(&east);
        neighbours.handle_up(&east);
        neighbours.forget(&east, at_break);
        assert!(!known.has_changed().unwrap());
        neighbours.forget(&east, neighbours.ups_of(&east));
        assert!(known.borrow_and_update().is_empty());
    }
}
