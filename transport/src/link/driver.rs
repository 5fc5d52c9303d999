//! The life of a link: dial or be dialed, introduce, carry, begin again.

use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use bytes::Bytes;
use quinn::Connection;
use tokio::sync::mpsc::Receiver;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use super::Own;
use super::backoff::Backoff;
use super::carry::{Carrier, End};
use super::core::Generation;
use super::decoder::DecoderJob;
use super::establish::{
    self, Caller, EstablishError, Introduction, Line, Pair, STEP_MAX, broken_off,
};
use super::events::PeerInfo;
use super::shared::Shared;
use crate::config::PeerConfig;
use crate::quic::{self, Goodbye};
use crate::shaping::Shaper;
use crate::status::Phase;
use crate::wire::hello::{CODEC_HELLO_BYTES_MAX, Hello, PairToken};

/// A connection that lasted this long was of use: dial again at once.
const USEFUL: Duration = Duration::from_secs(5);
/// How long our own dial may go on after the peer's has come in.
const DIAL_GRACE: Duration = Duration::from_millis(500);

/// A caller's control connection and its Hello.
#[derive(Debug)]
pub(super) struct Call {
    line: Line,
    hello: Box<Hello>,
}

#[derive(Debug)]
pub(super) struct Driver {
    link: Arc<Shared>,
    own: Own,
    peer: PeerConfig,
    decoder: mpsc::Sender<DecoderJob>,
    /// Outlives connections: a new one starts no new burst.
    shaper: Arc<Shaper>,
    /// A bulk connection that came before it was asked for.
    early_bulk: Option<(PairToken, Line)>,
}

enum Begin {
    Dialed(Box<Pair>),
    Called(Call),
    /// Paused, resumed or closed.
    Command,
}

impl Driver {
    pub(super) fn new(
        link: Arc<Shared>,
        own: Own,
        peer: PeerConfig,
        decoder: mpsc::Sender<DecoderJob>,
    ) -> Self {
        let shaper = Arc::new(Shaper::new(peer.rate_bits_s, Instant::now()));
        Self {
            link,
            own,
            shaper,
            peer,
            decoder,
            early_bulk: None,
        }
    }

    pub(super) async fn run(mut self, mut callers: Receiver<Caller>) {
        let mut backoff = Backoff::new(self.yields());
        let mut call = None;
        while !self.link.lock().closed {
            if self.link.lock().paused {
                self.rest(&mut callers).await;
                continue;
            }
            let wait = backoff.next(&mut rand::rng());
            let begin = match call.take() {
                Some(call) => Ok(Begin::Called(call)),
                None => self.begin(wait, &mut callers).await,
            };
            let started = Instant::now();
            let end = match begin {
                Ok(Begin::Command) => continue,
                Ok(Begin::Dialed(pair)) => self.with_dialed(*pair, &mut callers).await,
                Ok(Begin::Called(call)) => self.with_call(call, &mut callers).await,
                Err(error) => Err(error),
            };
            if started.elapsed() > USEFUL {
                backoff.reset();
            }
            call = self.ended(end);
        }
        self.link.lock().down(Phase::Closed, "closed");
        self.link.wake_users();
    }

    /// The end with the larger key lets the other dial first.
    fn yields(&self) -> bool {
        self.own.identity.public_key() > self.peer.key
    }

    /// Records why there is no connection now; gives the call that replaces it, if any.
    fn ended(&self, end: Result<End, EstablishError>) -> Option<Call> {
        let site = &self.link.site;
        let (phase, reason, call) = match end {
            Ok(End::Replaced(call)) => (Phase::Connecting, "replaced".to_owned(), Some(call)),
            Ok(End::Command) if self.link.lock().paused => (Phase::Paused, "paused".into(), None),
            Ok(End::Command) => (Phase::Closed, "closed".into(), None),
            Ok(End::Broken(reason)) => {
                tracing::debug!(%site, %reason, "link down");
                (Phase::Connecting, reason, None)
            }
            Err(error) => {
                tracing::debug!(%site, %error, "no connection");
                (Phase::Connecting, error.to_string(), None)
            }
        };
        self.link.lock().down(phase, &reason);
        self.link.event.notify_one();
        call
    }

    /// While paused: nobody is dialed, nobody is answered.
    async fn rest(&self, callers: &mut Receiver<Caller>) {
        self.link.lock().telemetry.set_phase(Phase::Paused);
        tokio::select! {
            () = self.link.command.notified() => {}
            Some(caller) = callers.recv() => {
                let (line, _) = caller.into_parts();
                line.connection.close(Goodbye::Stopping.code(), b"paused");
            }
        }
        if !self.link.lock().paused {
            self.link.lock().telemetry.set_phase(Phase::Connecting);
        }
    }

    /// Whatever comes first: our dial goes through, or the peer's.
    async fn begin(
        &mut self,
        wait: Duration,
        callers: &mut Receiver<Caller>,
    ) -> Result<Begin, EstablishError> {
        let link = Arc::clone(&self.link);
        let peer = self.peer.clone();
        let identity = self.own.identity.clone();
        let dial = async move {
            sleep(wait).await;
            match peer.addresses.is_empty() {
                true => std::future::pending().await,
                false => establish::dial(&peer, &identity).await,
            }
        };
        tokio::pin!(dial);
        tokio::select! {
            pair = &mut dial => Ok(Begin::Dialed(Box::new(pair?))),
            () = link.command.notified() => Ok(Begin::Command),
            call = self.next_call(callers) => {
                // Both dialed: the one that should go first does.
                if !self.yields() && let Ok(Ok(pair)) = timeout(DIAL_GRACE, dial).await {
                    return Ok(Begin::Dialed(Box::new(pair)));
                }
                Ok(Begin::Called(call))
            }
        }
    }

