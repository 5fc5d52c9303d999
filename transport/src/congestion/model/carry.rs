//! Keeping the link full, whatever it and those who share it do.

use std::time::Duration;

use super::rounds::Round;
use super::{CARRY_QUEUE, DRAIN, Model, Phase, Queue};

/// A queue that is longer than our own window explains, and no longer than this, is that of others:
/// a window that yields to it starves beside them. Whose it is, a drain tells: the next one, or one
/// after so many such rounds, but not sooner than so many after the last.
const OTHERS_QUEUE_MAX: Queue = Queue {
    part: 1.0,
    min: Duration::from_millis(150),
};
const OTHERS_ROUNDS: u32 = 4;
const OTHERS_DRAIN_ROUNDS: u32 = 16;

/// Start-up begins again when rounds that found the link faster than known have scored so much:
/// such a round counts `GROWN`, any other takes one back. What a wider window brings shows a round
/// later, so only every other round of a growing rate is faster than the one before.
const GROWN_SCORE: u32 = 4;
const GROWN: u32 = 2;

/// Loss that means nothing by itself.
const LOSS_CEILING: f64 = 0.02;
/// Loss that means congestion even without a queue: a policer, or a very short buffer.
const LOSS_ABSOLUTE_CEILING: f64 = 0.15;
/// How the window answers to overload, round by round; the least of it; how it comes back.
const BACKOFF: f64 = 0.85;
const RESTRAINT_MIN: f64 = 0.5;
const RELAX: f64 = 1.05;

impl Model {
    /// A link that proves faster round after round is grown into, as in the beginning; one
    /// that proves overloaded is spared.
    pub(super) fn carry(
        &mut self,
        round: &Round,
        rounds: u32,
        grown: u32,
        overloaded: u32,
    ) -> Phase {
        let grown_score = match round.has_grown && !self.is_queue(round.rtt_min, CARRY_QUEUE) {
            true => grown + GROWN,
            false => grown.saturating_sub(1),
        };
        if grown_score >= GROWN_SCORE {
            return Phase::Startup {
                best_rate: round.rate_bytes_s,
                flat_rounds: 0,
                queue: None,
            };
        }
        // What the first round loses was sent before.
        let overloaded_rounds = match rounds > 0 && self.is_overloaded(round) {
            true => overloaded + 1,
            false => 0,
        };
        let is_others = self.is_queue(round.rtt_min, CARRY_QUEUE)
            && !self.is_queue(round.rtt_min, OTHERS_QUEUE_MAX);
        let is_held = is_others && overloaded_rounds == 0 && !round.app_limited;
        self.held_bytes = is_held.then_some(self.window_bytes);
        self.held_rounds = match is_held {
            true => self.held_rounds + 1,
            false => 0,
        };
        if self.held_rounds >= OTHERS_ROUNDS && rounds >= OTHERS_DRAIN_ROUNDS {
            return DRAIN;
        }
        match overloaded_rounds {
            0 => self.restraint = (self.restraint * RELAX).min(1.0),
            1 => self.rounds.forget_before(2),
            2.. => self.restrain(),
        }
        Phase::Carry {
            rounds: rounds.saturating_add(1),
            grown_score,
            overloaded_rounds,
        }
    }

    pub(super) fn restrain(&mut self) {
        self.restraint = (self.restraint * BACKOFF).max(RESTRAINT_MIN);
    }

    fn is_overloaded(&self, round: &Round) -> bool {
        match self.is_queue(round.rtt_min, CARRY_QUEUE) {
            true => round.lost > LOSS_CEILING,
            false => round.lost > LOSS_ABSOLUTE_CEILING,
        }
    }
}
