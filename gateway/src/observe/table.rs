//! The status document for people: what `strait status` prints.

use std::fmt::Write;

use super::link::{ByteLedger, LinkPhase, LinkReport, StreamReport};
use super::memory::MemoryReport;
use super::readable::{bytes, count, seconds};
use super::status::Status;
use crate::forward::ForwardsReport;

/// A few short lines about the gateway and each of its links.
pub fn render(status: &Status) -> String {
    let mut out = Table::default();
    let gateway = &status.gateway;
    out.line(format_args!(
        "{}  strait {}, up {}, incarnation {}",
        gateway.site,
        gateway.version,
        seconds(gateway.uptime_s),
        gateway.incarnation,
    ));
    match status.not_ready.as_slice() {
        [] => out.line(format_args!(
            "ready: clients on {}, links on UDP {}",
            gateway.grid_address, gateway.link_address
        )),
        reasons => out.line(format_args!("NOT READY: {}", reasons.join("; "))),
    }
    if status.links.is_empty() {
        out.line(format_args!(
            "\nno links: add a peer with `strait pair TOKEN`"
        ));
    }
    for link in &status.links {
        render_link(&mut out, link);
    }
    render_stores(&mut out, status);
    render_forwards(&mut out, &status.forwards);
    out.text
}

fn render_link(out: &mut Table, link: &LinkReport) {
    let place = link
        .peer_address
        .as_deref()
        .map(|a| format!(" at {a}"))
        .unwrap_or_default();
    let transport = match link.transport.as_deref() {
        None | Some("quic") => String::new(),
        Some(other) => format!(" over {}", other.to_uppercase()),
    };
    let reconnects = match link.reconnects {
        0 => String::new(),
        1 => ", reconnected once".to_owned(),
        n => format!(", reconnected {n} times"),
    };
    out.line(format_args!(
        "\n{}{place}{transport}  {} for {}{reconnects}",
        link.peer,
        link.phase,
        seconds(link.since_s),
    ));
    if let Some(rtt_ms) = link.rtt_ms {
        let rate = link
            .rate_bytes_s
            .map(|rate| format!(", link rate {:.1} Mbit/s", rate * 8.0 / 1e6))
            .unwrap_or_default();
        let in_flight = bytes(link.in_flight_bytes);
        let lost = link.lost_percent;
        out.field(
            "path",
            format_args!("RTT {rtt_ms:.1} ms, {lost:.2} % lost, {in_flight} in flight{rate}"),
        );
    }
    if let (Some(error), false) = (&link.last_error, link.phase == LinkPhase::Replicating) {
        out.field("error", format_args!("{error}"));
    }
    for stream in &link.streams {
        render_stream(out, stream);
    }
    render_ledger(out, &link.ledger);
    let (udp, tcp) = (
        (link.udp_sent_bytes, link.udp_received_bytes),
        (link.tcp_sent_bytes, link.tcp_received_bytes),
    );
    for (name, (sent, received)) in [("udp", udp), ("tcp", tcp)] {
        if name == "udp" || sent + received > 0 {
            let (sent, received) = (bytes(sent), bytes(received));
            out.field(name, format_args!("{sent} sent, {received} received"));
        }
    }
    for class in &link.classes {
        let ByteLedger {
            queued_batches,
            unacked_batches,
            ..
        } = class.ledger;
        if queued_batches + unacked_batches > 0 {
            let waiting = bytes(class.ledger.queued_bytes);
            out.field(&class.class, format_args!("{queued_batches} batches queued ({waiting}), {unacked_batches} not yet acknowledged"));
        }
    }
}

fn render_stream(out: &mut Table, stream: &StreamReport) {
    let mut text = if stream.lag_s > 0.0 || stream.lag_records > 0 {
        format!(
            "{} behind: {} records, {}",
            seconds(stream.lag_s),
            count(stream.lag_records),
            bytes(stream.lag_bytes),
        )
    } else {
        "in step".to_owned()
    };
    if stream.catching_up {
        text.push_str(", catching up");
    }
    if let Some(why) = &stream.refused_by_peer {
        text.push_str(&format!(", THE PEER DOES NOT TAKE IT: {why}"));
    }
    if let Some(why) = &stream.refusing {
        text.push_str(&format!(", WHAT THE PEER SENDS IS NOT TAKEN: {why}"));
    } else if stream.refused_records > 0 {
        let records = stream.refused_records;
        text.push_str(&format!(", {records} RECORDS OF THE PEER WERE NOT TAKEN"));
    }
    out.field(&stream.stream, format_args!("{text}"));
}

fn render_ledger(out: &mut Table, ledger: &ByteLedger) {
    let ratio = ledger
        .ratio()
        .map(|ratio| format!("  ({ratio:.1} to 1)"))
        .unwrap_or_default();
    out.field(
        "bytes",
        format_args!(
            "logical {} → after references {} → compressed {} → wire {}{ratio}",
            bytes(ledger.logical_bytes),
            bytes(ledger.after_references_bytes),
            bytes(ledger.compressed_bytes),
            bytes(ledger.wire_bytes),
        ),
    );
}

