//! What came from one peer and others may lack: passed on as it came.
//!
//! Only a record that was news here goes on, so whatever the sites are joined like, each passes
//! a record on once and none goes round in circles.

use std::collections::BTreeSet;

use bytes::Bytes;
use strait_transport::SiteName;

use super::Grid;
use super::record::{Kind, decode_counters, kind_of};

/// A record of a peer that changed something here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relayed {
    /// The peer that sent it.
    pub from: SiteName,
    /// The sites that first wrote what is in it.
    pub sites: BTreeSet<SiteName>,
    pub record: Bytes,
}

impl Relayed {
    /// Whether it is of a log; otherwise it is of counters.
    pub fn is_log(&self) -> bool {
        matches!(kind_of(&self.record), Ok((Kind::Log, _)))
    }
}

impl Grid {
    /// What of `relayed` goes to the peer `to`, which has links of its own to the sites in
    /// `linked`: nothing of what it hears from them.
    ///
    /// A record that is passed on promises completeness (`complete`) only for sites of which
    /// everything is passed on. The others' promise comes over the peer's own link to them.
    pub fn relay(
        &self,
        relayed: &Relayed,
        to: &SiteName,
        linked: &BTreeSet<SiteName>,
    ) -> Vec<Bytes> {
        let direct = |site: &SiteName| site == to || linked.contains(site);
        if relayed.from == *to || relayed.sites.iter().all(direct) {
            return Vec::new();
        }
        if !relayed.sites.iter().any(direct) {
            return vec![relayed.record.clone()];
        }
        // Such a record comes from somebody's scan: it holds several origins.
        let Ok((Kind::Counters, body)) = kind_of(&relayed.record) else {
            return vec![relayed.record.clone()];
        };
        let Ok(mut updates) = decode_counters(body) else {
            return Vec::new();
        };
        let origins = std::mem::take(&mut updates.origins);
        updates
            .complete
            .retain(|(origin, _)| !direct(&origins[*origin].site));
        updates.origins = origins;
        let mut state = self.state.lock();
        let Ok(numbers) = state.intern(&updates) else {
            return Vec::new();
        };
        let (rows, complete) = updates.into_rows(&numbers);
        rows.encode(&state.origins, &complete)
    }
}
