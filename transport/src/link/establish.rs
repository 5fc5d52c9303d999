//! The first words on a connection.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::time::timeout;

use crate::ids::WireVersion;
use crate::line::{Goodbye, Line, Source};
use crate::refusals::{Refusal, Refused};
use crate::wire::Malformed;
use crate::wire::hello::{Hello, OURS, PairToken, Prefix, WireVersions};

/// Time for each step of an introduction.
pub(super) const STEP_MAX: Duration = Duration::from_secs(3);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum EstablishError {
    #[error("the peer has no address here and did not dial")]
    NoAddress,
    #[error("cannot resolve {address}: {reason}")]
    Resolve { address: String, reason: String },
    #[error("cannot reach {address}: {reason}")]
    Dial { address: SocketAddr, reason: String },
    #[error("{quic}; over TCP: {tcp}")]
    Both { quic: Box<Self>, tcp: Box<Self> },
    #[error("the peer did not {0} within {seconds} s", seconds = STEP_MAX.as_secs())]
    Slow(&'static str),
    #[error("the peer broke off while introducing itself: {0}")]
    BrokenOff(String),
    #[error("the peer speaks {theirs} and this gateway {OURS}: upgrade the older")]
    Version { theirs: WireVersions },
    #[error("{0}")]
    Malformed(#[from] Malformed),
    #[error("{0}")]
    Violation(String),
    #[error(
        "another gateway with the same key and incarnation is linked, from {linked}: this one is a \
         copy"
    )]
    Copy { linked: SocketAddr },
    #[error("a later start of the same gateway is linked")]
    Superseded,
    #[error("{0}")]
    RefusedAsCopy(String),
}

impl EstablishError {
    /// What to tell the peer.
    pub(super) fn goodbye(&self) -> Goodbye {
        match self {
            Self::Version { .. } => Goodbye::Version,
            Self::Malformed(_) | Self::Violation(_) => Goodbye::Violation,
            Self::Slow(_) => Goodbye::Timeout,
            Self::Copy { .. } => Goodbye::Copy,
            Self::Superseded => Goodbye::Replaced,
            Self::NoAddress
            | Self::Resolve { .. }
            | Self::Dial { .. }
            | Self::Both { .. }
            | Self::BrokenOff(_)
            | Self::RefusedAsCopy(_) => Goodbye::Stopping,
        }
    }
}

pub(super) fn broken_off(error: impl std::fmt::Display) -> EstablishError {
    EstablishError::BrokenOff(error.to_string())
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
    pub(super) line: Line,
    /// When its handshake began.
    pub(super) begun: Instant,
    pub(super) introduction: Introduction,
}

/// The first thing said on a connection.
#[derive(Debug)]
pub(super) enum Introduction {
    Hello(Box<Hello>),
    Attach(PairToken),
    Join(PairToken),
}

/// Reads a caller's first words; closes the connection where they make no sense. `None`: the peer
/// has taken it back, as one does of two when both ends dial at once.
pub(crate) async fn introduce(mut line: Line, begun: Instant) -> Result<Option<Caller>, Refused> {
    let error = match read_introduction(&mut line.recv).await {
        Ok(introduction) => {
            return Ok(Some(Caller {
                line,
                begun,
                introduction,
            }));
        }
        Err(error) => error,
    };
    line.connection.close(error.goodbye(), &error.to_string());
    match error {
        EstablishError::BrokenOff(reason) => {
            let address = line.connection.address();
            tracing::debug!(%address, reason, "a peer took back its connection");
            Ok(None)
        }
        EstablishError::Version { .. } => Err(Refusal::Version.because(error)),
        EstablishError::NoAddress
        | EstablishError::Resolve { .. }
        | EstablishError::Dial { .. }
        | EstablishError::Both { .. }
        | EstablishError::Slow(_)
        | EstablishError::Malformed(_)
        | EstablishError::Violation(_)
        | EstablishError::Copy { .. }
        | EstablishError::Superseded
        | EstablishError::RefusedAsCopy(_) => Err(Refusal::Handshake.because(error)),
    }
}

async fn read_introduction(recv: &mut Source) -> Result<Introduction, EstablishError> {
    let read = timeout(STEP_MAX, async {
        let prefix = recv.take(Prefix::BYTES).await.map_err(broken_off)?;
        let prefix = prefix.first_chunk().ok_or(Malformed("prefix"))?;
        match Prefix::decode(prefix)? {
            Prefix::Attach(token) => Ok(Introduction::Attach(token)),
            Prefix::Join(token) => Ok(Introduction::Join(token)),
            Prefix::Hello { versions, body_len } => {
                agreed(versions)?;
                let body = recv.take(body_len).await.map_err(broken_off)?;
                let hello = Hello::decode_body(versions, &body)?;
                Ok(Introduction::Hello(Box::new(hello)))
            }
        }
    });
    let slow = || Err(EstablishError::Slow("introduce itself"));
    read.await.unwrap_or_else(|_| slow())
}

/// The version that a link to a peer with these is spoken in.
pub(super) fn agreed(theirs: WireVersions) -> Result<WireVersion, EstablishError> {
    let version = OURS.agree(theirs);
    version.ok_or(EstablishError::Version { theirs })
}

/// The peer's answer to our Hello.
pub(super) async fn read_hello(line: &mut Line) -> Result<Hello, EstablishError> {
    match read_introduction(&mut line.recv).await? {
        Introduction::Hello(hello) => Ok(*hello),
        Introduction::Attach(_) | Introduction::Join(_) => {
            Err(Malformed("answer to a Hello").into())
        }
    }
}

/// Writes our Hello.
pub(super) async fn write_hello(line: &mut Line, hello: &Hello) -> Result<(), EstablishError> {
    write(line, hello.encode()).await
}

/// Says to which control connection this one belongs, or from which it takes over.
pub(super) async fn write_prefix(line: &mut Line, prefix: Prefix) -> Result<(), EstablishError> {
    write(line, prefix.encode().to_vec()).await
}

async fn write(line: &mut Line, bytes: Vec<u8>) -> Result<(), EstablishError> {
    let mut pieces = [Bytes::from(bytes)];
    let written = timeout(STEP_MAX, line.send.write(&mut pieces)).await;
    let written = written.map_err(|_| EstablishError::Slow("take our first words"))?;
    written.map_err(broken_off)
}

/// Asks the peer to go on over this pair instead of the one with this token.
pub(super) async fn join(mut pair: Pair, token: PairToken) -> Result<Pair, EstablishError> {
    write_prefix(&mut pair.bulk, Prefix::Attach(token)).await?;
    write_prefix(&mut pair.control, Prefix::Join(token)).await?;
    match read_introduction(&mut pair.control.recv).await? {
        Introduction::Join(theirs) if theirs == token => Ok(pair),
        Introduction::Join(_) | Introduction::Hello(_) | Introduction::Attach(_) => {
            Err(Malformed("answer to a Join").into())
        }
    }
}
