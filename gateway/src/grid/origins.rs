//! Sites and origins by small numbers, so that counters can name them in a byte or two.

use hashbrown::HashMap;
use strait_transport::SiteName;

use super::Origin;
use super::counter::{OriginId, SiteId};

/// More sites than this are refused.
pub(super) const SITES_MAX: usize = 128;
/// More origins than this are refused: each rebuilt site adds one.
pub(super) const ORIGINS_MAX: usize = 4096;

/// Every site and origin that was ever named here. Number 0 is ourselves.
#[derive(Clone, Debug)]
pub(super) struct Origins {
    sites: Vec<SiteName>,
    origins: Vec<Origin>,
    origin_ids: HashMap<Origin, OriginId>,
}

impl Origins {
    pub(super) fn new(own: Origin) -> Self {
        Self {
            sites: vec![own.site.clone()],
            origin_ids: HashMap::from([(own.clone(), OriginId::OWN)]),
            origins: vec![own],
        }
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

    /// All origins of a site: each time it was rebuilt it became another.
    pub(super) fn of_site(&self, site: &SiteName) -> Vec<OriginId> {
        let of_site = |(_, origin): &(u16, &Origin)| origin.site == *site;
        let found = (0..).zip(&self.origins).filter(of_site);
        found.map(|(id, _)| OriginId(id)).collect()
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
}