fn render_stores(out: &mut Table, status: &Status) {
    let (grid, history, bulk) = (&status.grid, &status.history, &status.bulk);
    out.line(format_args!(""));
    render_memory(out, &status.memory);
    out.field(
        "grid",
        format_args!(
            "{} keys, {} logs with {} entries, {} of {}, journal {}, {} clients",
            count(grid.keys),
            count(grid.logs),
            count(grid.entries),
            bytes(grid.memory_bytes),
            bytes(grid.memory_bytes_max),
            bytes(grid.journal_bytes),
            count(status.clients.connected),
        ),
    );
    if grid.dead > 0 && !grid.dead_kept_for.is_empty() {
        out.field(
            "",
            format_args!(
                "{} deleted keys are kept until they are known to be gone at {}",
                count(grid.dead),
                grid.dead_kept_for.join(", "),
            ),
        );
    }
    if grid.journal_failed {
        out.field(
            "",
            format_args!("THE JOURNAL FAILED: writes are refused, the log says why"),
        );
    }
    out.field(
        "history",
        format_args!(
            "{} chunks, memory {} of {}, disk {} of {}",
            count(history.chunks),
            bytes(history.memory_bytes),
            bytes(history.memory_bytes_max),
            bytes(history.disk_bytes),
            bytes(history.disk_bytes_max),
        ),
    );
    if history.unwritable > 0 {
        out.field(
            "",
            format_args!("THE HISTORY'S DISK FAILED: it goes on in memory, the log says why"),
        );
    }
    out.field(
        "files",
        format_args!(
            "{} sent, {} received, {} failed, {} sending and {} receiving now",
            count(bulk.sent_files),
            count(bulk.received_files),
            count(bulk.failed),
            bulk.sending,
            bulk.receiving,
        ),
    );
}

/// Parts of which the table says nothing: no operator looks for a few hundred KiB.
const PART_BYTES_MIN: u64 = 1 << 20;

fn render_memory(out: &mut Table, memory: &MemoryReport) {
    let parts = memory.parts.iter();
    let parts = parts.filter(|part| part.bytes >= PART_BYTES_MIN);
    let parts: Vec<_> = parts
        .map(|part| format!("{} {}", part.part, bytes(part.bytes)))
        .collect();
    if !parts.is_empty() {
        let resident = bytes(memory.resident_bytes);
        out.field("memory", format_args!("{resident}: {}", parts.join(", ")));
    }
}

/// Flows that the table names; `--json` has more.
const FLOWS_NAMED_MAX: usize = 10;

fn render_forwards(out: &mut Table, report: &ForwardsReport) {
    for forward in &report.forwards {
        let (peer, target) = (&forward.peer, &forward.target);
        let way = match (forward.listen.as_str(), target.as_str()) {
            ("", _) => format!("from {peer}"),
            (listen, "") => format!("{listen} → {peer}"),
            (listen, target) => format!("{listen} → {peer} {target}"),
        };
        out.field(
            "forward",
            format_args!(
                "{way}: {} open, {} so far, {} reset, {} bypassed, {} sent, {} received",
                count(forward.open),
                count(forward.opened),
                count(forward.reset),
                count(forward.bypassed),
                bytes(forward.sent_bytes),
                bytes(forward.received_bytes),
            ),
        );
    }
    for flow in report.flows.iter().take(FLOWS_NAMED_MAX) {
        out.field(
            "flow",
            format_args!(
                "{} → {} {}, {}, {}, {} sent, {} received",
                flow.client,
                flow.peer,
                flow.target,
                flow.class,
                seconds(flow.age_s),
                bytes(flow.sent_bytes),
                bytes(flow.received_bytes),
            ),
        );
    }
    let more = report.flows.len().saturating_sub(FLOWS_NAMED_MAX);
    if more > 0 {
        out.field("", format_args!("and {more} more flows, see --json"));
    }
}

#[derive(Debug, Default)]
struct Table {
    text: String,
}

impl Table {
    fn line(&mut self, text: std::fmt::Arguments<'_>) {
        // What came over HTTP must not drive the terminal.
        let text = text
            .to_string()
            .replace(|c: char| c.is_control() && c != '\n', "?");
        self.text.push_str(&text);
        self.text.push('\n');
    }

    fn field(&mut self, name: &str, value: std::fmt::Arguments<'_>) {
        let mut line = String::new();
        // Writing to a string cannot fail.
        let _written = write!(line, "  {name:<13}{value}");
        self.line(format_args!("{line}"));
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn a_gateway_with_two_links() {
        assert_eq!(render(&sample::status()), include_str!("golden/status.txt"));
    }

    #[test]
    fn trouble_stands_out_and_escapes_are_harmless() {
        let mut status = sample::status();
        status.not_ready = vec!["no disk".to_owned()];
        status.grid.journal_failed = true;
        status.links[1].last_error = Some("\u{1b}[2Jgone".to_owned());
        let text = render(&status);
        assert!(text.contains("NOT READY: no disk"));
        assert!(text.contains("THE JOURNAL FAILED"));
        assert!(text.contains("?[2Jgone"));
        status.links.clear();
        assert!(render(&status).contains("no links"));
    }
}
