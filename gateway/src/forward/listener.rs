//! The near end of a forward: accepts clients and opens a flow for each.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use socket2::{Domain, Protocol, Socket, Type};
use strait_transport::LogPace;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream, lookup_host};
use tokio::time::timeout;

use super::carrier::Carrier;
use super::figures::{Counters, ForwardReport};
use super::flow::Ends;
use super::message::{FlowRequest, Refusal};
use super::own::OwnListeners;
use super::peer::{Peer, Session};
use super::proxy_protocol;
use super::pump::Pump;
use super::settings::{Bypass, ForwardSettings, Target};
use super::socket;
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
    /// This forward's and all others' here.
    pub(super) own: Arc<OwnListeners>,
    pub(super) counters: Counters,
    pub(super) refusals: Mutex<LogPace>,
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
    socket::reset_accepted(&socket)?;
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
        let _room = match self.peer.admission.admit(address.ip()) {
            Ok(room) => room,
            Err(crowded) => {
                Counters::add(&self.counters.reset, 1);
                return self.refused(address, &crowded);
            }
        };
        let client = Client {
            tcp,
            address,
            meant,
        };
        if let Err(refusal) = self.try_serve(client).await {
            Counters::add(&self.counters.reset, 1);
            self.log(address, &refusal);
        }
    }

    async fn try_serve(&self, client: Client) -> Result<(), Refusal> {
        let target = match &self.settings.target {
            Target::Fixed(target) => target.clone(),
            Target::Original if self.own.hold(client.meant) => return Err(goes_round()),
            Target::Original => client.meant.to_string(),
        };
        let session = self.peer.session_within(self.settings.patience).await;
        match (session, self.settings.bypass) {
            (Some(session), _) => self.carry(client, target, &session).await,
            (None, Bypass::Direct) => self.bypass(client, &target).await,
            (None, Bypass::Refuse) => Err(Refusal::LinkAway),
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
        let flow = session.add(request.flow, ends)?;
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
    async fn bypass(&self, client: Client, target: &str) -> Result<(), Refusal> {
        let connecting = timeout(CONNECT_MAX, self.connect_straight(&client, target)).await;
        let late = |_| Err(Refusal::unreachable(&io::ErrorKind::TimedOut.into()));
        let server = connecting.unwrap_or_else(late)?;
        Counters::add(&self.counters.bypassed, 1);
        let joined = socket::join(client.tcp, server).await;
        joined.map_err(|_| Refusal::Reset)
    }

    /// A connection to the target, which has been told who its client is if it is to be.
    async fn connect_straight(&self, client: &Client, target: &str) -> Result<TcpStream, Refusal> {
        let unreachable = |error| Refusal::unreachable(&error);
        let mut addresses: Vec<_> = lookup_host(target).await.map_err(unreachable)?.collect();
        let found = addresses.len();
        addresses.retain(|address| !self.own.hold(*address));
        if addresses.is_empty() && found > 0 {
            return Err(goes_round());
        }
        let mut server = socket::connect(&addresses).await.map_err(unreachable)?;
        if self.settings.proxy_protocol {
            let header = proxy_protocol::header(client.address, client.meant);
            server.write_all(&header).await.map_err(unreachable)?;
        }
        Ok(server)
    }

    fn log(&self, client: SocketAddr, refusal: &Refusal) {
        match refusal {
            Refusal::Reset | Refusal::SessionReset => {
                let (listen, peer) = (self.listen, &self.settings.peer);
                tracing::debug!(%listen, %peer, %client, %refusal, "a forwarded connection was reset");
            }
            Refusal::NotAllowed
            | Refusal::Unreachable(_)
            | Refusal::Busy
            | Refusal::LinkAway
            | Refusal::Protocol => self.refused(client, refusal),
        }
    }

    fn refused(&self, client: SocketAddr, refusal: &dyn std::fmt::Display) {
        let more = self.refusals.lock().is_due(Instant::now());
        if let Some(more) = more {
            let (listen, peer) = (self.listen, &self.settings.peer);
            tracing::warn!(%listen, %peer, %client, %refusal, more, "a connection was not forwarded");
        }
    }
}

/// Going on would connect this gateway with itself, again and again.
fn goes_round() -> Refusal {
    Refusal::Unreachable("it is a forward's own address at this gateway".to_owned())
}