    /// The next control connection that comes in. Keeps a bulk connection for later.
    async fn next_call(&mut self, callers: &mut Receiver<Caller>) -> Call {
        next_call(&mut self.early_bulk, callers).await
    }

    async fn with_dialed(
        &mut self,
        mut pair: Pair,
        callers: &mut Receiver<Caller>,
    ) -> Result<End, EstablishError> {
        let connections = [&pair.control, &pair.bulk].map(|line| line.connection.clone());
        let token = PairToken(rand::random());
        let mut early_bulk = self.early_bulk.take();
        let opened = async {
            let (generation, ours) = self.our_hello(token).await?;
            establish::write_hello(&mut pair.control.send, &ours).await?;
            establish::write_attach(&mut pair.bulk.send, token).await?;
            let theirs = establish::read_hello(&mut pair.control.recv).await?;
            let info = self.agree(&theirs, &pair.control).await?;
            Ok(Ok((generation, info)))
        };
        let opened = tokio::select! {
            opened = opened => opened,
            call = yield_to(self.yields(), &mut early_bulk, callers) => Ok(Err(call)),
        };
        self.early_bulk = early_bulk;
        match opened {
            Ok(Ok((generation, info))) => Ok(self.carry(pair, generation, info, callers).await),
            Ok(Err(call)) => Ok(End::Replaced(call)),
            Err(error) => Err(hang_up(&connections, error)),
        }
    }

    async fn with_call(
        &mut self,
        mut call: Call,
        callers: &mut Receiver<Caller>,
    ) -> Result<End, EstablishError> {
        let connections = [call.line.connection.clone()];
        let opened = async {
            let (generation, ours) = self.our_hello(call.hello.token).await?;
            establish::write_hello(&mut call.line.send, &ours).await?;
            let info = self.agree(&call.hello, &call.line).await?;
            let bulk = self.attached(call.hello.token, callers).await?;
            Ok((generation, info, bulk))
        };
        match opened.await {
            Ok((generation, info, bulk)) => {
                let pair = Pair {
                    control: call.line,
                    bulk,
                };
                Ok(self.carry(pair, generation, info, callers).await)
            }
            Err(error) => Err(hang_up(&connections, error)),
        }
    }

    /// Waits for the caller's bulk connection.
    async fn attached(
        &mut self,
        token: PairToken,
        callers: &mut Receiver<Caller>,
    ) -> Result<Line, EstablishError> {
        let early_bulk = &mut self.early_bulk;
        let found = timeout(STEP_MAX, async {
            loop {
                if let Some((early, line)) = early_bulk.take()
                    && early == token
                {
                    return Some(line);
                }
                let (line, introduction) = callers.recv().await?.into_parts();
                match introduction {
                    Introduction::Attach(token) => *early_bulk = Some((token, line)),
                    Introduction::Hello(_) => {
                        line.connection.close(Goodbye::Replaced.code(), b"busy");
                    }
                }
            }
        });
        let slow = EstablishError::Slow("open its bulk connection");
        found.await.ok().flatten().ok_or(slow)
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
        if theirs.site != self.peer.site {
            let reason = format!(
                "it calls itself {}, and its key belongs to {}: mend the names in the configuration",
                theirs.site, self.peer.site
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
                address: line.connection.remote_address(),
            }),
            Ok(Err(reason)) => Err(EstablishError::Violation(reason)),
            Err(_) => Err(broken_off("the encoder has stopped")),
        }
    }

    async fn carry(
        &mut self,
        pair: Pair,
        generation: Generation,
        info: PeerInfo,
        callers: &mut Receiver<Caller>,
    ) -> End {
        tracing::debug!(site = %self.link.site, address = %info.address, "link up");
        self.link.lock().up(generation, info);
        self.link.event.notify_one();
        self.link.encode.notify_one();
        let carrier = Carrier::new(&self.link, generation, self.decoder.clone(), &self.shaper);
        let early_bulk = &mut self.early_bulk;
        carrier.run(pair, next_call(early_bulk, callers)).await
    }
}

async fn next_call(
    early_bulk: &mut Option<(PairToken, Line)>,
    callers: &mut Receiver<Caller>,
) -> Call {
    loop {
        let Some(caller) = callers.recv().await else {
            return std::future::pending().await;
        };
        match caller.into_parts() {
            (line, Introduction::Hello(hello)) => return Call { line, hello },
            (line, Introduction::Attach(token)) => *early_bulk = Some((token, line)),
        }
    }
}

/// Both have dialed: the end with the larger key takes the other's call, and that one takes none.
async fn yield_to(
    yields: bool,
    early_bulk: &mut Option<(PairToken, Line)>,
    callers: &mut Receiver<Caller>,
) -> Call {
    loop {
        let call = next_call(early_bulk, callers).await;
        if yields {
            return call;
        }
        let connection = &call.line.connection;
        connection.close(
            Goodbye::Replaced.code(),
            b"both dialed, and mine goes first",
        );
    }
}

/// Closes what was opened; if the peer did so first, its reason is the better one.
fn hang_up(connections: &[Connection], error: EstablishError) -> EstablishError {
    let theirs = connections.iter().find_map(Connection::close_reason);
    for connection in connections {
        connection.close(error.goodbye().code(), error.to_string().as_bytes());
    }
    theirs.map_or(error, |reason| broken_off(quic::explain(&reason)))
}
