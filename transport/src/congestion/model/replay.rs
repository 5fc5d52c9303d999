//! The model on what it was told by real connections, recorded in the lab on a busy machine:
//! `traces/`, one event a line, times in microseconds.
//!
//! - `s NOW`: something was sent
//! - `a NOW APP_LIMITED AGE…`: packets were acknowledged, so long after they were sent; 1452 bytes
//!   each where none are given (`AGE:BYTES`)
//! - `l BYTES`: lost
//! - `e NOW IN_FLIGHT APP_LIMITED`: the end of a run of acknowledgements

use std::time::{Duration, Instant};

use super::{Ack, Model, Phase};

const DATAGRAM_BYTES: u64 = 1452;

fn replay(trace: &str) -> Model {
    // Packets may have been sent before the trace begins.
    let start = Instant::now() + Duration::from_secs(1);
    let number = |field: &str| field.parse::<u64>().unwrap();
    let at = |field: &str| start + Duration::from_micros(number(field));
    let mut model = Model::new(1200);
    for line in trace.lines() {
        let fields: Vec<_> = line.split(' ').collect();
        match fields[..] {
            ["s", now] => model.handle_sent(at(now)),
            ["l", bytes] => model.handle_lost(number(bytes)),
            ["e", now, in_flight, app_limited] => {
                model.handle_acks_end(at(now), number(in_flight), app_limited == "1");
            }
            ["a", now, app_limited, ref packets @ ..] => {
                for packet in packets {
                    let (age, bytes) = match packet.split_once(':') {
                        Some((age, bytes)) => (age, number(bytes)),
                        None => (*packet, DATAGRAM_BYTES),
                    };
                    model.handle_ack(Ack {
                        now: at(now),
                        sent: at(now) - Duration::from_micros(number(age)),
                        bytes,
                        app_limited: app_limited == "1",
                    });
                }
            }
            _ => panic!("{line}"),
        }
    }
    model
}

/// 20 Mbit/s, 60 ms, 0.5 % lost: two seconds from the handshake on.
#[test]
fn finds_the_rate_of_a_lossy_link() {
    let model = replay(include_str!("traces/20mbit_60ms_half_percent.txt"));
    assert_eq!(model.phase_name(), "carry");
    let mbit_s = model.rate_bytes_s().unwrap() * 8e-6;
    assert!((17.0..21.0).contains(&mbit_s), "{mbit_s}");
    // 150 kB are under way on a full link.
    let window_bytes = model.window_bytes();
    assert!((130_000..200_000).contains(&window_bytes), "{window_bytes}");
}

/// 100 Mbit/s, 100 ms: start-up, while both ends now and then had no processor for 7 ms and more.
#[test]
fn a_late_acknowledgement_ends_no_start_up() {
    let model = replay(include_str!("traces/100mbit_100ms_busy.txt"));
    assert!(matches!(model.phase, Phase::Startup { .. }), "{model:?}");
    assert!(model.window_bytes() > 1_000_000, "{model:?}");
}
