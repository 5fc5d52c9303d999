//! QUIC as we use it: endpoints, limits and windows, in one place.

pub(crate) mod socket;
pub(crate) mod tls;

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Weak};
use std::time::Duration;

use quinn::congestion::{ControllerFactory, CubicConfig};
use quinn::{
    AsyncUdpSocket, ConnectionError, Endpoint, EndpointConfig, MtuDiscoveryConfig, Runtime,
    TokioRuntime, TransportConfig, TransportErrorCode, VarInt,
};

use crate::config::Congestion;
use crate::congestion::StraitFactory;

/// Each end says something at least this often.
const KEEP_ALIVE: Duration = Duration::from_secs(1);
/// A peer that says nothing for this long is dead.
const IDLE_MAX: Duration = Duration::from_millis(4500);
/// Before the first sample. Low, so that a dial into a link that just healed is repeated
/// soon.
const RTT_GUESS: Duration = Duration::from_millis(100);
/// Ethernet less IPv6, UDP: what QUIC may put in a datagram.
const MTU_MAX: u16 = 1452;
/// Handshakes in progress with those who dial us.
const INCOMING_MAX: usize = 64;

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Hello, acknowledgements, and the classes control and interactive.
    Control,
    /// The class bulk.
    Bulk,
}

impl Purpose {
    /// Bytes a peer may have under way to us: twice 400 Mbit/s × 200 ms, and for bulk 1 Gbit/s
    /// × 250 ms.
    const fn receive_window_bytes(self) -> u32 {
        match self {
            Self::Control => 20 << 20,
            Self::Bulk => 32 << 20,
        }
    }

    /// Batches a peer may have under way to us. Tiny batches need many.
    const fn streams_max(self) -> u32 {
        match self {
            Self::Control => 512,
            Self::Bulk => 128,
        }
    }
}

/// Settings of a connection.
pub(crate) fn transport(purpose: Purpose, congestion: Congestion) -> TransportConfig {
    let mut mtu = MtuDiscoveryConfig::default();
    mtu.upper_bound(MTU_MAX);
    let mut config = TransportConfig::default();
    config
        .max_concurrent_bidi_streams(1u8.into())
        .max_concurrent_uni_streams(purpose.streams_max().into())
        .receive_window(purpose.receive_window_bytes().into())
        // A batch with its header fits at once.
        .stream_receive_window((2u32 << 20).into())
        .send_window(SEND_WINDOW_BYTES_MIN)
        .send_fairness(false)
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_idle_timeout(IDLE_MAX.try_into().ok())
        .initial_rtt(RTT_GUESS)
        .mtu_discovery_config(Some(mtu))
        .datagram_receive_buffer_size(None)
        .congestion_controller_factory(controller(congestion));
    config
}

/// Bytes that QUIC holds of what we sent, until acknowledged: the least.
pub(crate) const SEND_WINDOW_BYTES_MIN: u64 = 4 << 20;
/// And the most.
pub(crate) const SEND_WINDOW_BYTES_MAX: u64 = 64 << 20;

/// The send window that a congestion window calls for: enough that it never limits, little
/// enough that a batch is not encoded long before it is sent.
pub(crate) fn send_window_bytes(congestion_window: u64) -> u64 {
    (3 * congestion_window).clamp(SEND_WINDOW_BYTES_MIN, SEND_WINDOW_BYTES_MAX)
}

fn controller(congestion: Congestion) -> Arc<dyn ControllerFactory + Send + Sync> {
    match congestion {
        Congestion::Strait => Arc::new(StraitFactory),
        Congestion::Cubic => Arc::new(CubicConfig::default()),
    }
}

