//! The room as the gateway sees it: listeners, and the flows of each peer.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use socket2::Socket;
use strait_transport::{LinkHandle, Received, Seq, SiteName};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::allow::AllowRule;
use super::figures::{FLOWS_SHOWN_MAX, ForwardsReport};
use super::flow::Ends;
use super::inlet::Arrival;
use super::listener::{self, Forward};
use super::message::{self, FlowRequest, Refusal};
use super::own::OwnListeners;
use super::peer::{Peer, Session};
use super::serve;
use super::settings::ForwardSettings;
use super::window::WindowPool;
use crate::streams::StreamOpen;

/// A forward that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Its address could not be listened on.
    #[error("cannot listen for the forward on {listen}: {source}")]
    Listen {
        /// The address.
        listen: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// There is no link to its peer.
    #[error("the forward on {listen} goes to {peer}, which is no peer")]
    UnknownPeer {
        /// The forward.
        listen: SocketAddr,
        /// The site.
        peer: SiteName,
    },
}

/// Forwards of this gateway, and the flows that its peers open here. Used as
/// `Arc<Forwards>`.
#[derive(Debug)]
pub struct Forwards {
    allow: Arc<[AllowRule]>,
    peers: HashMap<SiteName, Arc<Peer>>,
    forwards: Vec<Arc<Forward>>,
    pool: WindowPool,
}

/// Ports of forwards that were taken and do not listen yet, in the order of their settings.
#[derive(Debug)]
pub(crate) struct Ports(Vec<Socket>);

