use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use quinn::{AsyncUdpSocket, Endpoint};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{sleep, timeout};

use crate::accept::Door;
use crate::codec::{Decode, Encode};
use crate::config::{NodeConfig, PeerConfig};
use crate::error::BindError;
use crate::identity::{Identity, PublicKey};
use crate::ids::SiteName;
use crate::line::Goodbye;
use crate::link::{self, LinkEvents, LinkHandle, Own, Running};
use crate::peer_networks::PeerNetworks;
use crate::port::Port;
use crate::quic;
use crate::refusals::Refusals;
use crate::session::Instance;
use crate::tcp::Acceptor;
use crate::tls::Keyring;

const SOCKET_POLL: Duration = Duration::from_millis(2);
/// How long goodbyes may take to reach the peers.
const GOODBYE_MAX: Duration = Duration::from_millis(500);
const CLOSE_MAX: Duration = Duration::from_secs(3);

/// A gateway's end of all its links: one listening port, and the links' threads.
#[derive(Debug)]
pub struct Node {
    ring: Keyring,
    local_addr: SocketAddr,
    endpoint: Endpoint,
    socket: Weak<dyn AsyncUdpSocket>,
    accept: JoinHandle<()>,
    networks: Arc<PeerNetworks>,
    refusals: Arc<Refusals>,
    links: Vec<Running>,
}

impl Node {
    /// Takes the configured port, and goes on as [`Node::listen`].
    pub async fn bind(
        config: NodeConfig,
        codec: impl FnMut(&PeerConfig) -> (Box<dyn Encode>, Box<dyn Decode>),
    ) -> Result<(Self, Vec<(LinkHandle, LinkEvents)>), BindError> {
        let port = Port::take(config.listen)?;
        Self::listen(port, config, codec).await
    }

    /// Listens on a port that was taken before, and starts a link to every peer. `codec` is called
    /// once for each. Must run inside tokio.
    pub async fn listen(
        port: Port,
        config: NodeConfig,
        mut codec: impl FnMut(&PeerConfig) -> (Box<dyn Encode>, Box<dyn Decode>),
    ) -> Result<(Self, Vec<(LinkHandle, LinkEvents)>), BindError> {
        warm_up().await;
        let tls = |error: rustls::Error| BindError::Tls(error.to_string());
        let pinned = pin(&config.identity, &config.peers)?;
        let ring = Keyring::new(&config.identity, pinned).map_err(tls)?;
        let bound = |source| BindError::Listen {
            address: config.listen,
            source,
        };
        let (udp, listener) = port.open()?;
        let (endpoint, socket) = quic::listen(udp, &ring, config.gso).map_err(bound)?;
        let acceptor = Acceptor::new(&ring).map_err(tls)?;
        let networks = Arc::<PeerNetworks>::default();
        networks.configure(&config.peers);
        let own = Own {
            site: config.site,
            incarnation: config.incarnation,
            ring: ring.clone(),
            gso: config.gso,
            networks: Arc::clone(&networks),
            instance: Instance(rand::random_range(1..=u64::MAX)),
        };
        let mut callers = HashMap::new();
        let (mut links, mut ends) = (Vec::new(), Vec::new());
        for peer in config.peers {
            let codec = codec(&peer);
            let site = peer.site.clone();
            let thread = |source| BindError::Thread {
                site: site.clone(),
                source,
            };
            let (running, handle, events) =
                link::start(own.clone(), peer, codec).map_err(thread)?;
            callers.insert(site, running.callers());
            links.push(running);
            ends.push((handle, events));
        }
        let local_addr = endpoint.local_addr().map_err(bound)?;
        let refusals = Arc::<Refusals>::default();
        let from = (config.callers_from, Arc::clone(&networks));
        let door = Door::new(ring.clone(), callers, from, Arc::clone(&refusals));
        let accept = door.open(endpoint.clone(), listener, acceptor);
        let node = Self {
            ring,
            local_addr,
            accept: tokio::spawn(accept),
            networks,
            refusals,
            endpoint,
            socket,
            links,
        };
        Ok((node, ends))
    }

    /// Exchanges keys, and what is configured of peers, while running. A link whose connections
    /// no longer fit dials anew and goes over without a gap; one whose peer's key is no longer
    /// pinned breaks; one whose peer is configured no longer is closed, for good. Gives the sites
    /// that have no link: they get one from the next node.
    ///
    /// # Errors
    /// Nothing is changed if two sites share a key.
    pub fn reload(
        &self,
        identity: &Identity,
        peers: &[PeerConfig],
    ) -> Result<Vec<SiteName>, BindError> {
        let open = |peer: &PeerConfig| {
            let mut links = self.links.iter().filter(|link| !link.is_closed());
            links.find(|link| *link.site() == peer.site)
        };
        let (linked, new): (Vec<_>, Vec<_>) =
            peers.iter().cloned().partition(|peer| open(peer).is_some());
        let rekeyed = self.ring.own() != identity.public_key();
        let replaced = self.ring.replace(identity, pin(identity, &linked)?);
        replaced.map_err(|error| BindError::Tls(error.to_string()))?;
        self.networks.configure(&linked);
        for link in self.links.iter().filter(|link| !link.is_closed()) {
            match linked.iter().find(|peer| peer.site == *link.site()) {
                Some(peer) => link.reload(peer.clone(), rekeyed),
                None => link.stop(),
            }
        }
        Ok(new.into_iter().map(|peer| peer.site).collect())
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Those who were turned away, as long as the node is there and after.
    pub fn refusals(&self) -> Arc<Refusals> {
        Arc::clone(&self.refusals)
    }

    /// Says goodbye to all peers, stops the links' threads and frees the port; within three
    /// seconds.
    pub async fn close(self) {
        self.accept.abort();
        // Cancelled, it has let go of its socket.
        drop(self.accept.await);
        // Peers dial again and again; from here on nobody hears them.
        self.endpoint.set_server_config(None);
        for link in &self.links {
            link.stop();
        }
        let stopped = async {
            for link in self.links {
                link.stopped().await;
            }
            self.endpoint
                .close(Goodbye::Stopping.code().into(), b"stopping");
            if timeout(GOODBYE_MAX, self.endpoint.wait_idle())
                .await
                .is_err()
            {
                tracing::debug!(
                    open = self.endpoint.open_connections(),
                    "not all took leave"
                );
            }
            quic::let_go(&self.endpoint);
            drop(self.endpoint);
            // QUIC's own task closes the socket when it next runs.
            while self.socket.strong_count() > 0 {
                sleep(SOCKET_POLL).await;
            }
        };
        if timeout(CLOSE_MAX, stopped).await.is_err() {
            tracing::warn!("a link took too long to stop and was left behind");
        }
    }
}

/// Gathers the randomness that keys are made of. The first time takes a tenth of a second, which
/// would otherwise be that of the first who dials us.
async fn warm_up() {
    let drawn = spawn_blocking(|| aws_lc_rs::rand::fill(&mut [0; 1])).await;
    if !matches!(drawn, Ok(Ok(()))) {
        tracing::debug!("no random numbers yet");
    }
}

/// Which site each pinned key belongs to.
fn pin(
    identity: &Identity,
    peers: &[PeerConfig],
) -> Result<BTreeMap<PublicKey, SiteName>, BindError> {
    let mut pinned = BTreeMap::new();
    for peer in peers {
        for key in peer.keys() {
            let other = pinned.insert(key, peer.site.clone());
            if key == identity.public_key() || other.is_some_and(|other| other != peer.site) {
                return Err(BindError::DuplicateKey(peer.site.clone()));
            }
        }
    }
    Ok(pinned)
}
