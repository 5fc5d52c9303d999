//! From nothing to a pair of connections whose ends have introduced themselves.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quinn::{Connection, Endpoint, RecvStream, SendStream};
use tokio::net::lookup_host;
use tokio::time::timeout;

use crate::config::PeerConfig;
use crate::identity::Identity;
use crate::quic::{self, Goodbye, Purpose, tls};
use crate::wire::Malformed;
use crate::wire::hello::{Hello, PairToken, Prefix, WIRE_VERSION};

/// A handshake that takes longer is repeated from a new socket.
const DIAL_MAX: Duration = Duration::from_secs(3);
/// Time for each step of an introduction.
pub(super) const STEP_MAX: Duration = Duration::from_secs(3);
/// Addresses of one peer that are tried.
const ADDRESSES_MAX: usize = 8;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum EstablishError {
    #[error("the peer has no address here and did not dial")]
    NoAddress,
    #[error("cannot resolve {address}: {reason}")]
    Resolve { address: String, reason: String },
    #[error("cannot reach {address}: {reason}")]
    Dial { address: SocketAddr, reason: String },
    #[error("the peer did not {0} within {seconds} s", seconds = STEP_MAX.as_secs())]
    Slow(&'static str),
    #[error("the peer broke off while introducing itself: {0}")]
    BrokenOff(String),
    #[error(
        "the peer speaks version {theirs} and this gateway version {WIRE_VERSION}: upgrade the older"
    )]
    Version { theirs: u16 },
    #[error("{0}")]
    Malformed(#[from] Malformed),
    #[error("{0}")]
    Violation(String),
}

impl EstablishError {
    /// What to tell the peer.
    pub(super) fn goodbye(&self) -> Goodbye {
        match self {
            Self::Version { .. } => Goodbye::Version,
            Self::Malformed(_) | Self::Violation(_) => Goodbye::Violation,
            Self::Slow(_) => Goodbye::Timeout,
            Self::NoAddress | Self::Resolve { .. } | Self::Dial { .. } | Self::BrokenOff(_) => {
                Goodbye::Stopping
            }
        }
    }
}

/// A connection with its one bidirectional stream.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) connection: Connection,
    pub(super) send: SendStream,
    pub(super) recv: RecvStream,
    /// The socket, where it is the connection's own.
    pub(super) endpoint: Option<Endpoint>,
}

/// Both connections of a link.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) control: Line,
    pub(super) bulk: Line,
}

/// Somebody with a pinned key who dialed us.
#[derive(Debug)]
pub(crate) struct Caller {
    line: Line,
    introduction: Introduction,
}

/// The first thing said on a connection.
#[derive(Debug)]
pub(crate) enum Introduction {
    Hello(Box<Hello>),
    Attach(PairToken),
}

impl Caller {
    pub(super) fn into_parts(self) -> (Line, Introduction) {
        (self.line, self.introduction)
    }
}

/// Reads a caller's first words; closes the connection where they make no sense.
pub(crate) async fn introduce(connection: Connection) -> Option<Caller> {
    let heard = timeout(STEP_MAX, async {
        let (send, mut recv) = connection.accept_bi().await.map_err(broken_off)?;
        let introduction = read_introduction(&mut recv).await?;
        let line = Line {
            connection: connection.clone(),
            send,
            recv,
            endpoint: None,
        };
        Ok(Caller { line, introduction })
    });
    let slow = || Err(EstablishError::Slow("introduce itself"));
    match heard.await.unwrap_or_else(|_| slow()) {
        Ok(caller) => Some(caller),
        Err(error) => {
            let address = connection.remote_address();
            // When both ends dial at once, the peer takes back one of its connections.
            if matches!(error, EstablishError::BrokenOff(_)) {
                tracing::debug!(%address, %error, "a peer took back its connection");
            } else {
                tracing::warn!(%address, %error, "dropped a connection from a peer");
            }
            connection.close(error.goodbye().code(), error.to_string().as_bytes());
            None
        }
    }
}

async fn read_introduction(recv: &mut RecvStream) -> Result<Introduction, EstablishError> {
    let mut prefix = [0; Prefix::BYTES];
    recv.read_exact(&mut prefix).await.map_err(broken_off)?;
    match Prefix::decode(&prefix)? {
        Prefix::Attach(token) => Ok(Introduction::Attach(token)),
        Prefix::Hello { version, .. } if version != WIRE_VERSION => {
            Err(EstablishError::Version { theirs: version })
        }
        Prefix::Hello { body_len, .. } => {
            let mut body = vec![0; body_len];
            recv.read_exact(&mut body).await.map_err(broken_off)?;
            let hello = Hello::decode_body(&body)?;
            Ok(Introduction::Hello(Box::new(hello)))
        }
    }
}

