//! The window: rate × round trip, and a little more.
//!
//! After BBR (draft-ietf-ccwg-bbr): the rate is the fastest of the last ten round trips, the
//! round trip is the shortest seen, and their product is what the link holds without a queue.
//! Where BBR paces, QUIC's sender here knows only the window (it paces at 1.25 × window / RTT),
//! so the window alone does the work: a little above the product, so that the link never runs
//! dry and a faster link shows; below it for one round every few seconds, so that the queue
//! empties and the round trip shows. Single losses mean nothing on such links; many at once do.

mod carry;
#[cfg(test)]
mod replay;
mod rounds;
mod samples;
#[cfg(test)]
mod simulation;
mod startup;

use std::time::{Duration, Instant};

use self::rounds::Rounds;
use self::samples::Samples;
use self::startup::Standing;

/// More than the 10 datagrams of RFC 9002: a gateway's peer is known to expect data, and the
/// sender paces from the first packet on.
pub(super) const INITIAL_WINDOW_BYTES: u64 = 64 << 10;
/// Once the round trip is known: a long link holds much, and at this rate a slow one gets no queue
/// worth mention.
const INITIAL_BYTES_S: f64 = 1.25e6;
const WINDOW_DATAGRAMS_MIN: u64 = 4;
const WINDOW_BYTES_MAX: u64 = 256 << 20;

/// How far above rate × round trip the window stands while carrying.
const CARRY_GAIN: f64 = 1.05;
/// Time that end systems take to react, in which the link must not run dry.
const SLACK: Duration = Duration::from_millis(4);
/// While the queue is to empty.
const DRAIN_GAIN: f64 = 0.75;
/// How old the shortest round trip may be.
const RTT_MIN_AGE_MAX: Duration = Duration::from_secs(5);

/// More than what [`CARRY_GAIN`] and [`SLACK`] put in the queue.
const CARRY_QUEUE: Queue = Queue {
    part: 1.0 / 10.0,
    min: Duration::from_millis(5),
};
/// What is tried at once of the rate that the connection before had (careful resumption,
/// draft-ietf-tsvwg-careful-resume, section 4.2).
const KNOWN_PART: f64 = 0.5;

/// One packet's acknowledgement.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ack {
    pub(super) now: Instant,
    pub(super) sent: Instant,
    pub(super) bytes: u64,
    /// The sender has nothing more to send.
    pub(super) app_limited: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    /// Growing by the same factor in each round trip.
    Startup {
        best_rate: f64,
        flat_rounds: u32,
        queue: Option<Standing>,
    },
    /// Letting the queue run out; the shortest round trip seen meanwhile.
    Drain {
        until: Until,
        rtt_min: Option<Duration>,
    },
    /// Filling the link: for how many rounds now, how surely it is faster than was known, and how
    /// many rounds in a row have found it overloaded.
    Carry {
        rounds: u32,
        grown_score: u32,
        overloaded_rounds: u32,
    },
}

/// How much longer than the shortest a round trip is when it has waited in a queue: a part of it,
/// and this at least.
#[derive(Clone, Copy, Debug)]
struct Queue {
    part: f64,
    min: Duration,
}

/// When a drain ends.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Until {
    /// Once no more than the window is in flight.
    Drained,
    /// One round later.
    Round,
}

const DRAIN: Phase = Phase::Drain {
    until: Until::Drained,
    rtt_min: None,
};
const CARRY: Phase = Phase::Carry {
    rounds: 0,
    grown_score: 0,
    overloaded_rounds: 0,
};

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Model {
    phase: Phase,
    rounds: Rounds,
    samples: Samples,
    window_bytes: f64,
    /// In start-up, since the last run of acknowledgements.
    startup_acked_bytes: u64,
    /// The shortest round trip, and when it was seen or confirmed.
    rtt_min: Option<(Duration, Instant)>,
    /// The link's rate, where it is configured.
    link_bytes_s: Option<f64>,
    /// The rate to start at; until it is used.
    start_bytes_s: Option<f64>,
    /// The window that is kept up against others' queue, and for how many rounds now.
    held_bytes: Option<f64>,
    held_rounds: u32,
    /// 1, or less after loss above the ceiling; comes back slowly.
    restraint: f64,
    datagram_bytes: u64,
}

impl Model {
    pub(super) fn new(datagram_bytes: u16) -> Self {
        Self {
            phase: Phase::Startup {
                best_rate: 0.0,
                flat_rounds: 0,
                queue: None,
            },
            startup_acked_bytes: 0,
            rounds: Rounds::default(),
            samples: Samples::default(),
            window_bytes: INITIAL_WINDOW_BYTES as f64,
            rtt_min: None,
            link_bytes_s: None,
            start_bytes_s: Some(INITIAL_BYTES_S),
            held_bytes: None,
            held_rounds: 0,
            restraint: 1.0,
            datagram_bytes: datagram_bytes.into(),
        }
    }

    pub(super) fn window_bytes(&self) -> u64 {
        let min = WINDOW_DATAGRAMS_MIN * self.datagram_bytes;
        (self.window_bytes as u64).clamp(min, WINDOW_BYTES_MAX)
    }

