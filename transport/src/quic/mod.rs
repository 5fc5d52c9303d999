//! QUIC as we use it: endpoints, limits and windows, in one place.

mod connection;
pub(crate) mod socket;

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Weak};
use std::time::Duration;

use aws_lc_rs::hmac;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{
    AckFrequencyConfig, AsyncUdpSocket, Endpoint, EndpointConfig, Incoming, MtuDiscoveryConfig,
    Runtime, TokioRuntime, TransportConfig,
};
use quinn_proto::HashedConnectionIdGenerator;

use self::connection::explain;
pub(crate) use self::connection::{QuicConnection, QuicSink, QuicSource};
use crate::congestion::StraitFactory;
use crate::ids::SiteName;
use crate::line::{IDLE_MAX, Line, Purpose};
use crate::refusals::Refused;
use crate::tls::{self, Keyring};

/// When nothing else is said, each end says something after this time. The dialer is first, so
/// that it can tell from the answers whether the peer hears it.
const DIALER_KEEP_ALIVE: Duration = Duration::from_millis(500);
const LISTENER_KEEP_ALIVE: Duration = Duration::from_secs(1);
/// Before the first sample. Low, so that a dial into a link that just healed is repeated
/// soon.
const RTT_GUESS: Duration = Duration::from_millis(100);
/// The peer acknowledges after more packets than this (draft-ietf-quic-ack-frequency), which
/// spares both ends the work of one for every second packet, …
const ACK_PACKETS: u8 = 7;
/// … and after this long: of a message that nothing follows, too, so that its loss is soon seen.
const ACK_DELAY_MAX: Duration = Duration::from_millis(5);
/// A packet counts as lost when one that was sent later has been acknowledged for this part of a round trip,
/// as in RACK (RFC 8985, section 6.2), and never for how many came before it: where several routes or a
/// radio let packets overtake each other, hundreds do.
const LOST_AFTER_ROUND_TRIPS: f32 = 1.25;
/// Ethernet less IPv6, UDP: what QUIC may put in a datagram.
const MTU_MAX: u16 = 1452;
/// Handshakes in progress with those who dial us.
const INCOMING_MAX: usize = 64;

