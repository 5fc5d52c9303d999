//! A QUIC connection as a link's line.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use quinn::{
    ClosedStream, ConnectionError, Endpoint, RecvStream, SendStream, TransportErrorCode, VarInt,
};
use rustls::pki_types::CertificateDer;

use super::send_window_bytes;
use crate::class::Class;
use crate::congestion::{self, Prospect};
use crate::identity::PublicKey;
use crate::line::{Connection, Ended, Figures, Goodbye, Line, Purpose, Sink, Source, Traffic};
use crate::refusals::Refusal;
use crate::tls;

/// Acknowledgements go before everything else.
const MESSAGES_PRIORITY: i32 = i32::MAX;
/// How many streams of a class have a priority of their own.
const PRIORITIES: u32 = 1 << 29;
const CHUNK_BYTES: usize = 64 << 10;

/// The older goes first within a class, so that what was lost is sent again at once: it would
/// otherwise wait behind all that QUIC holds, and hold up what came after it at the peer.
const fn priority(class: Class, stream: u32) -> i32 {
    let most_urgent = match class {
        Class::Control => 3,
        Class::Interactive => 2,
        Class::Bulk => 1,
    };
    (most_urgent * PRIORITIES - 1 - stream % PRIORITIES) as i32
}

#[derive(Clone, Debug)]
pub(crate) struct QuicConnection {
    connection: quinn::Connection,
    /// The socket, where it is the connection's own.
    endpoint: Option<Endpoint>,
    /// Streams opened so far.
    opened: Arc<AtomicU32>,
}

impl QuicConnection {
    pub(crate) fn new(connection: quinn::Connection, endpoint: Option<Endpoint>) -> Self {
        Self {
            connection,
            endpoint,
            opened: Arc::default(),
        }
    }

    /// The dialer opens the stream for messages.
    pub(crate) async fn dialed(self) -> Result<Line, String> {
        let streams = self.connection.open_bi().await;
        let streams = streams.map_err(|error| explain(&error))?;
        Ok(self.line(streams))
    }

    /// The listener accepts it.
    pub(super) async fn answered(self) -> Result<Line, ConnectionError> {
        let streams = self.connection.accept_bi().await?;
        Ok(self.line(streams))
    }

