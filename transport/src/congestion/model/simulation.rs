//! The model on a simulated bottleneck: rate, delay, drop-tail queue, random loss.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::{Ack, INITIAL_WINDOW_BYTES, Model};

const DATAGRAM: u64 = 1452;
/// Between the steps of the simulation.
const TICK: Duration = Duration::from_micros(250);

/// A link, which may change while it runs.
#[derive(Clone, Copy)]
struct Link {
    rate_mbit_s: f64,
    one_way: Duration,
    queue: Duration,
    loss: f64,
}

impl Link {
    fn new(rate_mbit_s: f64, rtt_ms: u64, loss_percent: f64) -> Self {
        Self {
            rate_mbit_s,
            one_way: Duration::from_millis(rtt_ms) / 2,
            queue: Duration::from_millis(100),
            loss: loss_percent / 100.0,
        }
    }

    fn rate_bytes_s(&self) -> f64 {
        self.rate_mbit_s * 1e6 / 8.0
    }
}

struct Packet {
    sent: Instant,
    /// When its acknowledgement is back; `None` if it is lost.
    acked: Option<Instant>,
}

/// One sender over one link, from the sender's seat.
struct Sender {
    model: Model,
    link: Link,
    rng: StdRng,
    start: Instant,
    now: Instant,
    flight: VecDeque<Packet>,
    in_flight: u64,
    /// When the link has sent all that stands before it.
    link_free: Instant,
    tokens: f64,
    srtt: Duration,
    delivered: u64,
    lost: u64,
    sent: u64,
    queue_sum: Duration,
    queue_max: Duration,
    /// Bytes the application has to send for each second; `None`: always more.
    app_bytes_s: Option<f64>,
    app_bytes: f64,
    /// Each so often, the receiver does nothing for so long.
    stall: Option<(Duration, Duration)>,
}

