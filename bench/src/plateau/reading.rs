//! What gateways take of memory.

use serde::Serialize;
use strait_tests::Site;

use super::fleet::Fleet;

/// Memory of one gateway.
#[derive(Debug, Serialize)]
pub(super) struct SiteReading {
    site: String,
    /// Keys that are deleted and not yet forgotten.
    dead_keys: u64,
    /// Of the process, free parts of its heap included.
    resident_bytes: u64,
    /// What the gateway's books account for.
    booked_bytes: u64,
    /// Of it, keys and their counters.
    grid_bytes: u64,
    journal_bytes: u64,
}

/// Memory of the gateways that are there in every round.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) round: u64,
    pub(super) sites: Vec<SiteReading>,
}

/// Memory as multiples of an earlier reading; of all gateways the one that grew most.
#[derive(Clone, Copy, Debug)]
pub(super) struct Growth {
    pub(super) resident: f64,
    pub(super) grid: f64,
}

impl Reading {
    pub(super) fn take(fleet: &Fleet, round: u64) -> Self {
        let sites = fleet.present().map(SiteReading::take).into();
        Self { round, sites }
    }

    /// What memory has grown to since `earlier`.
    pub(super) fn growth(&self, earlier: &Self) -> Growth {
        let most = |bytes: fn(&SiteReading) -> u64| {
            let sites = self.sites.iter().zip(&earlier.sites);
            let ratios = sites.map(|(now, then)| bytes(now) as f64 / bytes(then).max(1) as f64);
            ratios.fold(0.0, f64::max)
        };
        Growth {
            resident: most(|site| site.resident_bytes),
            grid: most(|site| site.grid_bytes),
        }
    }
}

impl SiteReading {
    fn take(site: &Site) -> Self {
        let metric = |name| site.metric(name) as u64;
        let status = site.status().unwrap_or_default();
        let memory = &status["memory"];
        let parts = memory["parts"].as_array();
        let booked = parts.into_iter().flatten();
        let booked = booked.filter(|part| part["part"] != "other");
        Self {
            site: site.name.clone(),
            dead_keys: metric("strait_grid_dead_keys"),
            resident_bytes: memory["resident_bytes"].as_u64().unwrap_or_default(),
            booked_bytes: booked.filter_map(|part| part["bytes"].as_u64()).sum(),
            grid_bytes: metric("strait_grid_memory_bytes"),
            journal_bytes: metric("strait_grid_journal_bytes"),
        }
    }
}