/// The endpoint that others dial, and a way to see when its socket has been closed.
pub(crate) fn listen(
    address: SocketAddr,
    crypto: quinn::crypto::rustls::QuicServerConfig,
) -> io::Result<(Endpoint, Weak<dyn AsyncUdpSocket>)> {
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    config
        .transport_config(Arc::new(transport(Purpose::Bulk, Congestion::Strait)))
        .max_incoming(INCOMING_MAX)
        .incoming_buffer_size(64 << 10)
        .incoming_buffer_size_total(4 << 20);
    let socket = TokioRuntime.wrap_udp_socket(socket::bind(address)?)?;
    let closed = Arc::downgrade(&socket);
    let endpoint = Endpoint::new_with_abstract_socket(
        EndpointConfig::default(),
        Some(config),
        socket,
        Arc::new(TokioRuntime),
    )?;
    Ok((endpoint, closed))
}

/// Makes an endpoint that is about to be dropped let go of its port, even while it still waits for
/// peers to take leave. It keeps the last two sockets it had, hence twice.
pub(crate) fn let_go(endpoint: &Endpoint) {
    for _ in 0..2 {
        let any = socket::bind((Ipv4Addr::LOCALHOST, 0).into());
        if let Err(error) = any.and_then(|socket| endpoint.rebind(socket)) {
            tracing::debug!(%error, "cannot free the port early");
        }
    }
}

/// A socket of its own for one connection to `address`.
pub(crate) fn dialer(address: SocketAddr) -> io::Result<Endpoint> {
    let any = match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = socket::bind(any)?;
    Endpoint::new(
        EndpointConfig::default(),
        None,
        socket,
        Arc::new(TokioRuntime),
    )
}

/// Why we close a connection: QUIC application error codes. Drawn in `docs/WIRE.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Goodbye {
    /// The gateway stops, or its operator paused the link.
    Stopping,
    /// A newer connection takes over.
    Replaced,
    /// The peer speaks another version.
    Version,
    /// The peer broke the protocol, or is not whom we expect.
    Violation,
    /// It took too long to introduce itself.
    Timeout,
}

impl Goodbye {
    pub(crate) fn code(self) -> VarInt {
        let code: u8 = match self {
            Self::Stopping => 0,
            Self::Replaced => 1,
            Self::Version => 2,
            Self::Violation => 3,
            Self::Timeout => 4,
        };
        code.into()
    }
}

/// What an operator needs to know of a connection's end.
pub(crate) fn explain(error: &ConnectionError) -> String {
    match error {
        ConnectionError::TimedOut => "no word from the peer".into(),
        ConnectionError::ApplicationClosed(close) => {
            let reason = String::from_utf8_lossy(&close.reason);
            let reason: String = reason
                .chars()
                .filter(|c| !c.is_control())
                .take(200)
                .collect();
            match reason.is_empty() {
                true => format!("the peer hung up (code {})", close.error_code),
                false => format!("the peer hung up: {reason}"),
            }
        }
        ConnectionError::ConnectionClosed(close) if is_alpn_alert(close.error_code) => {
            "the peer speaks another version of the protocol".into()
        }
        ConnectionError::ConnectionClosed(close) if is_certificate_alert(close.error_code) => {
            "the peer does not know this gateway's key: pair the two sites".into()
        }
        ConnectionError::TransportError(error) if is_certificate_alert(error.code) => {
            format!("the other end is not the paired gateway: {}", error.reason)
        }
        ConnectionError::VersionMismatch
        | ConnectionError::TransportError(_)
        | ConnectionError::ConnectionClosed(_)
        | ConnectionError::Reset
        | ConnectionError::LocallyClosed
        | ConnectionError::CidsExhausted => error.to_string(),
    }
}

/// QUIC puts TLS alerts at 0x100 (RFC 9001, section 4.8); 120 is `no_application_protocol`.
fn is_alpn_alert(code: TransportErrorCode) -> bool {
    code == TransportErrorCode::crypto(120)
}

/// The alerts that rustls sends for a key that its verifier refuses (RFC 8446, section 6.2).
fn is_certificate_alert(code: TransportErrorCode) -> bool {
    (42..=49)
        .chain([116])
        .any(|alert| code == TransportErrorCode::crypto(alert))
}
