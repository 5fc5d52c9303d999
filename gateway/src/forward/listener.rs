//! The near end of a forward: accepts clients and opens a flow for each.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use strait_transport::SiteName;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::carrier::Carrier;
use super::figures::{Counters, ForwardReport};
use super::flow::Ends;
use super::message::{FlowRequest, Refusal};
use super::peer::{Peer, Session};
use super::pump::Pump;
use super::settings::{Bypass, ForwardSettings, Target};
use crate::streams::FlowId;

/// Connections that the kernel may complete before they are accepted.
const BACKLOG: i32 = 1024;
/// How long a bypassed connection's target may take to answer.
const CONNECT_MAX: Duration = Duration::from_secs(10);

/// A forward that listens.
#[derive(Debug)]
pub(super) struct Forward {
    pub(super) settings: ForwardSettings,
    /// As bound.
    pub(super) listen: SocketAddr,
    pub(super) peer: Arc<Peer>,
    pub(super) counters: Counters,
}

/// One client's connection.
#[derive(Debug)]
struct Client {
    tcp: TcpStream,
    address: SocketAddr,
    /// What it connected to; where TPROXY brings it here, the address it meant.
    meant: SocketAddr,
}

/// Takes a port, with SO_REUSEADDR, and IP_TRANSPARENT where clients mean other addresses.
pub(super) fn take(settings: &ForwardSettings) -> io::Result<Socket> {
    let domain = Domain::for_address(settings.listen);
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    if settings.target == Target::Original {
        // Needs CAP_NET_ADMIN. The option of IPv4 sockets is the same for IPv6 ones.
        socket.set_ip_transparent_v4(true)?;
    }
    socket.bind(&settings.listen.into())?;
    Ok(socket)
}

/// Listens on a port that was taken.
pub(super) fn listen(port: Socket) -> io::Result<TcpListener> {
    port.listen(BACKLOG)?;
    TcpListener::from_std(port.into())
}

impl Forward {
    pub(super) fn report(&self) -> ForwardReport {
        let target = match &self.settings.target {
            Target::Fixed(target) => target.clone(),
            Target::Original => String::new(),
        };
        let peer = self.settings.peer.to_string();
        self.counters.report(self.listen.to_string(), peer, target)
    }

    /// Carries one client's connection until it is over.
    pub(super) async fn serve(&self, tcp: TcpStream, address: SocketAddr) {
        // A client that has gone again has no address.
        let Ok(meant) = tcp.local_addr() else {
            return;
        };
        let _open = self.counters.open();
        let client = Client {
            tcp,
            address,
            meant,
        };
        let target = match &self.settings.target {
            Target::Fixed(target) => target.clone(),
            Target::Original => meant.to_string(),
        };
        let patience = self.settings.patience;
        let ended = match (
            self.peer.session_within(patience).await,
            self.settings.bypass,
        ) {
            (Some(session), _) => self.carry(client, target, &session).await,
            (None, Bypass::Direct) => self.bypass(client, &target).await,
            (None, Bypass::Refuse) => {
                client.tcp.set_zero_linger().ok();
                Err(Refusal::LinkAway)
            }
        };
        if let Err(refusal) = ended {
            Counters::add(&self.counters.reset, 1);
            let (listen, peer) = (self.listen, &self.settings.peer);
            log(listen, peer, address, &refusal);
        }
    }

    async fn carry(
        &self,
        client: Client,
        target: String,
        session: &Session,
    ) -> Result<(), Refusal> {
        let settings = &self.settings;
        let request = FlowRequest {
            flow: FlowId(rand::random()),
            target: target.clone(),
            class: settings.class,
            patience_s: u16::try_from(settings.patience.as_secs()).unwrap_or(u16::MAX),
            client: client.address,
            proxied: settings.proxy_protocol.then_some(client.meant),
        };
        let ends = Ends {
            client: client.address,
            target,
        };
        let flow = session.add(request.flow, ends).inspect_err(|_| {
            client.tcp.set_zero_linger().ok();
        })?;
        let pump = Pump {
            peer: &self.peer,
            session,
            flow,
            counters: &self.counters,
            class: settings.class,
            patience: settings.patience,
        };
        let carrier = Carrier::opening(self.peer.link.clone(), request);
        pump.run(client.tcp, carrier).await
    }

    /// As if there were no gateway in between.
    async fn bypass(&self, mut client: Client, target: &str) -> Result<(), Refusal> {
        let connecting = timeout(CONNECT_MAX, TcpStream::connect(target)).await;
        let connected = match connecting {
            Ok(connected) => connected,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        };
        let mut server = connected.map_err(|error| {
            client.tcp.set_zero_linger().ok();
            Refusal::unreachable(&error)
        })?;
        Counters::add(&self.counters.bypassed, 1);
        let copied = tokio::io::copy_bidirectional(&mut client.tcp, &mut server).await;
        copied.map_err(|_| {
            client.tcp.set_zero_linger().ok();
            server.set_zero_linger().ok();
            Refusal::Reset
        })?;
        Ok(())
    }
}

fn log(listen: SocketAddr, peer: &SiteName, client: SocketAddr, refusal: &Refusal) {
    match refusal {
        Refusal::Reset | Refusal::SessionReset => {
            tracing::debug!(%listen, %peer, %client, %refusal, "a forwarded connection was reset");
        }
        Refusal::NotAllowed
        | Refusal::Unreachable(_)
        | Refusal::Busy
        | Refusal::LinkAway
        | Refusal::Protocol => {
            tracing::warn!(%listen, %peer, %client, %refusal, "a connection was not forwarded");
        }
    }
}
