//! What peers have confirmed as durable of what is ours: `WAIT` and durability `remote` count that.

use std::collections::BTreeMap;

use strait_transport::SiteName;
use tokio::sync::watch;

use super::{Epoch, Feed, Grid, Positions};

/// Up to which of our epochs a site holds everything, by [`Feed`].
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Acked([Epoch; 2]);

impl Acked {
    pub(crate) fn epoch(&self, feed: Feed) -> Epoch {
        self.0[feed as usize]
    }

    /// Whether whatever these feeds had up to `epoch` is there.
    pub(crate) fn covers(&self, feeds: &[Feed], epoch: Epoch) -> bool {
        feeds.iter().all(|feed| self.epoch(*feed) >= epoch)
    }
}

impl Grid {
    /// What every site has confirmed, as it moves.
    pub(crate) fn acked(&self) -> watch::Receiver<BTreeMap<SiteName, Acked>> {
        self.acked.subscribe()
    }

    /// `site` has told us that it durably holds all our flushes of `feed` up to `epoch`.
    pub fn set_peer_acked(&self, site: &SiteName, feed: Feed, epoch: Epoch) {
        self.acked.send_if_modified(|acked| {
            let Acked(known) = acked.entry(site.clone()).or_default();
            let known = &mut known[feed as usize];
            let rises = epoch > *known;
            *known = epoch.max(*known);
            rises
        });
    }

    /// A session with `site` begins, which holds `theirs`. What it confirmed in an earlier life and
    /// lacks now, because its disk is another, counts no longer. Of logs nothing counts until it has
    /// been sent what it lacks.
    pub fn set_peer_holds(&self, site: &SiteName, feed: Feed, theirs: &Positions) {
        let held = match feed {
            Feed::Counters => theirs.watermark(&self.origin()),
            Feed::Logs => Epoch::default(),
        };
        self.acked.send_if_modified(|acked| {
            let Some(Acked(known)) = acked.get_mut(site) else {
                return false;
            };
            let known = &mut known[feed as usize];
            let falls = held < *known;
            *known = held.min(*known);
            falls
        });
    }
}
