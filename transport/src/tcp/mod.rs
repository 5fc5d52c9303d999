//! TLS 1.3 over TCP, for where UDP does not get through: the same keys, messages and frames.
//! Never QUIC inside TCP: two controls of congestion, one upon the other, only hinder each other.

mod connection;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

pub(crate) use self::connection::{TcpConnection, TcpSink, TcpSource};
use crate::ids::SiteName;
use crate::line::{IDLE_MAX, Line};
use crate::refusals::{Refusal, Refused};
use crate::tls::{self, Keyring};

/// What the kernel may hold unsent: little, so that the queue stands here, most urgent first.
const NOT_SENT_BYTES_MAX: u32 = 128 << 10;

/// Answers those who dial over TCP.
#[derive(Clone)]
pub(crate) struct Acceptor(TlsAcceptor);

impl Acceptor {
    pub(crate) fn new(ring: &Keyring) -> Result<Self, rustls::Error> {
        let config = tls::server(ring)?;
        Ok(Self(TlsAcceptor::from(Arc::new(config))))
    }

    pub(crate) async fn answer(
        &self,
        stream: TcpStream,
        address: SocketAddr,
    ) -> Result<Line, Refused> {
        prepare(&stream);
        let stream = self.0.accept(stream).await;
        let stream = stream.map_err(|error| refusal(&error).because(explain(&error)))?;
        let key = stream.get_ref().1.peer_certificates();
        let key = key.and_then(tls::peer_key);
        Ok(TcpConnection::start(stream, address, key))
    }
}

/// Connects to a peer.
pub(crate) async fn dial(
    address: SocketAddr,
    site: &SiteName,
    ring: &Keyring,
) -> Result<Line, String> {
    let config = tls::client(ring, site).map_err(|error| error.to_string())?;
    let stream = TcpStream::connect(address).await;
    let stream = stream.map_err(|error| error.to_string())?;
    prepare(&stream);
    // Never sent: there are no names in a handshake of keys.
    let name = ServerName::try_from("strait").map_err(|error| error.to_string())?;
    let connecting = TlsConnector::from(Arc::new(config)).connect(name, stream);
    let stream = connecting.await.map_err(|error| explain(&error))?;
    let key = stream.get_ref().1.peer_certificates();
    let key = key.and_then(tls::peer_key);
    Ok(TcpConnection::start(stream, address, key))
}

/// All of it helps and none of it is needed: a system that knows less goes on without.
fn prepare(stream: &TcpStream) {
    let socket = SockRef::from(stream);
    let settings = [
        ("TCP_NODELAY", socket.set_tcp_nodelay(true)),
        // CUBIC takes each lost packet for a full queue.
        ("TCP_CONGESTION bbr", socket.set_tcp_congestion(b"bbr")),
        (
            "TCP_NOTSENT_LOWAT",
            socket.set_tcp_notsent_lowat(NOT_SENT_BYTES_MAX),
        ),
        (
            "TCP_USER_TIMEOUT",
            socket.set_tcp_user_timeout(Some(IDLE_MAX)),
        ),
    ];
    for (option, set) in settings {
        if let Err(error) = set {
            tracing::debug!(option, %error, "the system does without");
        }
    }
}

/// Why one who dials us is refused.
fn refusal(error: &io::Error) -> Refusal {
    match tls_error(error) {
        Some(rustls::Error::InvalidCertificate(_)) => Refusal::UnknownKey,
        Some(rustls::Error::NoApplicationProtocol) => Refusal::Version,
        Some(_) | None => Refusal::Handshake,
    }
}

fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

/// What an operator needs to know of a failed handshake or a broken connection.
fn explain(error: &io::Error) -> String {
    tls_error(error).map_or_else(|| error.to_string(), tls::explain)
}
