//! Tells a gateway that was restarted from one that runs twice: a copied data directory has the same
//! key and the same incarnation.
//!
//! Every run of a gateway draws an [`Instance`]. The lock of the data directory keeps two runs of one
//! directory apart in time, so once a later run has said Hello the earlier one is dead and never
//! speaks again. Two of them that live at the same time are copies. This shows in two ways:
//!
//! - A caller has another instance than the gateway whose pair of connections stands, and that one
//!   still answers what is asked of it *after* the caller's Hello was here.
//! - An instance that another one has superseded completes a handshake that was begun *after* that.
//!
//! Whoever is linked stays; the other one is refused for as long as it runs. It has counted nothing
//! that a peer knows of, so `strait renew` can tell its counts apart.
//!
//! Where the incarnations differ, counters are apart already. Such gateways take turns, so that what
//! either counted reaches everybody.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::callers::Greeting;
use super::establish::EstablishError;
use super::shared::Shared;
use crate::line::Line;
use crate::log_pace::LogPace;
use crate::session::Instance;
use crate::wire::hello::Hello;

/// Superseded runs that are remembered; the oldest are forgotten.
const SUPERSEDED_MAX: usize = 64;
/// How long one of two gateways with different incarnations has the link at least.
const TURN: Duration = Duration::from_secs(5);

/// A run of a gateway of the peer's site, as it introduced itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) instance: Instance,
    pub(super) incarnation: u64,
    pub(super) address: SocketAddr,
}

impl Run {
    /// The one that said this Hello over this line.
    pub(super) fn of(hello: &Hello, line: &Line) -> Self {
        Self {
            instance: hello.session.instance,
            incarnation: hello.incarnation,
            address: line.connection.address(),
        }
    }
}

/// What to do with one that says Hello.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is linked.
    Welcome,
    /// Ask the one that is linked whether it lives.
    Doubtful,
    /// Its words were long under way: another one has superseded it since.
    Stale,
    /// It is a copy.
    Copy,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Copies {
    /// The run that was linked last, and since when.
    present: Option<(Run, Instant)>,
    /// Runs that have no business here any more, and since when.
    superseded: VecDeque<(Instance, Instant)>,
    /// Of lines about copies, which may dial often.
    pace: LogPace,
}

impl Copies {
    /// `begun`: when the handshake of the connection began, if that is known. `is_linked`: a pair of
    /// connections to the present run stands.
    pub(super) fn judge(&self, run: Run, begun: Option<Instant>, is_linked: bool) -> Verdict {
        if self.is_present(run) {
            return Verdict::Welcome;
        }
        let mut superseded = self.superseded.iter();
        match superseded.find(|(instance, _)| *instance == run.instance) {
            Some((_, since)) if begun.is_some_and(|begun| begun > *since) => Verdict::Copy,
            Some(_) => Verdict::Stale,
            None if is_linked && self.present.is_some() => Verdict::Doubtful,
            None => Verdict::Welcome,
        }
    }

    /// The verdict on a doubtful one now that the present one has answered.
    pub(super) fn rival(&mut self, link: &Shared, run: Run) -> Verdict {
        let now = Instant::now();
        let verdict = self.judge_rival(run, now);
        if verdict != Verdict::Copy {
            link.lock().telemetry.copies += 1;
            if let Some((linked, more)) = self.present().zip(self.pace.is_due(now)) {
                let (linked, other) = (linked.address, run.address);
                tracing::error!(
                    site = %link.site, %linked, %other, more,
                    "two gateways of the peer's site run, each another incarnation: they take turns"
                );
            }
        }
        verdict
    }

    /// The verdict on a doubtful one once the present one has answered.
    fn judge_rival(&self, run: Run, now: Instant) -> Verdict {
        match self.present {
            Some((present, _)) if present.incarnation == run.incarnation => Verdict::Copy,
            Some((_, since)) if now.duration_since(since) < TURN => Verdict::Stale,
            Some(_) | None => Verdict::Welcome,
        }
    }

    /// Whether this run is linked, or was last.
    fn is_present(&self, run: Run) -> bool {
        let present = self.present;
        present.is_some_and(|(present, _)| present.instance == run.instance)
    }

    /// The run that was linked last.
    pub(super) fn present(&self) -> Option<Run> {
        self.present.map(|(run, _)| run)
    }

    /// This run is linked now. The one before is over, unless its counters are apart from this one's.
    pub(super) fn link(&mut self, run: Run, now: Instant) {
        match self.present {
            Some((present, _)) if present.instance == run.instance => return,
            Some((present, _)) if present.incarnation == run.incarnation => {
                self.supersede(present.instance, now);
            }
            Some(_) | None => {}
        }
        self.present = Some((run, now));
    }

