//! One connection to a peer as a link uses it, whatever carries it: QUIC, or TLS over TCP where
//! UDP does not get through.
//!
//! It has one byte stream each way for messages, streams of frames each way, and an end with a
//! reason.

mod figures;
mod goodbye;

use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};

pub(crate) use figures::{Figures, Traffic};
pub(crate) use goodbye::{Ended, Goodbye};

use crate::class::Class;
use crate::congestion::Prospect;
use crate::identity::PublicKey;
use crate::quic::{self, QuicConnection};
use crate::status::Transport;
use crate::tcp::{self, TcpConnection};

/// A peer that says nothing for this long is dead.
pub(crate) const IDLE_MAX: Duration = Duration::from_millis(4500);

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Hello, acknowledgements, and the classes control and interactive.
    Control,
    /// The class bulk.
    Bulk,
}

/// A connection with the streams for its messages.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) connection: Connection,
    pub(crate) send: Sink,
    pub(crate) recv: Source,
}

/// Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) enum Connection {
    Quic(QuicConnection),
    Tcp(TcpConnection),
}

impl Connection {
    pub(crate) fn transport(&self) -> Transport {
        match self {
            Self::Quic(_) => Transport::Quic,
            Self::Tcp(_) => Transport::Tcp,
        }
    }

    /// Where the peer is.
    pub(crate) fn address(&self) -> SocketAddr {
        match self {
            Self::Quic(quic) => quic.address(),
            Self::Tcp(tcp) => tcp.address(),
        }
    }

    /// The key that the peer proved to have.
    pub(crate) fn key(&self) -> Option<PublicKey> {
        match self {
            Self::Quic(quic) => quic.key(),
            Self::Tcp(tcp) => tcp.key(),
        }
    }

    /// A stream for frames of this class.
    pub(crate) async fn open(&self, class: Class) -> Result<Sink, String> {
        match self {
            Self::Quic(quic) => Ok(Sink::Quic(quic.open(class).await?)),
            Self::Tcp(tcp) => Ok(Sink::Tcp(tcp.open(class))),
        }
    }

    /// The peer's next stream of frames. May be cancelled.
    pub(crate) async fn accept(&self) -> Result<Source, String> {
        match self {
            Self::Quic(quic) => Ok(Source::quic(quic.accept().await?)),
            Self::Tcp(tcp) => Ok(Source::tcp(tcp.accept().await?)),
        }
    }

    /// Ends it, and tells the peer why.
    pub(crate) fn close(&self, goodbye: Goodbye, reason: &str) {
        match self {
            Self::Quic(quic) => quic.close(goodbye, reason),
            Self::Tcp(tcp) => tcp.close(goodbye, reason),
        }
    }

    /// Waits for its end.
    pub(crate) async fn closed(&self) -> Ended {
        match self {
            Self::Quic(quic) => quic.closed().await,
            Self::Tcp(tcp) => tcp.closed().await,
        }
    }

    /// Why it ended, if it has.
    pub(crate) fn ended(&self) -> Option<Ended> {
        match self {
            Self::Quic(quic) => quic.ended(),
            Self::Tcp(tcp) => tcp.ended(),
        }
    }

    /// Once closed: waits until the goodbye is on its way.
    pub(crate) async fn gone(&self) {
        match self {
            Self::Quic(quic) => quic.gone().await,
            Self::Tcp(tcp) => drop(tcp.closed().await),
        }
    }

    /// Its figures at this moment. Also lets it hold as many bytes as its path needs.
    pub(crate) fn sample(&self) -> Figures {
        match self {
            Self::Quic(quic) => quic.sample(),
            Self::Tcp(tcp) => tcp.sample(),
        }
    }

    /// Lets the peer have as much under way to us as it is for.
    pub(crate) fn set_windows(&self, purpose: Purpose) {
        match self {
            Self::Quic(quic) => quic.set_windows(purpose),
            // The lanes hold little, whatever they are for.
            Self::Tcp(_) => {}
        }
    }

    /// Says what is known of the link before it is measured.
    pub(crate) fn configure(&self, prospect: Prospect) {
        match self {
            Self::Quic(quic) => quic.configure(prospect),
            // The kernel finds it out by itself.
            Self::Tcp(_) => {}
        }
    }
}

/// Bytes on their way to the peer.
#[derive(Debug)]
pub(crate) enum Sink {
    Quic(quic::QuicSink),
    Tcp(tcp::TcpSink),
}

impl Sink {
    /// Waits until the pieces are taken over.
    pub(crate) async fn write(&mut self, pieces: &mut [Bytes]) -> Result<(), String> {
        match self {
            Self::Quic(quic) => quic.write(pieces).await,
            Self::Tcp(tcp) => tcp.write(pieces).await,
        }
    }

    /// Ends the stream. What is given back waits until the peer's end has all of it, as far as
    /// that can be known.
    pub(crate) fn finish(self) -> Result<impl Future<Output = ()> + Send + 'static, String> {
        let stopped = match self {
            Self::Quic(quic) => Some(quic.finish()?),
            // The kernel does not say; its buffer is small.
            Self::Tcp(_) => None,
        };
        Ok(async move {
            if let Some(stopped) = stopped {
                stopped.await;
            }
        })
    }
}

/// Bytes that come from the peer.
#[derive(Debug)]
pub(crate) struct Source {
    /// Read, and not asked for yet.
    ahead: Bytes,
    from: From,
}

#[derive(Debug)]
enum From {
    Quic(quic::QuicSource),
    Tcp(tcp::TcpSource),
}

impl Source {
    pub(crate) fn quic(source: quic::QuicSource) -> Self {
        Self {
            ahead: Bytes::new(),
            from: From::Quic(source),
        }
    }

    pub(crate) fn tcp(source: tcp::TcpSource) -> Self {
        Self {
            ahead: Bytes::new(),
            from: From::Tcp(source),
        }
    }

    /// Appends what comes next, a bounded piece; false at the end.
    pub(crate) async fn more(&mut self, buffer: &mut BytesMut) -> Result<bool, String> {
        let piece = match &mut self.from {
            _ if !self.ahead.is_empty() => Some(std::mem::take(&mut self.ahead)),
            From::Quic(quic) => quic.next().await?,
            From::Tcp(tcp) => tcp.next().await?,
        };
        if let Some(piece) = &piece {
            buffer.extend_from_slice(piece);
        }
        Ok(piece.is_some())
    }

    /// Appends until the buffer holds `len` bytes at least.
    pub(crate) async fn fill(&mut self, buffer: &mut BytesMut, len: usize) -> Result<(), String> {
        buffer.reserve(len.saturating_sub(buffer.len()));
        while buffer.len() < len {
            if !self.more(buffer).await? {
                return Err("the peer ended a stream in the middle".into());
            }
        }
        Ok(())
    }

    /// Reads past the next `len` bytes, the first of which the buffer holds, and keeps none of them.
    pub(crate) async fn skip(
        &mut self,
        buffer: &mut BytesMut,
        mut len: usize,
    ) -> Result<(), String> {
        loop {
            let here = len.min(buffer.len());
            buffer.advance(here);
            len -= here;
            if len == 0 {
                return Ok(());
            }
            if !self.more(buffer).await? {
                return Err("the peer ended a stream in the middle".into());
            }
        }
    }

    /// The next `len` bytes.
    pub(crate) async fn take(&mut self, len: usize) -> Result<Bytes, String> {
        let mut buffer = BytesMut::new();
        self.fill(&mut buffer, len).await?;
        let taken = buffer.split_to(len).freeze();
        self.ahead = buffer.freeze();
        Ok(taken)
    }
}
