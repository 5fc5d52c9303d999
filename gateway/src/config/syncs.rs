//! The sections `[[sync]]`.

use std::path::Path;
use std::time::Duration;

use super::checks::Places;
use super::errors::{Fault, Report};
use super::section::{Located, Section};
use super::values;
use crate::bulk::location::Location;
use crate::bulk::sync::SyncSettings;

/// Each has a thread of its own.
const SYNCS_MAX: usize = 64;
/// `sync.settle_s` where nothing is said.
const SETTLE_S: u64 = 5;

pub(super) fn read(
    sections: Vec<Section<'_, '_>>,
    base: &Path,
    report: &mut Report<'_>,
    places: &mut Places,
) -> Vec<SyncSettings> {
    if let Some(section) = sections.get(SYNCS_MAX) {
        let what = format!("{} syncs are too many", sections.len());
        report.add(
            section.span(),
            Fault::new(what, format!("keep at most {SYNCS_MAX}")),
        );
    }
    let read = |section| read_one(section, base, report, places);
    sections
        .into_iter()
        .take(SYNCS_MAX)
        .filter_map(read)
        .collect()
}

fn read_one(
    mut section: Section<'_, '_>,
    base: &Path,
    report: &mut Report<'_>,
    places: &mut Places,
) -> Option<SyncSettings> {
    let remedy = "say which folder to watch, like dir = \"/var/lib/dumps\"";
    let dir = section.require(report, "dir", remedy, values::path);
    let remedy = "say which folder it becomes, like to = \"west:dumps/\"";
    let to = section.require(report, "to", remedy, values::location);
    let seconds = values::integer(0..=86_400);
    let settle_s = section.get_or(report, "settle_s", SETTLE_S, seconds);
    let remove = section.get_or(report, "remove", false, values::boolean);
    section.finish(report);
    let (dir, to) = (dir?, to?);
    places.syncs.push(Located {
        value: to.value.site.clone(),
        span: to.span,
    });
    Some(SyncSettings {
        dir: base.join(dir.value),
        to: Location {
            folder: true,
            ..to.value
        },
        settle: Duration::from_secs(settle_s),
        remove,
    })
}
