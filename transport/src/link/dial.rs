//! Finds a way to the peer: several addresses, QUIC first, TCP where UDP does not get through.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::lookup_host;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::Own;
use super::establish::{EstablishError, Pair, broken_off};
use crate::config::PeerConfig;
use crate::line::Purpose;
use crate::status::Transport;
use crate::{quic, tcp};

/// A handshake that takes longer is repeated from a new socket.
const DIAL_MAX: Duration = Duration::from_secs(3);
/// Addresses of one peer that are tried.
const ADDRESSES_MAX: usize = 8;
/// Between the beginnings of two attempts (RFC 8305, section 5: 250 ms).
const STAGGER: Duration = Duration::from_millis(250);
/// How long QUIC is tried alone.
const TCP_AFTER: Duration = Duration::from_secs(1);
/// How much longer QUIC may take than TCP: a link that heals is found by whichever happens to
/// knock first.
const QUIC_GRACE: Duration = Duration::from_millis(500);
/// Between the beginnings of repeated dials of one address.
const AGAIN: Duration = Duration::from_millis(400);

/// How hard an address is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effort {
    Once,
    /// Over and over, while the dials before still wait: QUIC repeats a first packet ever less
    /// often, and a link that heals is to be found at once.
    Repeated,
}

/// Dials over `transport`, or over QUIC and, if nobody answers for a second, TCP too: the first
/// that comes through wins, QUIC even if it is a little later.
pub(super) async fn dial(
    peer: &PeerConfig,
    own: &Own,
    transport: Option<Transport>,
    effort: Effort,
) -> Result<Pair, EstablishError> {
    if let Some(transport) = transport {
        return race_addresses(peer, own, transport, effort).await;
    }
    let quic = race_addresses(peer, own, Transport::Quic, effort);
    tokio::pin!(quic);
    tokio::select! {
        // Even a refusal is an answer: UDP gets through.
        answer = &mut quic => return answer,
        () = sleep(TCP_AFTER) => {}
    }
    let tcp = race_addresses(peer, own, Transport::Tcp, effort);
    tokio::pin!(tcp);
    let mut over_tcp = None;
    loop {
        tokio::select! {
            answer = &mut quic => return answer.map_err(|quic| match over_tcp {
                None => quic,
                Some(tcp) => EstablishError::Both {
                    quic: Box::new(quic),
                    tcp: Box::new(tcp),
                },
            }),
            answer = &mut tcp, if over_tcp.is_none() => match answer {
                Ok(pair) => {
                    let quic = timeout(QUIC_GRACE, quic).await;
                    return Ok(quic.ok().and_then(Result::ok).unwrap_or(pair));
                }
                Err(error) => over_tcp = Some(error),
            },
        }
    }
}

/// Each of the peer's addresses, one after the other has begun.
async fn race_addresses(
    peer: &PeerConfig,
    own: &Own,
    transport: Transport,
    effort: Effort,
) -> Result<Pair, EstablishError> {
    let addresses = peer.addresses.iter().take(ADDRESSES_MAX).cloned();
    let attempts = addresses.map(|address| {
        let (peer, own) = (peer.clone(), own.clone());
        async move {
            let resolved = resolve(&address).await?;
            own.networks.resolved(&peer.site, resolved.iter().copied());
            let dial = |address| {
                let attempt = Attempt {
                    peer: peer.clone(),
                    own: own.clone(),
                    address,
                    transport,
                };
                attempt.make(effort)
            };
            race(resolved.into_iter().map(dial)).await
        }
    });
    race(attempts).await
}

/// Begins the attempts one by one; the first success ends the others.
async fn race<F>(attempts: impl Iterator<Item = F>) -> Result<Pair, EstablishError>
where
    F: Future<Output = Result<Pair, EstablishError>> + Send + 'static,
{
    let mut running = JoinSet::new();
    for (attempt, turn) in attempts.zip(0u32..) {
        running.spawn(async move {
            sleep(STAGGER * turn).await;
            attempt.await
        });
    }
    let mut failed = EstablishError::NoAddress;
    while let Some(ended) = running.join_next().await {
        match ended.unwrap_or_else(|error| Err(broken_off(error))) {
            Ok(pair) => return Ok(pair),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

async fn resolve(address: &str) -> Result<Vec<SocketAddr>, EstablishError> {
    let failed = |reason: String| EstablishError::Resolve {
        address: address.to_owned(),
        reason,
    };
    let found = timeout(DIAL_MAX, lookup_host(address)).await;
    let found = found.map_err(|_| failed("the resolver does not answer".into()))?;
    let found = found.map_err(|error| failed(error.to_string()))?;
    Ok(found.take(ADDRESSES_MAX).collect())
}

/// A dial of one address.
#[derive(Clone)]
struct Attempt {
    peer: PeerConfig,
    own: Own,
    address: SocketAddr,
    transport: Transport,
}

impl Attempt {
    /// The first answer, be it a refusal or the first dial's time out, ends the others.
    async fn make(self, effort: Effort) -> Result<Pair, EstablishError> {
        let mut running = JoinSet::new();
        loop {
            running.spawn(self.clone().dial());
            tokio::select! {
                Some(answer) = running.join_next() => {
                    return answer.unwrap_or_else(|error| Err(broken_off(error)));
                }
                () = sleep(AGAIN), if effort == Effort::Repeated => {}
            }
        }
    }

    async fn dial(self) -> Result<Pair, EstablishError> {
        let Self {
            peer,
            own,
            address,
            transport,
        } = self;
        let line = async |purpose| match transport {
            Transport::Quic => quic::dial(address, &peer.site, &own.ring, purpose, own.gso).await,
            Transport::Tcp => tcp::dial(address, &peer.site, &own.ring).await,
        };
        let both = async { tokio::try_join!(line(Purpose::Control), line(Purpose::Bulk)) };
        let lines = timeout(DIAL_MAX, both).await;
        let lines = lines.unwrap_or_else(|_| Err("no answer".to_owned()));
        let (control, bulk) = lines.map_err(|reason| EstablishError::Dial { address, reason })?;
        Ok(Pair { control, bulk })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::sync::Arc;

    use tokio::net::UdpSocket;

    use super::*;
    use crate::identity::Identity;
    use crate::session::Instance;
    use crate::tls::Keyring;

    /// From how many sockets an address is dialed that never answers, two for each dial.
    async fn sockets(effort: Effort) -> usize {
        let mute = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let own = Identity::generate().unwrap();
        let own = Own {
            site: "east".parse().unwrap(),
            incarnation: 1,
            ring: Keyring::new(&own, BTreeMap::new()).unwrap(),
            gso: true,
            networks: Arc::default(),
            instance: Instance(1),
        };
        let key = Identity::generate().unwrap().public_key();
        let peer = PeerConfig {
            addresses: vec![mute.local_addr().unwrap().to_string()],
            ..PeerConfig::new("west".parse().unwrap(), key)
        };
        let mut heard = BTreeSet::new();
        let hear = async {
            loop {
                let (_, from) = mute.recv_from(&mut [0; 2048]).await.unwrap();
                heard.insert(from);
            }
        };
        tokio::select! {
            dialed = dial(&peer, &own, Some(Transport::Quic), effort) => {
                assert!(dialed.is_err());
            }
            () = hear => {}
        }
        heard.len()
    }

    #[tokio::test]
    async fn a_peer_that_is_missed_is_dialed_over_and_over() {
        let (once, repeated) = tokio::join!(sockets(Effort::Once), sockets(Effort::Repeated));
        assert_eq!(once, 2);
        assert!(repeated >= 6, "{repeated}");
    }
}