    fn line(self, (send, recv): (SendStream, RecvStream)) -> Line {
        // It fails if the stream has ended, which whoever uses it finds out.
        drop(send.set_priority(MESSAGES_PRIORITY));
        Line {
            connection: Connection::Quic(self),
            send: Sink::Quic(QuicSink(send)),
            recv: Source::quic(QuicSource(recv)),
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.connection.remote_address()
    }

    pub(crate) fn key(&self) -> Option<PublicKey> {
        let identity = self.connection.peer_identity()?;
        tls::peer_key(identity.downcast_ref::<Vec<CertificateDer<'static>>>()?)
    }

    pub(crate) async fn open(&self, class: Class) -> Result<QuicSink, String> {
        let stream = self.connection.open_uni().await;
        let stream = stream.map_err(|error| explain(&error))?;
        let number = self.opened.fetch_add(1, Ordering::Relaxed);
        let priority = priority(class, number);
        stream.set_priority(priority).map_err(closed)?;
        Ok(QuicSink(stream))
    }

    pub(crate) async fn accept(&self) -> Result<QuicSource, String> {
        let stream = self.connection.accept_uni().await;
        stream.map(QuicSource).map_err(|error| explain(&error))
    }

    pub(crate) fn close(&self, goodbye: Goodbye, reason: &str) {
        let code = VarInt::from(goodbye.code());
        self.connection.close(code, reason.as_bytes());
    }

    pub(crate) async fn closed(&self) -> Ended {
        ended(&self.connection.closed().await)
    }

    pub(crate) fn ended(&self) -> Option<Ended> {
        self.connection.close_reason().as_ref().map(ended)
    }

    pub(crate) async fn gone(&self) {
        if let Some(endpoint) = &self.endpoint {
            endpoint.wait_idle().await;
        }
    }

    pub(crate) fn sample(&self) -> Figures {
        let stats = self.connection.stats();
        let window_bytes = stats.path.cwnd;
        self.connection
            .set_send_window(send_window_bytes(window_bytes));
        Figures {
            rtt: Some(stats.path.rtt),
            window_bytes,
            rate_bytes_s: congestion::rate_bytes_s(&self.connection),
            sent_packets: stats.path.sent_packets,
            lost_packets: stats.path.lost_packets,
            lost_bytes: stats.path.lost_bytes,
            traffic: Traffic {
                udp_sent_bytes: stats.udp_tx.bytes,
                udp_received_bytes: stats.udp_rx.bytes,
                udp_sent_packets: stats.udp_tx.datagrams,
                udp_received_packets: stats.udp_rx.datagrams,
                ..Traffic::default()
            },
            answers: stats.frame_rx.acks,
        }
    }

    pub(crate) fn set_windows(&self, purpose: Purpose) {
        let (bytes, streams) = (purpose.receive_window_bytes(), purpose.streams_max());
        self.connection.set_receive_window(bytes.into());
        self.connection
            .set_max_concurrent_uni_streams(streams.into());
    }

    pub(crate) fn configure(&self, prospect: Prospect) {
        congestion::configure(&self.connection, prospect);
    }
}

#[derive(Debug)]
pub(crate) struct QuicSink(SendStream);

impl QuicSink {
    pub(crate) async fn write(&mut self, pieces: &mut [Bytes]) -> Result<(), String> {
        let written = self.0.write_all_chunks(pieces).await;
        written.map_err(|error| error.to_string())
    }

    pub(crate) fn finish(mut self) -> Result<impl Future<Output = ()> + Send + 'static, String> {
        self.0.finish().map_err(closed)?;
        let stopped = self.0.stopped();
        Ok(async move {
            // The connection's end is seen elsewhere.
            drop(stopped.await);
        })
    }
}

#[derive(Debug)]
pub(crate) struct QuicSource(RecvStream);

impl QuicSource {
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, String> {
        let chunk = self.0.read_chunk(CHUNK_BYTES, true).await;
        let chunk = chunk.map_err(|error| error.to_string())?;
        Ok(chunk.map(|chunk| chunk.bytes))
    }
}

fn closed(_: ClosedStream) -> String {
    "the stream was closed".into()
}

fn ended(error: &ConnectionError) -> Ended {
    match error {
        ConnectionError::ApplicationClosed(close) => {
            Ended::by_peer(close.error_code.into_inner(), &close.reason)
        }
        ConnectionError::TimedOut
        | ConnectionError::ConnectionClosed(_)
        | ConnectionError::TransportError(_)
        | ConnectionError::VersionMismatch
        | ConnectionError::Reset
        | ConnectionError::LocallyClosed
        | ConnectionError::CidsExhausted => Ended::because(explain(error)),
    }
}

/// What an operator needs to know of a connection's end.
pub(crate) fn explain(error: &ConnectionError) -> String {
    match error {
        ConnectionError::TimedOut => "no word from the peer".into(),
        ConnectionError::ApplicationClosed(_) => ended(error).reason,
        ConnectionError::ConnectionClosed(close) => alert(close.error_code)
            .and_then(tls::explain_alert)
            .map_or_else(|| error.to_string(), str::to_owned),
        ConnectionError::TransportError(ours) => match alert(ours.code) {
            Some(alert) if tls::is_about_key(alert) => tls::not_the_peer(&ours.reason),
            Some(_) | None => error.to_string(),
        },
        ConnectionError::Reset => "the peer was killed and started again".into(),
        ConnectionError::VersionMismatch
        | ConnectionError::LocallyClosed
        | ConnectionError::CidsExhausted => error.to_string(),
    }
}

/// Whether the peer has hung up by itself; in a handshake quinn does so without a reason.
pub(super) fn is_hung_up(error: &ConnectionError) -> bool {
    match error {
        ConnectionError::ApplicationClosed(_) => true,
        ConnectionError::ConnectionClosed(close) => {
            close.error_code == TransportErrorCode::APPLICATION_ERROR
        }
        ConnectionError::TimedOut
        | ConnectionError::TransportError(_)
        | ConnectionError::VersionMismatch
        | ConnectionError::Reset
        | ConnectionError::LocallyClosed
        | ConnectionError::CidsExhausted => false,
    }
}

/// Why one who dials us is refused.
pub(super) fn refusal(error: &ConnectionError) -> Refusal {
    match error {
        ConnectionError::TransportError(ours) => {
            alert(ours.code).map_or(Refusal::Handshake, tls::refusal)
        }
        ConnectionError::VersionMismatch => Refusal::Version,
        ConnectionError::TimedOut
        | ConnectionError::ConnectionClosed(_)
        | ConnectionError::ApplicationClosed(_)
        | ConnectionError::Reset
        | ConnectionError::LocallyClosed
        | ConnectionError::CidsExhausted => Refusal::Handshake,
    }
}

/// QUIC puts TLS alerts at 0x100 (RFC 9001, section 4.8).
fn alert(code: TransportErrorCode) -> Option<u8> {
    u64::from(code).checked_sub(0x100)?.try_into().ok()
}