impl Purpose {
    /// Bytes a peer may have under way to us: twice 400 Mbit/s × 200 ms, and for bulk six times:
    /// behind a lost packet, what came after it in its batch waits for it here, a round trip for
    /// each time that it is lost again.
    const fn receive_window_bytes(self) -> u32 {
        match self {
            Self::Control => 20 << 20,
            Self::Bulk => 64 << 20,
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

/// What both connections of a pair may hold of what came in.
pub(crate) const RECEIVE_BYTES_MAX: u64 =
    Purpose::Control.receive_window_bytes() as u64 + Purpose::Bulk.receive_window_bytes() as u64;

/// Memory of a socket: QUIC reads 32 times, each time as many as 64 packets that came together, of 1472
/// bytes at most.
pub const SOCKET_BYTES: u64 = 32 * 64 * 1472;

/// Settings of a connection.
fn transport(purpose: Purpose, keep_alive: Duration, gso: bool) -> TransportConfig {
    let mut mtu = MtuDiscoveryConfig::default();
    mtu.upper_bound(MTU_MAX);
    let mut acks = AckFrequencyConfig::default();
    acks.ack_eliciting_threshold(ACK_PACKETS.into())
        .max_ack_delay(Some(ACK_DELAY_MAX))
        // A packet out of order says nothing that has to be known at once.
        .reordering_threshold(0u8.into());
    let mut config = TransportConfig::default();
    config
        .max_concurrent_bidi_streams(1u8.into())
        .max_concurrent_uni_streams(purpose.streams_max().into())
        .receive_window(purpose.receive_window_bytes().into())
        // A batch with its header fits at once.
        .stream_receive_window((2u32 << 20).into())
        .send_window(SEND_WINDOW_BYTES_MIN)
        .keep_alive_interval(Some(keep_alive))
        .max_idle_timeout(IDLE_MAX.try_into().ok())
        .initial_rtt(RTT_GUESS)
        .enable_segmentation_offload(gso)
        .mtu_discovery_config(Some(mtu))
        .datagram_receive_buffer_size(None)
        .ack_frequency_config(Some(acks))
        .packet_threshold(u32::MAX)
        .time_threshold(LOST_AFTER_ROUND_TRIPS)
        .congestion_controller_factory(Arc::new(StraitFactory));
    config
}

/// Bytes that QUIC holds of what we sent, until acknowledged: the least.
pub(crate) const SEND_WINDOW_BYTES_MIN: u64 = 4 << 20;
/// And the most.
pub(crate) const SEND_WINDOW_BYTES_MAX: u64 = 64 << 20;

/// The send window that a congestion window calls for: enough that it never limits, not even where
/// much is lost and QUIC holds batches for three round trips and more; little enough that a batch
/// is not encoded long before it is sent.
pub(crate) fn send_window_bytes(congestion_window: u64) -> u64 {
    (5 * congestion_window).clamp(SEND_WINDOW_BYTES_MIN, SEND_WINDOW_BYTES_MAX)
}

/// The endpoint that others dial, and a way to see when its socket has been closed.
pub(crate) fn listen(
    socket: UdpSocket,
    ring: &Keyring,
    gso: bool,
) -> io::Result<(Endpoint, Weak<dyn AsyncUdpSocket>)> {
    let crypto = tls::server(ring).map_err(io::Error::other)?;
    let crypto = QuicServerConfig::try_from(crypto).map_err(io::Error::other)?;
    let settings = transport(Purpose::Bulk, LISTENER_KEEP_ALIVE, gso);
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    config
        .transport_config(Arc::new(settings))
        .max_incoming(INCOMING_MAX)
        .incoming_buffer_size(64 << 10)
        .incoming_buffer_size_total(4 << 20);
    let socket = TokioRuntime.wrap_udp_socket(socket)?;
    let closed = Arc::downgrade(&socket);
    let endpoint = Endpoint::new_with_abstract_socket(
        answers_for_the_dead(ring),
        Some(config),
        socket,
        Arc::new(TokioRuntime),
    )?;
    Ok((endpoint, closed))
}

/// A gateway that was killed and is back answers what a peer still sends to the one before it with a
/// stateless reset (RFC 9000, section 10.3), so that the peer dials anew at once and not when it has heard
/// nothing for [`IDLE_MAX`]. For that it must be able to tell what that one could.
fn answers_for_the_dead(ring: &Keyring) -> EndpointConfig {
    let reset = hmac::Key::new(hmac::HMAC_SHA256, &*ring.secret("stateless resets"));
    let [a, b, c, d, e, f, g, h, ..] = *ring.secret("connection ids");
    let ids = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
    let mut config = EndpointConfig::new(Arc::new(reset));
    config.cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(ids)));
    config
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

/// Completes the handshake of one who dials us. `None`: it has taken its call back, as one does
/// who came through from another socket.
pub(crate) async fn answer(incoming: Incoming) -> Result<Option<Line>, Refused> {
    let handshake = async {
        let connection = incoming.accept()?.await?;
        QuicConnection::new(connection, None).answered().await
    };
    match handshake.await {
        Ok(line) => Ok(Some(line)),
        Err(error) if connection::is_hung_up(&error) => Ok(None),
        Err(error) => Err(connection::refusal(&error).because(explain(&error))),
    }
}

/// Connects to a peer, from a socket of its own.
pub(crate) async fn dial(
    address: SocketAddr,
    site: &SiteName,
    ring: &Keyring,
    purpose: Purpose,
    gso: bool,
) -> Result<Line, String> {
    let crypto = tls::client(ring, site).map_err(|error| error.to_string())?;
    let crypto = QuicClientConfig::try_from(crypto).map_err(|error| error.to_string())?;
    let mut config = quinn::ClientConfig::new(Arc::new(crypto));
    let settings = transport(purpose, DIALER_KEEP_ALIVE, gso);
    config.transport_config(Arc::new(settings));
    let endpoint = dialer(address).map_err(|error| error.to_string())?;
    let connecting = endpoint
        .connect_with(config, address, "strait")
        .map_err(|error| error.to_string())?;
    let connection = connecting.await;
    let connection = connection.map_err(|error| explain(&error))?;
    QuicConnection::new(connection, Some(endpoint))
        .dialed()
        .await
}

fn dialer(address: SocketAddr) -> io::Result<Endpoint> {
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