impl Ports {
    /// Takes the port of every forward.
    pub(crate) fn take(settings: &[ForwardSettings]) -> Result<Self, BindError> {
        let take = |settings| failing(settings, listener::take(settings));
        settings
            .iter()
            .map(take)
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

/// What failed is that this forward listens.
fn failing<T>(settings: &ForwardSettings, result: io::Result<T>) -> Result<T, BindError> {
    let listen = settings.listen;
    result.map_err(|source| BindError::Listen { listen, source })
}

/// What a forward listens on, until it is served.
pub(crate) type Listeners = Vec<TcpListener>;

impl Forwards {
    /// Listens for every forward, on the ports that were taken for the same settings. Must run
    /// inside tokio.
    pub(crate) fn listen(
        Ports(ports): Ports,
        settings: &[ForwardSettings],
        allow: &[AllowRule],
        links: HashMap<SiteName, LinkHandle>,
    ) -> Result<(Self, Listeners), BindError> {
        let peers = links.into_iter();
        let peers = peers.map(|(site, link)| (site, Arc::new(Peer::new(link))));
        let mut room = Self {
            allow: allow.into(),
            peers: peers.collect(),
            forwards: Vec::new(),
            pool: WindowPool::default(),
        };
        let listeners: Listeners = settings
            .iter()
            .zip(ports)
            .map(|(settings, port)| failing(settings, listener::listen(port)))
            .collect::<Result<_, _>>()?;
        let bound = settings.iter().zip(&listeners);
        let bound: Vec<_> = bound
            .map(|(settings, listener)| failing(settings, listener.local_addr()))
            .collect::<Result<_, _>>()?;
        let own = Arc::new(OwnListeners::new(bound.clone()));
        for (settings, listen) in settings.iter().zip(bound) {
            let forward = room.forward(settings, listen, &own)?;
            room.forwards.push(Arc::new(forward));
        }
        Ok((room, listeners))
    }

    fn forward(
        &self,
        settings: &ForwardSettings,
        listen: SocketAddr,
        own: &Arc<OwnListeners>,
    ) -> Result<Forward, BindError> {
        let peer = self.peers.get(&settings.peer);
        let peer = peer.ok_or_else(|| BindError::UnknownPeer {
            listen: settings.listen,
            peer: settings.peer.clone(),
        })?;
        Ok(Forward {
            settings: settings.clone(),
            listen,
            peer: peer.clone(),
            own: own.clone(),
            counters: Default::default(),
            refusals: Default::default(),
        })
    }

    /// Serves the listeners that came with [`Forwards::listen`] until `stop` is done; then
    /// resets every flow.
    pub async fn serve(self: Arc<Self>, listeners: Listeners, stop: impl Future<Output = ()>) {
        let mut accepting = JoinSet::new();
        for (forward, listener) in self.forwards.iter().zip(listeners) {
            accepting.spawn(accept(forward.clone(), listener));
        }
        stop.await;
        for peer in self.peers.values() {
            peer.close();
        }
        // With the listeners' tasks those of their clients end.
        accepting.shutdown().await;
    }

    /// The link to `site` is up; `fresh` as in [`strait_transport::LinkEvent::Up`].
    /// Must run inside tokio.
    pub fn handle_up(&self, site: &SiteName, fresh: bool) {
        if let Some(peer) = self.peers.get(site) {
            peer.handle_up(fresh, &self.pool);
        }
    }

    /// The link to `site` is down. Flows wait, for as long as their patience lasts.
    pub fn handle_down(&self, site: &SiteName) {
        if let Some(peer) = self.peers.get(site) {
            peer.handle_down();
        }
    }

    /// Takes a batch of a stream that is this room's, and acknowledges it. Never waits.
    /// Must run inside tokio.
    pub fn handle_batch(&self, site: &SiteName, open: StreamOpen, batch: Received) {
        let peer = self.peers.get(site);
        if let Some((peer, session)) = peer.and_then(|peer| Some((peer, peer.session()?))) {
            match open {
                StreamOpen::Grid { .. }
                | StreamOpen::CompareAsk
                | StreamOpen::CompareAnswer
                | StreamOpen::Refusals
                | StreamOpen::BulkMessages
                | StreamOpen::BulkData { .. } => {}
                StreamOpen::FlowMessages => handle_messages((site, peer), &session, &batch),
                StreamOpen::FlowData { flow, offset } => {
                    session.handle_batch(flow, arrival(&batch, offset));
                }
                StreamOpen::FlowOpen(request) => {
                    let flow = request.flow;
                    let opened = match batch.seq {
                        Seq(0) => self.open(peer, &session, request),
                        Seq(_) => Ok(()),
                    };
                    match opened {
                        Ok(()) => session.handle_batch(flow, arrival(&batch, 0)),
                        Err(refusal) => session.refuse(flow, refusal),
                    }
                }
            }
        }
        batch.ack();
    }

    fn open(
        &self,
        peer: &Arc<Peer>,
        session: &Arc<Session>,
        request: FlowRequest,
    ) -> Result<(), Refusal> {
        let ends = Ends {
            client: request.client,
            target: request.target.clone(),
        };
        let flow = session.add(request.flow, ends)?;
        let (allow, peer, session) = (self.allow.clone(), peer.clone(), session.clone());
        tokio::spawn(serve::serve(allow, peer, session, flow, request));
        Ok(())
    }

    /// Forwards and flows at this moment.
    pub fn report(&self) -> ForwardsReport {
        let mut report = ForwardsReport::default();
        report.forwards = self.forwards.iter().map(|f| f.report()).collect();
        let mut peers: Vec<_> = self.peers.iter().collect();
        peers.sort_by_key(|(site, _)| *site);
        for (site, peer) in peers {
            let served = &peer.served;
            let served = served.report(String::new(), site.to_string(), String::new());
            if served.opened > 0 {
                report.forwards.push(served);
            }
            let flows = peer.session().map(|session| session.flows());
            let flows = flows.into_iter().flatten();
            report
                .flows
                .extend(flows.map(|flow| flow.report(site.as_ref())));
        }
        report.flows.sort_by(|a, b| b.age_s.total_cmp(&a.age_s));
        report.flows.truncate(FLOWS_SHOWN_MAX);
        report
    }
}

fn arrival(batch: &Received, offset: u64) -> Arrival {
    Arrival {
        stream: batch.stream,
        offset,
        bytes: batch.bytes.clone(),
        last: batch.last,
    }
}

fn handle_messages((site, peer): (&SiteName, &Peer), session: &Session, batch: &Received) {
    match message::decode(&batch.bytes) {
        Some(messages) => messages
            .into_iter()
            .for_each(|message| session.handle_message(message)),
        None => {
            if let Some(more) = peer.unreadable.lock().is_due(Instant::now()) {
                tracing::warn!(%site, more, "messages about flows were not understood");
            }
        }
    }
}

async fn accept(forward: Arc<Forward>, listener: TcpListener) {
    let mut clients = JoinSet::new();
    loop {
        tokio::select! {
            Some(_) = clients.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((tcp, address)) => {
                    let forward = forward.clone();
                    clients.spawn(async move { forward.serve(tcp, address).await });
                }
                Err(error) => {
                    // Out of file descriptors, most likely: wait for some flow to end.
                    let listen = forward.listen;
                    tracing::warn!(%error, %listen, "cannot accept a connection to forward");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
        }
    }
}
