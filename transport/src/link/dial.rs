//! Finds a way to the peer: several addresses, QUIC first, TCP where UDP does not get through.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::lookup_host;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::establish::{EstablishError, Pair};
use crate::config::PeerConfig;
use crate::line::Purpose;
use crate::status::Transport;
use crate::tls::Keyring;
use crate::{quic, tcp};

/// A handshake that takes longer is repeated from a new socket.
const DIAL_MAX: Duration = Duration::from_secs(3);
/// Addresses of one peer that are tried.
const ADDRESSES_MAX: usize = 8;
/// Between the beginnings of two attempts (RFC 8305, section 5: 250 ms).
const STAGGER: Duration = Duration::from_millis(250);
/// How long QUIC is tried alone.
const TCP_AFTER: Duration = Duration::from_secs(1);

/// Dials over `transport`, or over QUIC and, if nobody answers for a second, TCP too: the first
/// that comes through wins.
pub(super) async fn dial(
    peer: &PeerConfig,
    ring: &Keyring,
    transport: Option<Transport>,
) -> Result<Pair, EstablishError> {
    if let Some(transport) = transport {
        return race_addresses(peer, ring, transport).await;
    }
    let quic = race_addresses(peer, ring, Transport::Quic);
    tokio::pin!(quic);
    tokio::select! {
        // Even a refusal is an answer: UDP gets through.
        answer = &mut quic => return answer,
        () = sleep(TCP_AFTER) => {}
    }
    let tcp = race_addresses(peer, ring, Transport::Tcp);
    tokio::pin!(tcp);
    let (quic, tcp) = tokio::select! {
        answer = &mut quic => match answer {
            Ok(pair) => return Ok(pair),
            Err(quic) => (quic, tcp.await),
        },
        answer = &mut tcp => match answer {
            Ok(pair) => return Ok(pair),
            Err(tcp) => match quic.await {
                Ok(pair) => return Ok(pair),
                Err(quic) => (quic, Err(tcp)),
            },
        },
    };
    tcp.map_err(|tcp| EstablishError::Both {
        quic: Box::new(quic),
        tcp: Box::new(tcp),
    })
}

/// Each of the peer's addresses, one after the other has begun.
async fn race_addresses(
    peer: &PeerConfig,
    ring: &Keyring,
    transport: Transport,
) -> Result<Pair, EstablishError> {
    let addresses = peer.addresses.iter().take(ADDRESSES_MAX).cloned();
    let attempts = addresses.map(|address| {
        let (peer, ring) = (peer.clone(), ring.clone());
        async move {
            let resolved = resolve(&address).await?.into_iter();
            race(resolved.map(|address| dial_one(peer.clone(), ring.clone(), address, transport)))
                .await
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
        match ended {
            Ok(Ok(pair)) => return Ok(pair),
            Ok(Err(error)) => failed = error,
            Err(error) => failed = EstablishError::BrokenOff(error.to_string()),
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

async fn dial_one(
    peer: PeerConfig,
    ring: Keyring,
    address: SocketAddr,
    transport: Transport,
) -> Result<Pair, EstablishError> {
    let line = async |purpose| match transport {
        Transport::Quic => quic::dial(address, &peer.site, &ring, purpose).await,
        Transport::Tcp => tcp::dial(address, &peer.site, &ring).await,
    };
    let both = async { tokio::try_join!(line(Purpose::Control), line(Purpose::Bulk)) };
    let lines = timeout(DIAL_MAX, both).await;
    let lines = lines.unwrap_or_else(|_| Err("no answer".to_owned()));
    let (control, bulk) = lines.map_err(|reason| EstablishError::Dial { address, reason })?;
    Ok(Pair { control, bulk })
}
