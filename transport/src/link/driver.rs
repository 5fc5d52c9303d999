//! The life of a link: dial or be dialed, introduce, carry, begin again.

use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::mpsc::Receiver;
use tokio::sync::oneshot;
use tokio::time::sleep;

use super::Own;
use super::backoff::Backoff;
use super::callers::{Callers, Greeting};
use super::carry::{End, Generated};
use super::copies::{Copies, Run, Verdict};
use super::core::Generation;
use super::decoder::DecoderJob;
use super::dial::{Effort, dial};
use super::establish::{self, Caller, EstablishError, Pair, agreed, broken_off};
use super::events::PeerInfo;
use super::scout::Scout;
use super::shared::Shared;
use crate::line::{Connection, Goodbye, Line};
use crate::shaping::Shaper;
use crate::status::Phase;
use crate::wire::hello::{CODEC_HELLO_BYTES_MAX, Hello, OURS, PairToken, Prefix};

/// A connection that lasted this long was of use: dial again at once.
const USEFUL: Duration = Duration::from_secs(5);
/// A peer that was there no longer ago is dialed over and over; one that stays away, now and then.
const MISSED: Duration = Duration::from_secs(300);

#[derive(Debug)]
pub(super) struct Driver {
    link: Arc<Shared>,
    own: Own,
    decoder: mpsc::Sender<DecoderJob>,
    callers: Callers,
    scout: Scout,
    copies: Copies,
    /// When the peer was last there.
    seen: Option<Instant>,
    /// Outlives connections: a new one starts no new burst.
    shaper: Arc<Shaper>,
}

enum Begin {
    /// When the dial began, if that is known.
    Dialed(Box<Pair>, Option<Instant>),
    Called(Greeting),
    /// Paused, resumed or closed.
    Command,
}

/// Both ends have introduced themselves over this pair.
struct Opened {
    pair: Pair,
    generation: Generation,
    token: PairToken,
    peer: PeerInfo,
    run: Run,
    dialed: bool,
}

impl Driver {
    pub(super) fn new(
        link: Arc<Shared>,
        own: Own,
        decoder: mpsc::Sender<DecoderJob>,
        callers: Receiver<Caller>,
    ) -> Self {
        let shaper = Shaper::new(link.settings().rate_bits_s, Instant::now());
        Self {
            link,
            own,
            decoder,
            callers: Callers::new(callers),
            scout: Scout::new(),
            copies: Copies::default(),
            seen: None,
            shaper: Arc::new(shaper),
        }
    }

    pub(super) async fn run(mut self) {
        let mut backoff = Backoff::new(self.yields());
        let mut next = None;
        while !self.link.lock().closed {
            if self.link.lock().paused {
                self.rest().await;
                continue;
            }
            if *self.link.refused.borrow() {
                self.stay_away().await;
                continue;
            }
            let wait = backoff.next(&mut rand::rng());
            let begin = match next.take() {
                Some(begin) => Ok(begin),
                None => self.begin(wait).await,
            };
            let started = Instant::now();
            let opened = match begin {
                Ok(Begin::Command) => continue,
                Ok(Begin::Dialed(pair, begun)) => self.open_dialed(*pair, begun).await,
                Ok(Begin::Called(greeting)) => self.open_called(greeting).await.map(Ok),
                Err(error) => Err(error),
            };
            let end = match opened {
                Ok(Ok(opened)) => Ok(self.carry(opened).await),
                Ok(Err(greeting)) => Ok(End::Replaced(Box::new(greeting))),
                Err(error) => Err(error),
            };
            if started.elapsed() > USEFUL {
                backoff.reset();
            }
            next = self.ended(end);
        }
        self.link.lock().down(Phase::Closed, "closed", true);
        self.link.wake_users();
    }

    /// The end whose site's name is greater lets the other dial first.
    fn yields(&self) -> bool {
        self.own.site > self.link.site
    }

    /// Records why there is no connection now; says what comes next, if that is known.
    fn ended(&self, end: Result<End, EstablishError>) -> Option<Begin> {
        let site = &self.link.site;
        let has_left = matches!(end, Ok(End::Left(_)));
        let (phase, reason, next) = match end {
            Ok(End::Replaced(greeting)) => {
                let next = Begin::Called(*greeting);
                (Phase::Connecting, "replaced".to_owned(), Some(next))
            }
            Ok(End::Redialed(pair, reason)) => {
                let next = Begin::Dialed(pair, None);
                (Phase::Connecting, reason.to_owned(), Some(next))
            }
            Ok(End::Command) if self.link.lock().paused => (Phase::Paused, "paused".into(), None),
            Ok(End::Command) => (Phase::Closed, "closed".into(), None),
            Ok(End::Refused(reason)) | Err(EstablishError::RefusedAsCopy(reason)) => {
                self.refused(&reason);
                (Phase::Connecting, reason, None)
            }
            Ok(End::Left(reason) | End::Broken(reason)) => {
                tracing::debug!(%site, %reason, "link down");
                (Phase::Connecting, reason, None)
            }
            Err(error) => {
                tracing::debug!(%site, %error, "no connection");
                (Phase::Connecting, error.to_string(), None)
            }
        };
        let is_meant = has_left || phase != Phase::Connecting;
        self.link.lock().down(phase, &reason, is_meant);
        self.link.event.notify_one();
        next
    }