/// The peer's answer to our Hello.
pub(super) async fn read_hello(recv: &mut RecvStream) -> Result<Hello, EstablishError> {
    let introduction = timeout(STEP_MAX, read_introduction(recv)).await;
    match introduction.map_err(|_| EstablishError::Slow("answer"))?? {
        Introduction::Hello(hello) => Ok(*hello),
        Introduction::Attach(_) => Err(Malformed("answer to a Hello").into()),
    }
}

/// Writes our Hello.
pub(super) async fn write_hello(
    send: &mut SendStream,
    hello: &Hello,
) -> Result<(), EstablishError> {
    let bytes = Bytes::from(hello.encode());
    let written = timeout(STEP_MAX, send.write_chunk(bytes)).await;
    let written = written.map_err(|_| EstablishError::Slow("take our Hello"))?;
    written.map_err(broken_off)
}

/// Says to which control connection this one belongs.
pub(super) async fn write_attach(
    send: &mut SendStream,
    token: PairToken,
) -> Result<(), EstablishError> {
    let prefix = Prefix::Attach(token).encode();
    send.write_all(&prefix).await.map_err(broken_off)
}

/// Dials the peer's addresses in turn; the first that answers wins.
pub(super) async fn dial(peer: &PeerConfig, own: &Identity) -> Result<Pair, EstablishError> {
    let mut failed = EstablishError::NoAddress;
    for address in peer.addresses.iter().take(ADDRESSES_MAX) {
        for resolved in resolve(address).await.unwrap_or_else(|error| {
            failed = error;
            Vec::new()
        }) {
            match dial_one(peer, own, resolved).await {
                Ok(pair) => return Ok(pair),
                Err(error) => failed = error,
            }
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
    peer: &PeerConfig,
    own: &Identity,
    address: SocketAddr,
) -> Result<Pair, EstablishError> {
    let control = dial_line(peer, own, address, Purpose::Control);
    let bulk = dial_line(peer, own, address, Purpose::Bulk);
    let (control, bulk) = tokio::try_join!(control, bulk)
        .map_err(|reason| EstablishError::Dial { address, reason })?;
    Ok(Pair { control, bulk })
}

async fn dial_line(
    peer: &PeerConfig,
    own: &Identity,
    address: SocketAddr,
    purpose: Purpose,
) -> Result<Line, String> {
    let crypto = tls::client(own, peer.key).map_err(|error| error.to_string())?;
    let mut config = quinn::ClientConfig::new(Arc::new(crypto));
    config.transport_config(Arc::new(quic::transport(purpose, peer.congestion)));
    let endpoint = quic::dialer(address).map_err(|error| error.to_string())?;
    let connecting = endpoint
        .connect_with(config, address, "strait")
        .map_err(|error| error.to_string())?;
    let connection = timeout(DIAL_MAX, connecting)
        .await
        .map_err(|_| "no answer".to_owned())?
        .map_err(|error| quic::explain(&error))?;
    let (send, recv) = connection
        .open_bi()
        .await
        .map_err(|error| quic::explain(&error))?;
    Ok(Line {
        connection,
        send,
        recv,
        endpoint: Some(endpoint),
    })
}

pub(super) fn broken_off(error: impl std::fmt::Display) -> EstablishError {
    EstablishError::BrokenOff(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::SiteName;

    #[tokio::test]
    async fn another_version_is_named_to_both() {
        let (listener, dialer) = (Identity::generate().unwrap(), Identity::generate().unwrap());
        let pinned = tls::PinnedKeys::default();
        pinned.insert(dialer.public_key());
        let crypto = tls::server(&listener, pinned).unwrap();
        let (endpoint, _) = quic::listen(([127, 0, 0, 1], 0).into(), crypto).unwrap();
        let peer = PeerConfig {
            site: "west".parse::<SiteName>().unwrap(),
            key: listener.public_key(),
            addresses: Vec::new(),
            rate_bits_s: None,
            congestion: crate::config::Congestion::Strait,
        };
        let address = endpoint.local_addr().unwrap();
        let answering = tokio::spawn(async move {
            let connection = endpoint.accept().await.unwrap().await.unwrap();
            let refused = introduce(connection).await.is_none();
            endpoint.wait_idle().await;
            refused
        });
        let line = dial_line(&peer, &dialer, address, Purpose::Control).await;
        let mut line = line.unwrap();
        let hello = Prefix::Hello {
            version: WIRE_VERSION + 1,
            body_len: 0,
        };
        line.send.write_all(&hello.encode()).await.unwrap();
        let reason = quic::explain(&line.connection.closed().await);
        assert!(reason.contains("speaks version 2"), "{reason}");
        assert!(answering.await.unwrap());
    }
}
