//! The life of one generation: batches flow over a pair of connections, and over a better one
//! as soon as it is found, without a gap.

use std::sync::{Arc, mpsc};
use std::time::Instant;

use super::Own;
use super::callers::{Call, Callers, Greeting, refuse};
use super::copies::{Copies, Verdict};
use super::core::Generation;
use super::decoder::DecoderJob;
use super::drain::Drain;
use super::establish::{self, EstablishError, Pair};
use super::pair::{Carrier, RunningPair};
use super::probe::Probe;
use super::scout::{Found, Scout};
use super::shared::Shared;
use crate::line::{Goodbye, Line};
use crate::shaping::Shaper;
use crate::tls::Keyring;
use crate::wire::hello::{PairToken, Prefix};

/// How a generation ended.
#[derive(Debug)]
pub(super) enum End {
    /// The link was paused or closed.
    Command,
    /// The peer dialed anew.
    Replaced(Box<Greeting>),
    /// The pair was of no use, for this reason; another was dialed meanwhile.
    Redialed(Box<Pair>, &'static str),
    /// The peer said that it stops, and why.
    Left(String),
    /// The peer said that we are a copy.
    Refused(String),
    /// For the reason given.
    Broken(String),
}

/// What ends the use of a pair.
enum Turn {
    HandOver(Box<Pair>),
    End(End),
}

/// See the module.
#[derive(Debug)]
pub(super) struct Generated<'a> {
    pub(super) link: &'a Arc<Shared>,
    pub(super) own: &'a Own,
    pub(super) generation: Generation,
    pub(super) token: PairToken,
    pub(super) dialed: bool,
    pub(super) decoder: &'a mpsc::Sender<DecoderJob>,
    pub(super) callers: &'a mut Callers,
    pub(super) scout: &'a mut Scout,
    pub(super) shaper: &'a mut Arc<Shaper>,
    pub(super) copies: &'a mut Copies,
}