    /// The peer is linked with another gateway of ours: this one stays away for as long as it runs.
    fn refused(&self, reason: &str) {
        tracing::error!(
            site = %self.link.site, reason,
            "the peer refuses this gateway as a copy: stop one of the two, then restart this one or \
             run `strait renew` on its data directory"
        );
        self.link.lock().telemetry.refused_as_copy = Some(reason.to_owned());
        self.link.refused.send_replace(true);
    }

    /// While refused as a copy: nobody is dialed, nobody is answered.
    async fn stay_away(&mut self) {
        tokio::select! {
            () = self.link.command.notified() => {}
            () = self.callers.turn_away() => {}
        }
    }

    /// While paused: nobody is dialed, nobody is answered.
    async fn rest(&mut self) {
        self.link.lock().telemetry.set_phase(Phase::Paused);
        tokio::select! {
            () = self.link.command.notified() => {}
            () = self.callers.turn_away() => {}
        }
        if !self.link.lock().paused {
            self.link.lock().telemetry.set_phase(Phase::Connecting);
        }
    }

    /// Whatever comes first: our dial goes through, or the peer's.
    async fn begin(&mut self, wait: Duration) -> Result<Begin, EstablishError> {
        let peer = self.link.settings();
        let own = self.own.clone();
        let begun = Instant::now();
        let effort = match self.seen.is_some_and(|seen| seen.elapsed() < MISSED) {
            true => Effort::Repeated,
            false => Effort::Once,
        };
        let dial = async move {
            sleep(wait).await;
            match peer.addresses.is_empty() {
                true => std::future::pending().await,
                false => dial(&peer, &own, peer.transport, effort).await,
            }
        };
        tokio::pin!(dial);
        tokio::select! {
            pair = &mut dial => Ok(Begin::Dialed(Box::new(pair?), Some(begun))),
            () = self.link.command.notified() => Ok(Begin::Command),
            // What was read anew counts at once.
            () = self.link.renew.notified() => Ok(Begin::Command),
            // Of our own dial the peer has heard nothing yet that it could hold against this.
            greeting = self.callers.next_hello() => Ok(Begin::Called(greeting)),
        }
    }

    /// Introduces us to whom we dialed, unless the peer's call takes precedence.
    async fn open_dialed(
        &mut self,
        mut pair: Pair,
        begun: Option<Instant>,
    ) -> Result<Result<Opened, Greeting>, EstablishError> {
        let connections = [&pair.control, &pair.bulk].map(|line| line.connection.clone());
        let token = PairToken(rand::random());
        let yields = self.yields();
        let opening = Opening {
            link: &self.link,
            own: &self.own,
            decoder: &self.decoder,
        };
        let opened = async {
            let (generation, ours) = opening.our_hello(token).await?;
            establish::write_prefix(&mut pair.bulk, Prefix::Attach(token)).await?;
            establish::write_hello(&mut pair.control, &ours).await?;
            let theirs = establish::read_hello(&mut pair.control).await?;
            let run = Run::of(&theirs, &pair.control);
            opening.admit(&mut self.copies, run, begun)?;
            let peer = opening.agree(&theirs, &pair.control).await?;
            Ok((generation, peer, run))
        };
        let opened = tokio::select! {
            opened = opened => opened,
            greeting = yield_to(yields, &mut self.callers) => return Ok(Err(greeting)),
        };
        match opened {
            Ok((generation, peer, run)) => Ok(Ok(Opened {
                pair,
                generation,
                token,
                peer,
                run,
                dialed: true,
            })),
            Err(error) => Err(hang_up(&connections, error)),
        }
    }

    /// Introduces us to who called.
    async fn open_called(&mut self, greeting: Greeting) -> Result<Opened, EstablishError> {
        let run = greeting.run();
        let Greeting {
            mut line,
            begun,
            hello,
        } = greeting;
        let connections = [line.connection.clone()];
        let token = hello.token;
        let opening = Opening {
            link: &self.link,
            own: &self.own,
            decoder: &self.decoder,
        };
        let opened = async {
            opening.admit(&mut self.copies, run, Some(begun))?;
            let (generation, ours) = opening.our_hello(token).await?;
            establish::write_hello(&mut line, &ours).await?;
            let peer = opening.agree(&hello, &line).await?;
            let bulk = self.callers.bulk(token).await?;
            Ok((generation, peer, bulk))
        };
        match opened.await {
            Ok((generation, peer, bulk)) => Ok(Opened {
                pair: Pair {
                    control: line,
                    bulk,
                },
                generation,
                token,
                peer,
                run,
                dialed: false,
            }),
            Err(error) => Err(hang_up(&connections, error)),
        }
    }

