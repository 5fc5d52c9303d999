//! The status document as Prometheus metrics (OpenMetrics text).
//!
//! Nothing is counted here: each scrape takes one [`Status`] and writes it out. Names,
//! help texts and values stand in one table for each kind of thing that is measured.

mod tables;

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use strait_transport::Transport;

use super::process::{self, ProcessFigures};
use super::status::Status;

/// What scrapers are told the text is.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The whole text of `/metrics`.
pub(super) fn render(status: Status) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Snapshot {
        status,
        process: process::read(),
    }));
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}

/// One metric of things of kind `T`. Counters get `_total` behind their name.
struct Metric<T: 'static> {
    name: &'static str,
    help: &'static str,
    kind: Kind,
    /// `None`: this thing has no such value now.
    value: fn(&T) -> Option<Value>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
}

#[derive(Clone, Copy)]
enum Value {
    Whole(u64),
    Real(f64),
}

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Self::Whole(value)
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Real(value)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Whole(u64::from(value))
    }
}

const fn counter<T>(
    name: &'static str,
    help: &'static str,
    value: fn(&T) -> Option<Value>,
) -> Metric<T> {
    Metric {
        name,
        help,
        kind: Kind::Counter,
        value,
    }
}

const fn gauge<T>(
    name: &'static str,
    help: &'static str,
    value: fn(&T) -> Option<Value>,
) -> Metric<T> {
    Metric {
        name,
        help,
        kind: Kind::Gauge,
        value,
    }
}

type Labels = Vec<(&'static str, String)>;

#[derive(Debug)]
struct Snapshot {
    status: Status,
    process: Option<ProcessFigures>,
}

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let out = &mut encoder;
        let status = &self.status;
        let site = || ("site", status.gateway.site.clone());
        write_build(out, status)?;
        let one = [(vec![site()], status)];
        write(out, tables::GRID, &one)?;
        write(out, tables::ROOMS, &one)?;
        let parts = status.memory.parts.iter();
        let parts = parts.map(|part| (vec![site(), ("part", part.part.clone())], part));
        write(out, tables::MEMORY, &parts.collect::<Vec<_>>())?;
        let process: Vec<_> = self.process.iter().map(|p| (Labels::new(), p)).collect();
        write(out, tables::PROCESS, &process)?;
        let mut links = Vec::new();
        let mut phases = Vec::new();
        let mut transports = Vec::new();
        let mut classes = Vec::new();
        let mut streams = Vec::new();
        for link in &status.links {
            let labels = || vec![site(), ("link", link.peer.clone())];
            let with = |key, value: &str| [labels(), vec![(key, value.to_owned())]].concat();
            links.push((labels(), link));
            for phase in super::LinkPhase::ALL {
                let is_now = if phase == link.phase { &true } else { &false };
                phases.push((with("phase", phase.name()), is_now));
            }
            for transport in [Transport::Quic, Transport::Tcp].map(Transport::name) {
                let is_now = match link.transport.as_deref() == Some(transport) {
                    true => &true,
                    false => &false,
                };
                transports.push((with("transport", transport), is_now));
            }
            classes.extend(link.classes.iter().map(|c| (with("class", &c.class), c)));
            streams.extend(link.streams.iter().map(|s| (with("stream", &s.stream), s)));
        }
        let refusals = status.refusals.iter();
        let refusals = refusals.map(|r| (vec![site(), ("reason", r.reason.clone())], r));
        write(out, tables::REFUSAL, &refusals.collect::<Vec<_>>())?;
        write(out, tables::LINK, &links)?;
        write(out, tables::PHASE, &phases)?;
        write(out, tables::TRANSPORT, &transports)?;
        write(out, tables::CLASS, &classes)?;
        write(out, tables::STREAM, &streams)?;
        let syncs = status.syncs.iter().map(|sync| {
            let dir = ("dir", sync.dir.clone());
            (vec![site(), ("link", sync.peer.clone()), dir], sync)
        });
        write(out, tables::SYNC, &syncs.collect::<Vec<_>>())?;
        let forwards = status.forwards.forwards.iter().map(|forward| {
            let listen = ("listen", forward.listen.clone());
            (
                vec![site(), ("link", forward.peer.clone()), listen],
                forward,
            )
        });
        write(out, tables::FORWARD, &forwards.collect::<Vec<_>>())
    }
}

fn write_build(out: &mut DescriptorEncoder<'_>, status: &Status) -> fmt::Result {
    let help = "Release of strait and incarnation of the site";
    let labels: Labels = vec![
        ("site", status.gateway.site.clone()),
        ("version", status.gateway.version.clone()),
        ("incarnation", status.gateway.incarnation.to_string()),
    ];
    out.encode_descriptor("strait_build", help, None, MetricType::Info)?
        .encode_info(&labels)
}