    /// This run is refused from now on.
    fn refuse(&mut self, run: Run, now: Instant) {
        self.supersede(run.instance, now);
    }

    /// Hangs up on a caller that this verdict was given on.
    pub(super) fn turn_away(&mut self, link: &Shared, greeting: &Greeting, verdict: Verdict) {
        let error = self.refusal(link, greeting.run(), verdict);
        let connection = &greeting.line.connection;
        connection.close(error.goodbye(), &error.to_string());
    }

    /// What to tell a run that this verdict was given on; says so to the operator too.
    pub(super) fn refusal(&mut self, link: &Shared, run: Run, verdict: Verdict) -> EstablishError {
        let Some((linked, _)) = self.present.filter(|_| verdict == Verdict::Copy) else {
            return EstablishError::Superseded;
        };
        let now = Instant::now();
        self.refuse(run, now);
        link.lock().telemetry.copies += 1;
        if let Some(more) = self.pace.is_due(now) {
            let (linked, refused) = (linked.address, run.address);
            tracing::error!(
                site = %link.site, %linked, %refused, more,
                "the peer's gateway runs twice, with one key and one incarnation: the second is refused"
            );
        }
        EstablishError::Copy {
            linked: linked.address,
        }
    }

    fn supersede(&mut self, instance: Instance, now: Instant) {
        if self.superseded.iter().any(|(known, _)| *known == instance) {
            return;
        }
        if self.superseded.len() == SUPERSEDED_MAX {
            self.superseded.pop_front();
        }
        self.superseded.push_back((instance, now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(instance: u64, incarnation: u64) -> Run {
        Run {
            instance: Instance(instance),
            incarnation,
            address: ([127, 0, 0, 1], 7440).into(),
        }
    }

    #[test]
    fn a_restart_is_welcome_at_once_where_no_connection_stands() {
        let (mut copies, now) = (Copies::default(), Instant::now());
        for instance in 1..200 {
            let restarted = run(instance, 7);
            let begun = now + Duration::from_millis(instance);
            assert_eq!(
                copies.judge(restarted, Some(begun), false),
                Verdict::Welcome
            );
            copies.link(restarted, begun);
            assert_eq!(copies.judge(restarted, Some(begun), true), Verdict::Welcome);
        }
        assert!(copies.superseded.len() <= SUPERSEDED_MAX);
    }

    #[test]
    fn one_that_speaks_after_it_was_superseded_is_a_copy() {
        let (mut copies, now) = (Copies::default(), Instant::now());
        let (first, second) = (run(1, 7), run(2, 7));
        copies.link(first, now);
        assert_eq!(copies.judge(second, Some(now), true), Verdict::Doubtful);
        // It did not answer: it was killed.
        let later = now + Duration::from_secs(1);
        copies.link(second, later);
        assert_eq!(copies.judge(first, Some(now), true), Verdict::Stale);
        assert_eq!(copies.judge(first, None, true), Verdict::Stale);
        let after = later + Duration::from_millis(1);
        for is_linked in [true, false] {
            assert_eq!(copies.judge(first, Some(after), is_linked), Verdict::Copy);
        }
        assert_eq!(copies.present(), Some(second));
    }

    #[test]
    fn a_rival_of_the_same_incarnation_is_refused_until_it_restarts() {
        let (mut copies, now) = (Copies::default(), Instant::now());
        let (first, second) = (run(1, 7), run(2, 7));
        copies.link(first, now);
        let much_later = now + 100 * TURN;
        assert_eq!(copies.judge_rival(second, much_later), Verdict::Copy);
        copies.refuse(second, much_later);
        let after = much_later + Duration::from_millis(1);
        assert_eq!(copies.judge(second, Some(after), false), Verdict::Copy);
        let restarted = run(3, 7);
        assert_eq!(
            copies.judge(restarted, Some(after), true),
            Verdict::Doubtful
        );
        assert_eq!(
            copies.judge(restarted, Some(after), false),
            Verdict::Welcome
        );
    }

    #[test]
    fn rivals_of_different_incarnations_take_turns() {
        let (mut copies, mut now) = (Copies::default(), Instant::now());
        let (mut linked, mut other) = (run(1, 7), run(2, 8));
        copies.link(linked, now);
        for _ in 0..5 {
            assert_eq!(copies.judge(other, Some(now), true), Verdict::Doubtful);
            assert_eq!(copies.judge_rival(other, now + TURN / 2), Verdict::Stale);
            now += TURN;
            assert_eq!(copies.judge_rival(other, now), Verdict::Welcome);
            copies.link(other, now);
            (linked, other) = (other, linked);
        }
    }
}
