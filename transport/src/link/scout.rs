//! Looks for a better way to the peer while a link is up.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::sleep;

use super::Own;
use super::backoff::Backoff;
use super::dial::{Effort, dial};
use super::establish::{self, EstablishError, Pair};
use super::pair::RunningPair;
use super::shared::Shared;
use crate::status::Transport;
use crate::wire::hello::PairToken;

/// A peer that answers nothing for this long over QUIC is tried over TCP.
const SILENCE: Duration = Duration::from_secs(2);
/// A QUIC connection that lasted this long has shown that UDP gets through.
const PROVEN: Duration = Duration::from_secs(60);
/// Between two attempts.
const REST: Duration = Duration::from_secs(1);

/// What was found.
#[derive(Debug)]
pub(super) enum Found {
    /// The peer has agreed to go on over this pair.
    Joined(Box<Pair>),
    /// The old pair is dead: begin anew over this one.
    Instead(Box<Pair>),
}

/// What to look for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    /// Any new pair, as keys or settings have changed.
    Renewal,
    /// A way back to QUIC.
    Quic,
    /// TCP, as QUIC has gone silent.
    Rescue,
}

#[derive(Debug)]
pub(super) struct Scout {
    /// When to look whether QUIC works again. Outlives connections: one that keeps failing is
    /// tried ever less often.
    probes: Backoff,
    /// Since when UDP gets through, if it does.
    quic_since: Option<Instant>,
}

impl Scout {
    pub(super) fn new() -> Self {
        Self {
            probes: Backoff::of_probes(),
            quic_since: None,
        }
    }

    /// Searches as long as it takes. Without a token the peer has dialed, and it is on the peer
    /// to search; it is asked to where necessary.
    pub(super) fn search(
        &mut self,
        link: &Arc<Shared>,
        own: &Own,
        current: &RunningPair,
        token: Option<PairToken>,
    ) -> impl Future<Output = Found> + use<'_> {
        match current.transport() {
            Transport::Quic => {
                self.quic_since.get_or_insert_with(Instant::now);
            }
            Transport::Tcp => {
                let since = self.quic_since.take();
                if since.is_some_and(|since| since.elapsed() > PROVEN) {
                    self.probes.reset();
                }
            }
        }
        let search = Search {
            probes: &mut self.probes,
            link: Arc::clone(link),
            own: own.clone(),
            over: current.transport(),
            answered: current.answered(),
        };
        async move {
            match token {
                Some(token) => search.run(token).await,
                None => ask_the_peer(&search.link).await,
            }
        }
    }
}

async fn ask_the_peer(link: &Shared) -> Found {
    loop {
        link.renew.notified().await;
        link.lock().ask_renewal();
        link.tell.notify_one();
    }
}

struct Search<'a> {
    probes: &'a mut Backoff,
    link: Arc<Shared>,
    own: Own,
    over: Transport,
    answered: watch::Receiver<Instant>,
}

impl Search<'_> {
    async fn run(mut self, token: PairToken) -> Found {
        loop {
            let wish = self.wish().await;
            let site = &self.link.site;
            match self.look(wish, token).await {
                Ok(Some(found)) => return found,
                Ok(None) => {}
                Err(error) if wish == Wish::Renewal => {
                    tracing::warn!(%site, %error, "cannot dial anew; the old connection stays");
                    self.link.renew.notify_one();
                }
                Err(error) => tracing::debug!(%site, %error, ?wish, "no better connection"),
            }
            sleep(REST).await;
        }
    }

    /// Waits until there is something to look for.
    async fn wish(&mut self) -> Wish {
        let free = self.link.settings().transport.is_none();
        let probe_in = match self.over {
            Transport::Tcp => self.probes.next(&mut rand::rng()),
            Transport::Quic => Duration::MAX,
        };
        let on_quic = self.over == Transport::Quic;
        tokio::select! {
            () = self.link.renew.notified() => Wish::Renewal,
            () = sleep(probe_in), if free && !on_quic => Wish::Quic,
            () = silence(&mut self.answered), if free && on_quic => Wish::Rescue,
        }
    }

    async fn look(&self, wish: Wish, token: PairToken) -> Result<Option<Found>, EstablishError> {
        let peer = self.link.settings();
        let over = match wish {
            Wish::Renewal => peer.transport,
            Wish::Quic => Some(Transport::Quic),
            Wish::Rescue => Some(Transport::Tcp),
        };
        let pair = dial(&peer, &self.own, over, Effort::Once).await?;
        if wish == Wish::Rescue {
            let dead = self.answered.borrow().elapsed() > SILENCE;
            return Ok(dead.then(|| Found::Instead(Box::new(pair))));
        }
        let joined = establish::join(pair, token).await?;
        Ok(Some(Found::Joined(Box::new(joined))))
    }
}

/// Waits until nothing was heard for [`SILENCE`].
async fn silence(answered: &mut watch::Receiver<Instant>) {
    loop {
        let quiet = answered.borrow_and_update().elapsed();
        match SILENCE.checked_sub(quiet) {
            None => return,
            Some(rest) => sleep(rest).await,
        }
    }
}
