//! The sections `[[forward]]`.

use std::time::Duration;

use super::checks::{ForwardPlace, Places};
use super::errors::{Fault, Report};
use super::section::Section;
use super::values;
use crate::forward::{ForwardSettings, Target};

/// Each listens on a port of its own.
const FORWARDS_MAX: usize = 256;
/// `forward.patience_s` where nothing is said.
const PATIENCE_S: u64 = 15;

pub(super) fn read(
    sections: Vec<Section<'_, '_>>,
    report: &mut Report<'_>,
    places: &mut Places,
) -> Vec<ForwardSettings> {
    if let Some(section) = sections.get(FORWARDS_MAX) {
        let what = format!("{} forwards are too many", sections.len());
        report.add(
            section.span(),
            Fault::new(what, format!("keep at most {FORWARDS_MAX}")),
        );
    }
    let read = |section| read_one(section, report, places);
    sections
        .into_iter()
        .take(FORWARDS_MAX)
        .filter_map(read)
        .collect()
}

fn read_one(
    mut section: Section<'_, '_>,
    report: &mut Report<'_>,
    places: &mut Places,
) -> Option<ForwardSettings> {
    let remedy = "say where clients connect, like listen = \"127.0.0.1:5433\"";
    let listen = section.require(report, "listen", remedy, values::socket_address);
    let remedy = "say which peer the connections go to, like peer = \"west\"";
    let peer = section.require(report, "peer", remedy, values::site);
    let target = section.get(report, "target", values::target);
    let transparent = section.get_or(report, "transparent", false, values::boolean);
    let class = section.get_or(report, "class", Default::default(), values::flow_class);
    let bypass = section.get_or(report, "bypass", Default::default(), values::bypass);
    let seconds = values::integer(1..=3600);
    let patience_s = section.get_or(report, "patience_s", PATIENCE_S, seconds);
    let proxy_protocol = section.get_or(report, "proxy_protocol", false, values::boolean);
    let target = match (target, transparent) {
        (Some(target), false) => Some(Target::Fixed(target.value)),
        (None, true) => Some(Target::Original),
        (_, _) => {
            let what = "forward: needs either target or transparent = true";
            let remedy = "say what the peer connects to, like target = \"127.0.0.1:5432\"";
            report.add(section.span(), Fault::new(what, remedy));
            None
        }
    };
    section.finish(report);
    let (listen, peer) = (listen?, peer?);
    places.forwards.push(ForwardPlace {
        listen: listen.clone(),
        peer: peer.clone(),
    });
    Some(ForwardSettings {
        listen: listen.value,
        peer: peer.value,
        target: target?,
        class,
        bypass,
        patience: Duration::from_secs(patience_s),
        proxy_protocol,
    })
}
