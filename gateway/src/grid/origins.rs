//! Sites and origins by small numbers, so that counters can name them in a byte or two.

use std::collections::{BTreeMap, BTreeSet};

use hashbrown::HashMap;
use strait_transport::SiteName;

use super::Origin;
use super::counter::{OriginId, SiteId};

/// More sites than this are refused.
pub(super) const SITES_MAX: usize = 128;
/// More origins than this are refused: each rebuilt site adds one.
pub(super) const ORIGINS_MAX: usize = 4096;
/// Where half of the places are taken, a site gets no more than so many by what others tell of it, …
const TOLD_MAX: usize = 4;
/// … and so many more, until the next start, by what it tells itself.
const TELLS_MAX: usize = 8;
const _: () = assert!(ORIGINS_MAX / 2 + SITES_MAX * (TOLD_MAX + TELLS_MAX) <= ORIGINS_MAX);

/// Every site and origin that was ever named here. Number 0 is ourselves.
#[derive(Clone, Debug)]
pub(super) struct Origins {
    sites: Vec<SiteName>,
    origins: Vec<Origin>,
    origin_ids: HashMap<Origin, OriginId>,
    /// Sites with a link to this one: a place for each is kept.
    linked: BTreeSet<SiteName>,
    /// Origins that a site told of itself when half of the places were taken.
    told_itself: BTreeMap<SiteName, usize>,
}

impl Origins {
    pub(super) fn new(own: Origin) -> Self {
        Self {
            sites: vec![own.site.clone()],
            origin_ids: HashMap::from([(own.clone(), OriginId::OWN)]),
            origins: vec![own],
            linked: BTreeSet::new(),
            told_itself: BTreeMap::new(),
        }
    }

    /// Keeps a place for each of these sites, from which a link is expected.
    pub(super) fn expect(&mut self, linked: BTreeSet<SiteName>) {
        self.linked = linked;
    }

    /// How many origins there are.
    pub(super) fn len(&self) -> usize {
        self.origins.len()
    }

    pub(super) fn site(&self, id: SiteId) -> &SiteName {
        &self.sites[usize::from(id.0)]
    }

    pub(super) fn origin(&self, id: OriginId) -> &Origin {
        &self.origins[usize::from(id.0)]
    }

    /// The number of `origin`, if it was ever named.
    pub(super) fn find(&self, origin: &Origin) -> Option<OriginId> {
        self.origin_ids.get(origin).copied()
    }

    /// Where `origin` is.
    pub(super) fn site_of(&self, origin: OriginId) -> SiteId {
        let site = &self.origin(origin).site;
        self.find_site(site.as_ref().as_bytes())
            .unwrap_or(SiteId::OWN)
    }

    /// The number of `site`, if it was ever named.
    pub(super) fn find_site(&self, site: &[u8]) -> Option<SiteId> {
        let place = self
            .sites
            .iter()
            .position(|known| known.as_ref().as_bytes() == site)?;
        u8::try_from(place).ok().map(SiteId)
    }

    /// The number of `site`, new if need be; none when there are too many.
    pub(super) fn intern_site(&mut self, site: &SiteName) -> Option<SiteId> {
        if let Some(id) = self.find_site(site.as_ref().as_bytes()) {
            return Some(id);
        }
        if self.sites.len() >= SITES_MAX {
            return None;
        }
        self.sites.push(site.clone());
        u8::try_from(self.sites.len() - 1).ok().map(SiteId)
    }

    /// The number of `origin`, new if need be; none when there are too many.
    pub(super) fn intern(&mut self, origin: &Origin) -> Option<OriginId> {
        if let Some(id) = self.find(origin) {
            return Some(id);
        }
        if self.origins.len() >= ORIGINS_MAX {
            return None;
        }
        self.intern_site(&origin.site)?;
        let id = OriginId(u16::try_from(self.origins.len()).ok()?);
        self.origins.push(origin.clone());
        self.origin_ids.insert(origin.clone(), id);
        Some(id)
    }

    /// [`Origins::intern_site`] of what a peer names, which leaves the places of others free.
    pub(super) fn intern_site_for_peer(&mut self, site: &SiteName) -> Option<SiteId> {
        let kept = self.linked.iter().filter(|linked| *linked != site);
        let kept = kept.filter(|linked| self.find_site(linked.as_ref().as_bytes()).is_none());
        let is_known = self.find_site(site.as_ref().as_bytes()).is_some();
        if !is_known && self.sites.len() + kept.count() >= SITES_MAX {
            return None;
        }
        self.intern_site(site)
    }

    /// [`Origins::intern`] of what a peer names, which leaves the places of others free.
    pub(super) fn intern_for_peer(&mut self, peer: &SiteName, origin: &Origin) -> Option<OriginId> {
        if let Some(id) = self.find(origin) {
            return Some(id);
        }
        if self.origins.len() >= ORIGINS_MAX / 2 && !self.has_share(peer, origin) {
            return None;
        }
        self.intern_site_for_peer(&origin.site)?;
        self.intern(origin)
    }

    /// Takes a place of a site's share, if one is left.
    fn has_share(&mut self, peer: &SiteName, Origin { site, .. }: &Origin) -> bool {
        if peer == site {
            let told = self.told_itself.entry(site.clone()).or_default();
            *told += 1;
            return *told <= TELLS_MAX;
        }
        let of_site = self.origins.iter().filter(|one| one.site == *site);
        of_site.count() < TOLD_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(site: &str, incarnation: u64) -> Origin {
        Origin {
            site: site.parse().unwrap(),
            incarnation,
        }
    }

    #[test]
    fn made_up_sites_and_origins_keep_no_linked_site_out() {
        let names = |names: [&str; 3]| names.map(|name| name.parse().unwrap()).into();
        let mut origins = Origins::new(origin("west", 1));
        origins.expect(names(["east", "north", "evil"]));
        let evil: SiteName = "evil".parse().unwrap();
        origins.intern_for_peer(&evil, &origin("east", 1)).unwrap();
        for n in 0..8192 {
            let told = [
                origin("evil", n),
                origin("east", n + 2),
                origin(&format!("made-up-{n}"), n),
                origin("south", n),
            ];
            for origin in told {
                origins.intern_for_peer(&evil, &origin);
            }
        }
        assert!(origins.len() < ORIGINS_MAX);
        for site in ["east", "north"] {
            let site: SiteName = site.parse().unwrap();
            let rebuilt = origin(site.as_ref(), u64::MAX);
            assert!(origins.intern_for_peer(&site, &rebuilt).is_some(), "{site}");
        }
    }
}