impl Sender {
    fn new(link: Link) -> Self {
        let now = Instant::now();
        Self {
            model: Model::new(1200),
            link,
            rng: StdRng::seed_from_u64(7),
            start: now,
            now,
            flight: VecDeque::new(),
            in_flight: 0,
            link_free: now,
            tokens: 0.0,
            srtt: Duration::from_millis(100),
            delivered: 0,
            lost: 0,
            sent: 0,
            queue_sum: Duration::ZERO,
            queue_max: Duration::ZERO,
            app_bytes_s: None,
            app_bytes: 0.0,
            stall: None,
        }
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now += TICK;
            let acked = self.receive();
            let app_limited = self.transmit();
            if acked {
                self.model
                    .handle_acks_end(self.now, self.in_flight, app_limited);
            }
        }
    }

    /// Zeroes the figures; the link goes on.
    fn measure_from_here(&mut self) {
        (self.delivered, self.lost, self.sent) = (0, 0, 0);
        (self.queue_sum, self.queue_max) = (Duration::ZERO, Duration::ZERO);
    }

    fn receive(&mut self) -> bool {
        let mut any = false;
        let is_back = |p: &Packet, now| p.acked.is_some_and(|at| at <= now);
        while let Some(index) = self
            .flight
            .iter()
            .take(4096)
            .position(|p| is_back(p, self.now))
        {
            // What was sent before it and is not back is lost.
            for _ in self.flight.drain(..index) {
                self.model.handle_lost(DATAGRAM);
                self.lost += DATAGRAM;
                self.in_flight -= DATAGRAM;
            }
            let Some(packet) = self.flight.pop_front() else {
                break;
            };
            let rtt = self.now - packet.sent;
            self.srtt = (self.srtt * 7 + rtt) / 8;
            self.in_flight -= DATAGRAM;
            self.delivered += DATAGRAM;
            self.model.handle_ack(Ack {
                now: self.now,
                sent: packet.sent,
                bytes: DATAGRAM,
                app_limited: self.app_bytes_s.is_some() && self.app_bytes < DATAGRAM as f64,
            });
            any = true;
        }
        any
    }

    /// Sends what window, pacer and application allow; true if it was the application.
    fn transmit(&mut self) -> bool {
        let window = self.model.window_bytes();
        let pace = 1.25 * window as f64 / self.srtt.as_secs_f64();
        let burst = (pace * 0.002).max(10.0 * DATAGRAM as f64);
        self.tokens = (self.tokens + pace * TICK.as_secs_f64()).min(burst);
        if let Some(rate) = self.app_bytes_s {
            self.app_bytes += rate * TICK.as_secs_f64();
        }
        while self.in_flight + DATAGRAM <= window && self.tokens >= DATAGRAM as f64 {
            if self.app_bytes_s.is_some() {
                if self.app_bytes < DATAGRAM as f64 {
                    return true;
                }
                self.app_bytes -= DATAGRAM as f64;
            }
            self.tokens -= DATAGRAM as f64;
            self.send();
        }
        false
    }

    fn send(&mut self) {
        self.model.handle_sent(self.now);
        self.sent += DATAGRAM;
        self.in_flight += DATAGRAM;
        let queue = self.link_free.saturating_duration_since(self.now);
        self.queue_sum += queue;
        self.queue_max = self.queue_max.max(queue);
        let dropped = queue > self.link.queue || self.rng.random_bool(self.link.loss);
        let mut acked = None;
        if queue <= self.link.queue {
            let takes = Duration::from_secs_f64(DATAGRAM as f64 / self.link.rate_bytes_s());
            self.link_free = self.link_free.max(self.now) + takes;
            let arrived = self.link_free + self.link.one_way;
            acked = Some(arrived + self.stalled(arrived) + self.link.one_way);
        }
        self.flight.push_back(Packet {
            sent: self.now,
            acked: acked.filter(|_| !dropped),
        });
    }

    /// How long the receiver does not look at what comes in now.
    fn stalled(&self, now: Instant) -> Duration {
        let Some((every, takes)) = self.stall else {
            return Duration::ZERO;
        };
        let since = (now - self.start).as_nanos() % every.as_nanos();
        takes.saturating_sub(Duration::from_nanos(since as u64))
    }

    fn utilization(&self, time: Duration) -> f64 {
        self.delivered as f64 / (self.link.rate_bytes_s() * time.as_secs_f64())
    }

    fn queue_mean(&self) -> Duration {
        self.queue_sum.div_f64((self.sent / DATAGRAM).max(1) as f64)
    }

    fn report(&self, time: Duration) -> String {
        format!(
            "{:>4} Mbit/s, {:>3} ms, {:.1} %: {:.3} used, {:.2} % lost, queue {:.1} ms mean, {:.1} max",
            self.link.rate_mbit_s,
            2 * self.link.one_way.as_millis(),
            100.0 * self.link.loss,
            self.utilization(time),
            100.0 * self.lost as f64 / self.sent.max(1) as f64,
            1e3 * self.queue_mean().as_secs_f64(),
            1e3 * self.queue_max.as_secs_f64(),
        )
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn fills_the_link_with_a_short_queue() {
    for rate in [100.0, 400.0] {
        for rtt in [20, 100, 200] {
            for loss in [0.0, 0.1, 1.0] {
                let mut sender = Sender::new(Link::new(rate, rtt, loss));
                sender.run(4 * SECOND);
                let started = sender.report(4 * SECOND);
                assert!(sender.utilization(4 * SECOND) > 0.45, "{started}");
                sender.measure_from_here();
                sender.run(16 * SECOND);
                let report = sender.report(16 * SECOND);
                println!("{report}   start: {started}");
                assert!(
                    sender.utilization(16 * SECOND) > 0.965 - loss / 100.0,
                    "{report}"
                );
                assert!(sender.queue_mean() < Duration::from_millis(20), "{report}");
            }
        }
    }
}

#[test]
fn a_known_rate_is_reached_at_once_and_without_a_queue() {
    let mut sender = Sender::new(Link::new(100.0, 100, 0.1));
    sender
        .model
        .set_link_rate(0.97 * sender.link.rate_bytes_s());
    sender.run(2 * SECOND);
    let report = sender.report(2 * SECOND);
    assert!(sender.utilization(2 * SECOND) > 0.85, "{report}");
    assert!(sender.queue_max < Duration::from_millis(40), "{report}");
}

#[test]
fn a_rate_that_is_configured_too_high_does_no_lasting_harm() {
    let mut sender = Sender::new(Link::new(50.0, 100, 0.1));
    sender.model.set_link_rate(3.0 * sender.link.rate_bytes_s());
    sender.run(3 * SECOND);
    sender.measure_from_here();
    sender.run(10 * SECOND);
    let report = sender.report(10 * SECOND);
    assert!(sender.utilization(10 * SECOND) > 0.95, "{report}");
    assert!(sender.queue_mean() < Duration::from_millis(25), "{report}");
}

#[test]
fn the_rate_of_the_connection_before_saves_round_trips() {
    let utilization = |known: Option<f64>| {
        let mut sender = Sender::new(Link::new(400.0, 100, 0.0));
        if let Some(part) = known {
            let bytes_s = part * sender.link.rate_bytes_s();
            sender.model.set_known_rate(bytes_s);
        }
        sender.run(SECOND);
        sender.utilization(SECOND)
    };
    let (fresh, known) = (utilization(None), utilization(Some(1.0)));
    assert!(known > fresh + 0.3, "{known} after {fresh}");
    // It may have become slower meanwhile.
    let mut sender = Sender::new(Link::new(20.0, 100, 0.0));
    sender
        .model
        .set_known_rate(5.0 * sender.link.rate_bytes_s());
    sender.run(3 * SECOND);
    sender.measure_from_here();
    sender.run(3 * SECOND);
    let report = sender.report(3 * SECOND);
    assert!(sender.utilization(3 * SECOND) > 0.95, "{report}");
}

#[test]
fn a_busy_receiver_is_no_queue() {
    let mut sender = Sender::new(Link::new(100.0, 100, 0.0));
    // Every 150 ms its acknowledgements are 30 ms late, and come all at once.
    sender.stall = Some((Duration::from_millis(150), Duration::from_millis(30)));
    sender.run(3 * SECOND);
    let report = sender.report(3 * SECOND);
    assert!(sender.utilization(3 * SECOND) > 0.6, "{report}");
}

#[test]
fn follows_a_link_that_changes_its_rate() {
    let mut sender = Sender::new(Link::new(100.0, 100, 0.1));
    sender.run(5 * SECOND);
    for rate in [20.0, 100.0, 50.0, 200.0] {
        sender.link.rate_mbit_s = rate;
        sender.run(5 * SECOND);
        sender.measure_from_here();
        sender.run(5 * SECOND);
        let report = sender.report(5 * SECOND);
        println!("{report}");
        assert!(sender.utilization(5 * SECOND) > 0.95, "{report}");
        assert!(sender.queue_mean() < Duration::from_millis(25), "{report}");
    }
}

#[test]
fn follows_a_link_that_changes_its_delay() {
    let mut sender = Sender::new(Link::new(100.0, 40, 0.0));
    sender.run(5 * SECOND);
    for rtt_ms in [150, 20] {
        sender.link.one_way = Duration::from_millis(rtt_ms) / 2;
        sender.run(4 * SECOND);
        sender.measure_from_here();
        sender.run(5 * SECOND);
        let report = sender.report(5 * SECOND);
        println!("{report}");
        assert!(sender.utilization(5 * SECOND) > 0.94, "{report}");
    }
}

#[test]
fn others_that_fill_the_queue_do_not_starve_it() {
    let mut sender = Sender::new(Link::new(100.0, 40, 0.0));
    sender.run(3 * SECOND);
    // What others keep in the queue delays us and does not go away when we yield.
    sender.link.one_way += Duration::from_millis(25);
    sender.run(3 * SECOND);
    sender.measure_from_here();
    sender.run(3 * SECOND);
    let report = sender.report(3 * SECOND);
    assert!(sender.utilization(3 * SECOND) > 0.9, "{report}");
}

#[test]
fn a_quiet_application_does_not_poison_the_estimate() {
    let mut sender = Sender::new(Link::new(100.0, 100, 0.0));
    sender.run(5 * SECOND);
    let before = sender.model.rate_bytes_s().unwrap();
    sender.app_bytes_s = Some(100e3);
    sender.run(30 * SECOND);
    assert!(sender.model.rate_bytes_s().unwrap() > 0.95 * before);
    sender.app_bytes_s = None;
    sender.measure_from_here();
    sender.run(2 * SECOND);
    let report = sender.report(2 * SECOND);
    assert!(sender.utilization(2 * SECOND) > 0.9, "{report}");
}

#[test]
fn a_quiet_start_is_no_full_link() {
    let mut sender = Sender::new(Link::new(100.0, 50, 0.0));
    sender.app_bytes_s = Some(200e3);
    sender.run(5 * SECOND);
    sender.app_bytes_s = None;
    sender.measure_from_here();
    sender.run(4 * SECOND);
    let report = sender.report(4 * SECOND);
    assert!(sender.utilization(4 * SECOND) > 0.85, "{report}");
}

#[test]
fn survives_a_blackout() {
    let mut sender = Sender::new(Link::new(100.0, 50, 0.0));
    sender.run(5 * SECOND);
    sender.model.handle_blackout(sender.now);
    assert!(sender.model.window_bytes() <= INITIAL_WINDOW_BYTES);
    sender.measure_from_here();
    sender.run(3 * SECOND);
    assert!(sender.utilization(3 * SECOND) > 0.8);
    assert!(sender.start < sender.now);
}