    pub(super) fn phase_name(&self) -> &'static str {
        match self.phase {
            Phase::Startup { .. } => "start-up",
            Phase::Drain { .. } => "drain",
            Phase::Carry { .. } => "carry",
        }
    }

    pub(super) fn rate_bytes_s(&self) -> Option<f64> {
        self.rounds.max_rate()
    }

    pub(super) fn set_link_rate(&mut self, bytes_s: f64) {
        self.link_bytes_s = Some(bytes_s);
        self.update_window();
    }

    pub(super) fn set_known_rate(&mut self, bytes_s: f64) {
        self.start_bytes_s = Some(KNOWN_PART * bytes_s);
        self.update_window();
    }

    pub(super) fn set_mtu(&mut self, datagram_bytes: u16) {
        self.datagram_bytes = datagram_bytes.into();
    }

    pub(super) fn handle_sent(&mut self, now: Instant) {
        if let Phase::Startup { .. } = self.phase {
            self.samples.handle_sent(now);
        }
    }

    pub(super) fn handle_ack(&mut self, ack: Ack) {
        let rtt = ack.now.saturating_duration_since(ack.sent);
        self.rounds
            .handle_ack(ack.now, ack.sent, ack.bytes, ack.app_limited);
        match &mut self.phase {
            Phase::Startup { .. } => {
                self.samples.handle_ack(ack.now, ack.sent, ack.bytes);
                if !ack.app_limited {
                    self.startup_acked_bytes += ack.bytes;
                }
            }
            Phase::Drain { rtt_min, .. } => {
                *rtt_min = Some(rtt_min.map_or(rtt, |min| min.min(rtt)));
            }
            Phase::Carry { .. } => {}
        }
        if self.rtt_min.is_none_or(|(min, _)| rtt <= min) {
            self.rtt_min = Some((rtt, ack.now));
        }
    }

    pub(super) fn handle_acks_end(&mut self, now: Instant, in_flight: u64, app_limited: bool) {
        let round = self.rounds.poll(now, app_limited);
        self.phase = match self.phase {
            Phase::Startup { .. } => {
                let acked_bytes = std::mem::take(&mut self.startup_acked_bytes);
                self.grow(in_flight, acked_bytes);
                match app_limited {
                    true => self.phase,
                    false => self.start_up(now, round.as_ref(), acked_bytes),
                }
            }
            Phase::Drain { until, rtt_min } => {
                self.drain(now, in_flight, round.is_some(), until, rtt_min)
            }
            Phase::Carry { .. } if self.is_rtt_min_old(now) => DRAIN,
            Phase::Carry {
                rounds,
                grown_score,
                overloaded_rounds,
            } => match &round {
                Some(round) => self.carry(round, rounds, grown_score, overloaded_rounds),
                None => self.phase,
            },
        };
        self.update_window();
    }

    pub(super) fn handle_lost(&mut self, bytes: u64) {
        self.rounds.handle_lost(bytes);
    }

    /// The network asked for restraint (ECN).
    pub(super) fn handle_marked(&mut self, _now: Instant) {
        self.restrain();
    }

    /// Nothing came through for a long time: what we knew may be void.
    pub(super) fn handle_blackout(&mut self, _now: Instant) {
        *self = Self {
            datagram_bytes: self.datagram_bytes,
            link_bytes_s: self.link_bytes_s,
            start_bytes_s: None,
            ..Self::new(1200)
        };
    }

    fn begin_drain(&mut self) -> Phase {
        self.samples = Samples::default();
        DRAIN
    }

    fn drain(
        &mut self,
        now: Instant,
        in_flight: u64,
        round_over: bool,
        until: Until,
        rtt_min: Option<Duration>,
    ) -> Phase {
        match until {
            Until::Drained if in_flight > self.window_bytes() => Phase::Drain { until, rtt_min },
            Until::Drained => Phase::Drain {
                until: Until::Round,
                rtt_min,
            },
            Until::Round if !round_over => Phase::Drain { until, rtt_min },
            Until::Round => {
                self.held_bytes = None;
                self.held_rounds = 0;
                let is_others = rtt_min.is_some_and(|rtt| self.is_queue(rtt, CARRY_QUEUE));
                // Without a queue of ours this is what the link takes now, be it more than before.
                self.rtt_min = rtt_min.map(|rtt| (rtt, now)).or(self.rtt_min);
                match is_others {
                    true => self.start_again(),
                    false => CARRY,
                }
            }
        }
    }

    fn is_rtt_min_old(&self, now: Instant) -> bool {
        let age = |(_, at)| now.saturating_duration_since(at);
        self.rtt_min
            .map(age)
            .is_some_and(|age| age > RTT_MIN_AGE_MAX)
    }

    /// Whether a round trip of `rtt` has waited in a queue.
    fn is_queue(&self, rtt: Duration, queue: Queue) -> bool {
        let Some((rtt_min, _)) = self.rtt_min else {
            return false;
        };
        rtt.saturating_sub(rtt_min) > queue.min.max(rtt_min.mul_f64(queue.part))
    }

    fn update_window(&mut self) {
        let Some((rtt_min, _)) = self.rtt_min else {
            return;
        };
        let filling = |rate: f64| rate * (rtt_min.mul_f64(CARRY_GAIN) + SLACK).as_secs_f64();
        // Shaped to less than its rate, a link needs no window that finds its limit.
        let limit = |rate: f64| rate * (rtt_min + SLACK).as_secs_f64();
        let limit = self.link_bytes_s.map(limit);
        let start = self.start_bytes_s.take().unwrap_or(0.0) * rtt_min.as_secs_f64();
        let window = match (self.phase, self.rounds.max_rate()) {
            // A link whose rate is known is started at that rate.
            (Phase::Startup { .. }, _) => limit.unwrap_or(self.window_bytes.max(start)),
            (_, None) => return,
            (Phase::Drain { .. }, Some(rate)) => rate * rtt_min.as_secs_f64() * DRAIN_GAIN,
            (Phase::Carry { .. }, Some(rate)) => {
                let held = self.held_bytes.unwrap_or(0.0);
                filling(rate).max(held) * self.restraint
            }
        };
        self.window_bytes = window.min(limit.unwrap_or(f64::MAX));
    }
}