impl Generated<'_> {
    /// Runs until something ends it, then closes what is open.
    pub(super) async fn run(mut self, pair: Pair) -> End {
        let mut current = self.start(pair);
        let mut draining = None;
        let end = loop {
            match self.until(&mut current, &mut draining).await {
                Turn::End(end) => break end,
                Turn::HandOver(pair) => {
                    let newer = self.start(*pair);
                    current.retire();
                    tracing::info!(
                        site = %self.link.site, address = %newer.address(),
                        transport = newer.transport().name(), "a newer connection takes over"
                    );
                    self.link.lock().telemetry.handovers += 1;
                    draining = Some(std::mem::replace(&mut current, newer));
                }
            }
        };
        let (goodbye, reason) = match &end {
            End::Command => (
                Goodbye::Stopping,
                "the gateway stops, or its link was paused",
            ),
            End::Replaced(_) | End::Redialed(..) => {
                (Goodbye::Replaced, "a newer connection takes over")
            }
            End::Left(reason) | End::Refused(reason) => (Goodbye::Stopping, reason.as_str()),
            End::Broken(reason) => (Goodbye::Violation, reason.as_str()),
        };
        if let Some(draining) = draining {
            draining.close(goodbye, reason).await;
        }
        current.close(goodbye, reason).await;
        end
    }

    fn start(&mut self, pair: Pair) -> RunningPair {
        // The rate may have been changed; if not, a new pair starts no new burst.
        let rate_bits_s = self.link.settings().rate_bits_s;
        if self.shaper.rate_bits_s() != rate_bits_s {
            *self.shaper = Arc::new(Shaper::new(rate_bits_s, Instant::now()));
        }
        let carrier = Carrier {
            link: Arc::clone(self.link),
            generation: self.generation,
            decoder: self.decoder.clone(),
            shaper: Arc::clone(self.shaper),
            dialed: self.dialed,
            drain: Arc::new(Drain::new()),
            in_flight: Arc::default(),
            is_lossy: Arc::default(),
        };
        RunningPair::start(carrier, pair)
    }

    /// Looks after the pair, and the one before it, until there is something to do.
    async fn until(
        &mut self,
        current: &mut RunningPair,
        draining: &mut Option<RunningPair>,
    ) -> Turn {
        let search = self.scout.search(
            self.link,
            self.own,
            current,
            self.dialed.then_some(self.token),
        );
        tokio::pin!(search);
        let mut probe = None;
        loop {
            tokio::select! {
                reason = current.ended() => {
                    return Turn::End(match probe.take() {
                        Some(Probe { greeting, .. }) => End::Replaced(Box::new(greeting)),
                        None if current.has_left(Goodbye::Copy) => End::Refused(reason),
                        None if current.has_left(Goodbye::Stopping) => End::Left(reason),
                        None => End::Broken(reason),
                    });
                }
                (greeting, is_answered) = outcome(&mut probe) => {
                    let verdict = match is_answered {
                        true => self.copies.rival(self.link, greeting.run()),
                        false => Verdict::Welcome,
                    };
                    match verdict {
                        Verdict::Welcome => return Turn::End(End::Replaced(Box::new(greeting))),
                        Verdict::Doubtful | Verdict::Stale | Verdict::Copy => {
                            self.copies.turn_away(self.link, &greeting, verdict);
                        }
                    }
                }
                () = self.link.command.notified() => return Turn::End(End::Command),
                () = self.link.keys.notified() => {
                    if !is_pinned(&self.own.ring, self.link, current) {
                        let reason = "the peer's key is pinned no longer".to_owned();
                        return Turn::End(End::Broken(reason));
                    }
                }
                dry = drained(draining) => match dry {
                    Ok(old) => old.close(Goodbye::Replaced, "a newer connection took over").await,
                    Err(reason) => return Turn::End(End::Broken(reason)),
                },
                found = &mut search, if draining.is_none() => return match found {
                    Found::Joined(pair) => Turn::HandOver(pair),
                    Found::Instead(pair, reason) => Turn::End(End::Redialed(pair, reason)),
                },
                call = self.callers.next() => match call {
                    Call::Hello(greeting) => {
                        let begun = Some(greeting.begun);
                        let verdict = self.copies.judge(greeting.run(), begun, true);
                        match verdict {
                            Verdict::Welcome => return Turn::End(End::Replaced(Box::new(greeting))),
                            Verdict::Doubtful => {
                                let control = current.control();
                                probe = Some(Probe::new(greeting, self.link, control));
                            }
                            Verdict::Stale | Verdict::Copy => {
                                self.copies.turn_away(self.link, &greeting, verdict);
                            }
                        }
                    }
                    Call::Join(line, token) if token == self.token && draining.is_none() => {
                        match agree_to_join(line, token, self.callers).await {
                            Ok(pair) => return Turn::HandOver(Box::new(pair)),
                            Err(error) => {
                                tracing::debug!(site = %self.link.site, %error, "no handover");
                            }
                        }
                    }
                    Call::Join(line, _) => refuse(&line),
                },
            }
        }
    }
}

/// What became of the question whether the linked gateway lives, and who waits for that.
async fn outcome(probe: &mut Option<Probe>) -> (Greeting, bool) {
    let Some(asking) = probe else {
        return std::future::pending().await;
    };
    let is_answered = asking.is_answered().await;
    match probe.take() {
        Some(Probe { greeting, .. }) => (greeting, is_answered),
        None => std::future::pending().await,
    }
}

/// Both keys of a pair belong to the link's site.
fn is_pinned(ring: &Keyring, link: &Shared, pair: &RunningPair) -> bool {
    let keys = pair.keys();
    keys.iter().all(|key| {
        let site = key.and_then(|key| ring.site_of(&key));
        site.as_ref() == Some(&link.site)
    })
}

/// Waits until the pair before, if there is one, is dry, and takes it out.
async fn drained(draining: &mut Option<RunningPair>) -> Result<RunningPair, String> {
    let Some(pair) = draining else {
        return std::future::pending().await;
    };
    pair.drained().await?;
    draining.take().ok_or_else(|| "it is gone".into())
}

/// The peer has dialed a newer pair: says yes when both of its connections are there.
async fn agree_to_join(
    mut control: Line,
    token: PairToken,
    callers: &mut Callers,
) -> Result<Pair, EstablishError> {
    let bulk = callers.bulk(token).await?;
    establish::write_prefix(&mut control, Prefix::Join(token)).await?;
    Ok(Pair { control, bulk })
}