fn write<T>(
    out: &mut DescriptorEncoder<'_>,
    metrics: &[Metric<T>],
    things: &[(Labels, &T)],
) -> fmt::Result {
    for metric in metrics {
        let kind = match metric.kind {
            Kind::Counter => MetricType::Counter,
            Kind::Gauge => MetricType::Gauge,
        };
        let mut family = out.encode_descriptor(metric.name, metric.help, None, kind)?;
        for (labels, thing) in things {
            match (metric.value)(thing) {
                None => {}
                Some(value) if labels.is_empty() => write_value(&mut family, metric.kind, value)?,
                Some(value) => {
                    write_value(&mut family.encode_family(labels)?, metric.kind, value)?;
                }
            }
        }
    }
    Ok(())
}

fn write_value(out: &mut MetricEncoder<'_>, kind: Kind, value: Value) -> fmt::Result {
    match (kind, value) {
        (Kind::Counter, Value::Whole(n)) => out.encode_counter::<NoLabelSet, _, u64>(&n, None),
        (Kind::Counter, Value::Real(x)) => out.encode_counter::<NoLabelSet, _, u64>(&x, None),
        (Kind::Gauge, Value::Whole(n)) => out.encode_gauge(&n),
        (Kind::Gauge, Value::Real(x)) => out.encode_gauge(&x),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::super::sample::status;
    use super::*;

    fn text() -> String {
        render(status()).unwrap()
    }

    #[test]
    fn values_stand_behind_their_names_and_labels() {
        let text = text();
        for line in [
            "strait_ready{site=\"east\"} 1",
            "strait_link_up{site=\"east\",link=\"west\"} 1",
            "strait_link_phase{site=\"east\",link=\"west\",phase=\"replicating\"} 1",
            "strait_link_phase{site=\"east\",link=\"west\",phase=\"down\"} 0",
            "strait_link_rtt_seconds{site=\"east\",link=\"west\"} 0.1015",
            "strait_link_transport{site=\"east\",link=\"west\",transport=\"tcp\"} 1",
            "strait_link_transport{site=\"east\",link=\"north\",transport=\"tcp\"} 0",
            "strait_class_wire_bytes_total{site=\"east\",link=\"west\",class=\"bulk\"} 1000000",
            "strait_stream_lag_seconds{site=\"east\",link=\"west\",stream=\"counters\"} 0.08",
            "strait_refused_connections_total{site=\"east\",reason=\"unknown_key\"} 5",
            "strait_memory_bytes{site=\"east\",part=\"history\"} 20971520",
            "strait_grid_writes_total{site=\"east\"} 42",
            "strait_build_info{site=\"east\",version=\"0.1.0\",incarnation=\"00000000000000ff\"} 1",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("link=\"north\",phase=\"replicating\"} 1"));
        assert!(!text.contains("strait_link_rtt_seconds{site=\"east\",link=\"north\"}"));
    }

    /// The grammar of OpenMetrics, as far as we use it: each family once, described before
    /// its samples, samples with a number, and an end.
    #[test]
    fn the_text_parses() {
        let text = text();
        let (body, end) = text.rsplit_once("# EOF\n").unwrap();
        assert_eq!(end, "");
        let mut families = HashSet::new();
        let mut series = HashSet::new();
        let mut family = "";
        for line in body.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                family = rest.split(' ').next().unwrap();
                assert!(families.insert(family), "{family} twice");
                continue;
            }
            if line.starts_with("# HELP ") {
                continue;
            }
            let (name, value) = line.rsplit_once(' ').unwrap();
            assert!(name.starts_with(family), "{line} in family {family}");
            assert!(series.insert(name), "{name} twice");
            value.parse::<f64>().unwrap();
        }
        assert!(families.len() > 50);
    }

    /// As Prometheus knows them.
    fn names() -> HashSet<String> {
        let text = text();
        let types = text
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
        let name = |(name, kind): (&str, &str)| match kind {
            "counter" => format!("{name}_total"),
            "info" => format!("{name}_info"),
            _ => name.to_owned(),
        };
        types.map(name).collect()
    }

    #[test]
    fn every_metric_is_in_the_operators_handbook() {
        let handbook = include_str!("../../../../docs/OPERATING.md");
        for name in names() {
            assert!(handbook.contains(&format!("`{name}`")), "{name}");
        }
    }

    #[test]
    fn alerts_and_dashboard_ask_for_metrics_that_there_are() {
        let names = names();
        for file in [
            include_str!("../../../../docs/deploy/alerts.yml"),
            include_str!("../../../../docs/deploy/dashboard.json"),
        ] {
            let words = file.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            let asked: HashSet<_> = words
                .filter(|word| word.starts_with("strait_") || word.starts_with("process_"))
                .collect();
            assert!(asked.len() > 10);
            for name in asked {
                assert!(names.contains(name), "{name}");
            }
        }
    }
}