    async fn carry(&mut self, opened: Opened) -> End {
        let Opened {
            pair,
            generation,
            token,
            peer,
            run,
            dialed,
        } = opened;
        self.copies.link(run, Instant::now());
        tracing::debug!(site = %self.link.site, address = %peer.address, "link up");
        self.link.lock().up(generation, peer);
        self.link.event.notify_one();
        self.link.encode.notify_one();
        let generated = Generated {
            link: &self.link,
            own: &self.own,
            generation,
            token,
            dialed,
            decoder: &self.decoder,
            callers: &mut self.callers,
            scout: &mut self.scout,
            shaper: &mut self.shaper,
            copies: &mut self.copies,
        };
        let end = generated.run(pair).await;
        self.seen = Some(Instant::now());
        end
    }
}

/// The two Hellos.
struct Opening<'a> {
    link: &'a Shared,
    own: &'a Own,
    decoder: &'a mpsc::Sender<DecoderJob>,
}

impl Opening<'_> {
    /// Refuses a run that another one has superseded; no pair of connections stands now.
    fn admit(
        &self,
        copies: &mut Copies,
        run: Run,
        begun: Option<Instant>,
    ) -> Result<(), EstablishError> {
        match copies.judge(run, begun, false) {
            Verdict::Welcome | Verdict::Doubtful => Ok(()),
            verdict @ (Verdict::Stale | Verdict::Copy) => {
                Err(copies.refusal(self.link, run, verdict))
            }
        }
    }

    /// Ends everything of the connection before, and says what we hold.
    async fn our_hello(&self, token: PairToken) -> Result<(Generation, Hello), EstablishError> {
        let generation = self.link.lock().begin();
        let (reply, held) = oneshot::channel();
        let asked = self.decoder.send(DecoderJob::Hello(reply));
        asked.map_err(|_| broken_off("the decoder has stopped"))?;
        let codec = held
            .await
            .map_err(|_| broken_off("the decoder has stopped"))?;
        if codec.len() > CODEC_HELLO_BYTES_MAX {
            return Err(broken_off("our decoder's hello is too long"));
        }
        let hello = Hello {
            versions: OURS,
            site: self.own.site.clone(),
            incarnation: self.own.incarnation,
            token,
            session: self.link.lock().hello(),
            codec,
        };
        Ok((generation, hello))
    }

    /// Takes the peer's Hello in, session first, then codec.
    async fn agree(&self, theirs: &Hello, line: &Line) -> Result<PeerInfo, EstablishError> {
        if theirs.site != self.link.site {
            let reason = format!(
                "it calls itself {}, and its key belongs to {}: mend the names in the configuration",
                theirs.site, self.link.site
            );
            return Err(EstablishError::Violation(reason));
        }
        let codec = Bytes::clone(&theirs.codec);
        let taken = self.link.lock().handle_hello(&theirs.session, codec);
        let taken = taken.map_err(|error| EstablishError::Violation(error.to_string()))?;
        self.link.encode.notify_one();
        self.link.wake_users();
        match taken.await {
            Ok(Ok(())) => Ok(PeerInfo {
                site: theirs.site.clone(),
                incarnation: theirs.incarnation,
                address: line.connection.address(),
                wire_version: agreed(theirs.versions)?,
            }),
            Ok(Err(reason)) => Err(EstablishError::Violation(reason)),
            Err(_) => Err(broken_off("the encoder has stopped")),
        }
    }
}

/// Both have dialed: the end that yields takes the other's call, and that one takes none.
async fn yield_to(yields: bool, callers: &mut Callers) -> Greeting {
    loop {
        let greeting = callers.next_hello().await;
        if yields {
            return greeting;
        }
        let connection = &greeting.line.connection;
        connection.close(Goodbye::Replaced, "both dialed, and mine goes first");
    }
}

/// Closes what was opened; if the peer did so first, its reason is the better one.
fn hang_up(connections: &[Connection], error: EstablishError) -> EstablishError {
    let theirs = connections.iter().find_map(Connection::ended);
    for connection in connections {
        connection.close(error.goodbye(), &error.to_string());
    }
    match theirs {
        Some(ended) if ended.goodbye == Some(Goodbye::Copy) => {
            EstablishError::RefusedAsCopy(ended.reason)
        }
        Some(ended) => broken_off(ended.reason),
        None => error,
    }
}
