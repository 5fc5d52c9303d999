//! A gateway for tests: one link up, one down.

use super::*;
use crate::bulk::{BulkFigures, SyncReport};
use crate::datadir::Incarnation;
use crate::forward::{FlowReport, ForwardReport, ForwardsReport};
use crate::grid::GridStats;
use crate::replicate::compare::Comparison;
use crate::resp::ClientFigures;

/// A gateway that never changes.
#[derive(Debug)]
pub(crate) struct Still(pub(crate) Status);

impl StatusSource for Still {
    fn status(&self) -> Status {
        self.0.clone()
    }

    fn digest(&self) -> String {
        "00ff".to_owned()
    }
}

pub(crate) fn status() -> Status {
    Status {
        memory: MemoryReport {
            resident_bytes: 90 << 20,
            parts: [
                ("counters", 11),
                ("history", 20),
                ("links", 0),
                ("program", 14),
            ]
            .map(|(part, mib)| MemoryPart {
                part: part.to_owned(),
                bytes: mib << 20,
            })
            .into(),
            bytes_max: 3 << 30,
        },
        gateway: GatewayReport {
            site: "east".to_owned(),
            key: "a".repeat(52),
            incarnation: Incarnation(0xff),
            version: "0.1.0".to_owned(),
            uptime_s: 11_520.0,
            link_address: "0.0.0.0:7440".to_owned(),
            grid_address: "127.0.0.1:6390".to_owned(),
        },
        not_ready: Vec::new(),
        links: vec![west(), north()],
        clients: ClientFigures {
            connected: 3,
            commands: 77,
            ..ClientFigures::default()
        },
        refusals: vec![RefusalReport {
            reason: "unknown_key".to_owned(),
            connections: 5,
        }],
        grid: GridStats {
            keys: 120_000,
            logs: 2,
            entries: 20_000,
            memory_bytes: 11 << 20,
            memory_bytes_max: 1 << 30,
            journal_bytes: 9 << 20,
            writes_total: 42,
            dead: 4_321,
            dead_kept_for: vec!["north".to_owned()],
            ..GridStats::default()
        },
        full_in_s: Some(86_400.0),
        disk_full_in_s: Some(604_800.0),
        clock_steps: 0,
        snapshots: SnapshotReport {
            kept: 3,
            bytes: 5 << 20,
            last_time_s: Some(1_700_000_000.0),
            taken: 1,
            failed: 0,
        },
        history: HistoryReport {
            chunks: 12_345,
            memory_bytes: 20 << 20,
            codec_bytes: 6 << 20,
            untouched_bytes: 8 << 20,
            memory_bytes_max: 256 << 20,
            disk_bytes: 100 << 20,
            disk_bytes_max: 4 << 30,
            quarantined: 0,
            unwritable: 0,
        },
        bulk: BulkFigures {
            sent_files: 2,
            sending: 1,
            ..BulkFigures::default()
        },
        syncs: vec![SyncReport {
            dir: "/var/lib/dumps".to_owned(),
            peer: "west".to_owned(),
            shipped_files: 4,
            failed: 1,
            waiting_files: 2,
        }],
        forwards: forwards(),
    }
}

fn forwards() -> ForwardsReport {
    let forward = ForwardReport {
        listen: "127.0.0.1:5433".to_owned(),
        peer: "west".to_owned(),
        target: "db.internal:5432".to_owned(),
        open: 1,
        opened: 12,
        reset: 1,
        bypassed: 2,
        sent_bytes: 4096,
        received_bytes: 8 << 20,
    };
    let served = ForwardReport {
        peer: "north".to_owned(),
        opened: 3,
        ..ForwardReport::default()
    };
    let flow = FlowReport {
        peer: "west".to_owned(),
        client: "127.0.0.1:40000".to_owned(),
        target: "db.internal:5432".to_owned(),
        age_s: 12.0,
        class: "bulk".to_owned(),
        sent_bytes: 300,
        received_bytes: 8 << 20,
    };
    ForwardsReport {
        forwards: vec![forward, served],
        flows: vec![flow],
    }
}

fn west() -> LinkReport {
    let ledger = ByteLedger {
        logical_bytes: 17_000_000,
        after_references_bytes: 3_000_000,
        compressed_bytes: 990_000,
        wire_bytes: 1_000_000,
        queued_batches: 3,
        queued_bytes: 3 << 20,
        unacked_batches: 2,
        unacked_bytes: 2 << 20,
    };
    LinkReport {
        peer: "west".to_owned(),
        key: "b".repeat(52),
        phase: LinkPhase::Replicating,
        since_s: 65.0,
        peer_address: Some("192.0.2.7:7440".to_owned()),
        transport: Some("tcp".to_owned()),
        peer_incarnation: Some(Incarnation(7)),
        rtt_ms: Some(101.5),
        lost_percent: 0.1,
        in_flight_bytes: 1 << 20,
        rate_bytes_s: Some(12_000_000.0),
        udp_sent_bytes: 1_100_000,
        udp_received_bytes: 90_000,
        tcp_sent_bytes: 3_000_000,
        tcp_received_bytes: 70_000,
        reconnects: 1,
        last_error: None,
        ledger,
        classes: vec![ClassReport {
            class: "bulk".to_owned(),
            ledger,
            level: 4,
            received_batches: 9,
            received_bytes: 900,
        }],
        streams: vec![StreamReport {
            stream: "counters".to_owned(),
            lag_s: 0.08,
            lag_records: 2,
            lag_bytes: 3000,
            sent_records: 100,
            ..StreamReport::default()
        }],
        ..north()
    }
}

fn north() -> LinkReport {
    LinkReport {
        peer: "north".to_owned(),
        key: "c".repeat(52),
        phase: LinkPhase::Down,
        since_s: 400.0,
        peer_address: None,
        transport: None,
        peer_incarnation: None,
        rtt_ms: None,
        lost_percent: 0.0,
        window_bytes: 0,
        in_flight_bytes: 0,
        rate_bytes_s: None,
        udp_sent_bytes: 0,
        udp_received_bytes: 0,
        udp_sent_packets: 0,
        udp_received_packets: 0,
        tcp_sent_bytes: 0,
        tcp_received_bytes: 0,
        reconnects: 0,
        handovers: 0,
        stalls: 0,
        copies: 0,
        refused_as_copy: None,
        last_error: Some("timed out".to_owned()),
        ledger: ByteLedger::default(),
        classes: Vec::new(),
        streams: Vec::new(),
        heard_all: false,
        compared: CompareReport {
            rounds: 1,
            failed: 0,
            last: Some(Comparison::default()),
        },
    }
}
