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
/// One that lasted this long starves us no more than any other.
const PLENTY: Duration = Duration::from_secs(3600);

/// What was found.
#[derive(Debug)]
pub(super) enum Found {
    /// The peer has agreed to go on over this pair.
    Joined(Box<Pair>),
    /// The old pair is of no use, for this reason: begin anew over this one.
    Instead(Box<Pair>, &'static str),
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
    /// TCP, as QUIC lets hardly anything through.
    Relief,
}

#[derive(Debug)]
pub(super) struct Scout {
    /// When to look whether QUIC works again. Outlives connections: one that keeps failing is
    /// tried ever less often.
    probes: Backoff,
    /// The same, after QUIC let us down: that it answers says little then.
    retrials: Backoff,
    /// When it was last left it starved us, or we had gone back to it a moment before.
    is_let_down: bool,
    /// Since when UDP gets through, if it does.
    quic_since: Option<Instant>,
    /// We went back to QUIC at that time.
    has_returned: bool,
}

impl Scout {
    pub(super) fn new() -> Self {
        Self {
            probes: Backoff::of_probes(),
            retrials: Backoff::of_retrials(),
            is_let_down: false,
            quic_since: None,
            has_returned: false,
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
                self.is_let_down = false;
                self.quic_since.get_or_insert_with(Instant::now);
            }
            Transport::Tcp => {
                let lasted = self.quic_since.take().map(|since| since.elapsed());
                if lasted.is_some_and(|lasted| lasted > PROVEN) {
                    self.probes.reset();
                }
                if lasted.is_some_and(|lasted| lasted > PLENTY) {
                    self.retrials.reset();
                }
            }
        }
        let search = Search {
            link: Arc::clone(link),
            own: own.clone(),
            over: current.transport(),
            answered: current.answered(),
            starved: current.starved(),
            token,
            scout: self,
        };
        search.run()
    }

    fn has_just_returned(&self) -> bool {
        let lasted = self.quic_since.map(|since| since.elapsed());
        self.has_returned && lasted.is_some_and(|lasted| lasted < PROVEN)
    }
}

struct Search<'a> {
    scout: &'a mut Scout,
    link: Arc<Shared>,
    own: Own,
    over: Transport,
    answered: watch::Receiver<Instant>,
    starved: watch::Receiver<bool>,
    token: Option<PairToken>,
}

impl Search<'_> {
    async fn run(mut self) -> Found {
        loop {
            let wish = self.wish().await;
            let site = self.link.site.clone();
            match self.look(wish).await {
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
        let peer = self.link.settings();
        let probes = match self.scout.is_let_down {
            true => &mut self.scout.retrials,
            false => &mut self.scout.probes,
        };
        let on_quic = self.over == Transport::Quic;
        let probe_in = match on_quic {
            true => Duration::MAX,
            false => probes.next(&mut rand::rng()),
        };
        // The peer's answers are starved with what it sends: to the dialer it is silent then.
        let is_ours = peer.transport.is_none() && self.token.is_some();
        tokio::select! {
            () = self.link.renew.notified() => Wish::Renewal,
            () = sleep(probe_in), if is_ours && !on_quic => Wish::Quic,
            () = silence(&mut self.answered), if is_ours && on_quic => Wish::Rescue,
            Ok(_) = self.starved.wait_for(|starved| *starved), if is_ours && on_quic => {
                Wish::Relief
            }
        }
    }

    async fn look(&mut self, wish: Wish) -> Result<Option<Found>, EstablishError> {
        match wish {
            Wish::Renewal => self.join(self.link.settings().transport).await,
            Wish::Quic => {
                let joined = self.join(Some(Transport::Quic)).await?;
                self.scout.has_returned = true;
                Ok(joined)
            }
            Wish::Rescue => {
                let pair = self.dial(Some(Transport::Tcp)).await?;
                if self.answered.borrow().elapsed() <= SILENCE {
                    return Ok(None);
                }
                self.scout.is_let_down = self.scout.has_just_returned();
                let reason = "the peer no longer answered over QUIC";
                Ok(Some(Found::Instead(Box::new(pair), reason)))
            }
            Wish::Relief => {
                let pair = self.dial(Some(Transport::Tcp)).await?;
                if !*self.starved.borrow() {
                    return Ok(None);
                }
                self.scout.is_let_down = true;
                let reason = "QUIC lets hardly anything through";
                Ok(Some(Found::Instead(Box::new(pair), reason)))
            }
        }
    }

    /// A pair that the peer agrees to go over to. Who cannot ask for that asks for the peer's call.
    async fn join(&self, over: Option<Transport>) -> Result<Option<Found>, EstablishError> {
        let Some(token) = self.token else {
            self.link.lock().ask_renewal();
            self.link.tell.notify_one();
            return Ok(None);
        };
        let joined = establish::join(self.dial(over).await?, token).await?;
        Ok(Some(Found::Joined(Box::new(joined))))
    }

    async fn dial(&self, over: Option<Transport>) -> Result<Pair, EstablishError> {
        dial(&self.link.settings(), &self.own, over, Effort::Once).await
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
