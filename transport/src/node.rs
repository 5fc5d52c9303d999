use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Weak;
use std::time::Duration;

use quinn::{AsyncUdpSocket, Endpoint, Incoming};
use tokio::sync::mpsc::Sender;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};

use crate::codec::{Decode, Encode};
use crate::config::{NodeConfig, PeerConfig};
use crate::error::BindError;
use crate::identity::PublicKey;
use crate::link::{self, Caller, LinkEvents, LinkHandle, Own, Running};
use crate::quic::{self, Goodbye, tls};
use crate::refusals::Refusals;
use crate::session::Instance;

/// Handshakes of others at a time; beyond half of it, addresses must prove themselves.
const HANDSHAKES_MAX: usize = 32;
/// How long a handshake may take that others began.
const HANDSHAKE_MAX: Duration = Duration::from_secs(5);
const SOCKET_POLL: Duration = Duration::from_millis(2);
/// How long goodbyes may take to reach the peers.
const GOODBYE_MAX: Duration = Duration::from_millis(500);
const CLOSE_MAX: Duration = Duration::from_secs(3);

/// A gateway's end of all its links: one listening socket, and the links' threads.
#[derive(Debug)]
pub struct Node {
    local_addr: SocketAddr,
    endpoint: Endpoint,
    socket: Weak<dyn AsyncUdpSocket>,
    accept: JoinHandle<()>,
    links: Vec<Running>,
}

impl Node {
    /// Listens, and starts a link to every peer. `codec` is called once for each. Must run
    /// inside tokio.
    #[allow(
        clippy::unused_async,
        reason = "it needs a runtime, and may come to resolve names"
    )]
    pub async fn bind(
        config: NodeConfig,
        mut codec: impl FnMut(&PeerConfig) -> (Box<dyn Encode>, Box<dyn Decode>),
    ) -> Result<(Self, Vec<(LinkHandle, LinkEvents)>), BindError> {
        let pinned = pin(&config)?;
        let crypto = tls::server(&config.identity, pinned)
            .map_err(|error| BindError::Tls(error.to_string()))?;
        let listen = |source| BindError::Listen {
            address: config.listen,
            source,
        };
        let (endpoint, socket) = quic::listen(config.listen, crypto).map_err(listen)?;
        let local_addr = endpoint.local_addr().map_err(listen)?;
        let own = Own {
            site: config.site,
            incarnation: config.incarnation,
            identity: config.identity,
            instance: Instance(rand::random_range(1..=u64::MAX)),
        };
        let mut callers = HashMap::new();
        let (mut links, mut ends) = (Vec::new(), Vec::new());
        for peer in config.peers {
            let codec = codec(&peer);
            let (key, site) = (peer.key, peer.site.clone());
            let (running, handle, events) = link::start(own.clone(), peer, codec)
                .map_err(|source| BindError::Thread { site, source })?;
            callers.insert(key, running.callers());
            links.push(running);
            ends.push((handle, events));
        }
        let node = Self {
            local_addr,
            accept: tokio::spawn(accept(endpoint.clone(), callers)),
            endpoint,
            socket,
            links,
        };
        Ok((node, ends))
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Says goodbye to all peers, stops the links' threads and frees the port; within three
    /// seconds.
    pub async fn close(self) {
        self.accept.abort();
        // Peers dial again and again; from here on nobody hears them.
        self.endpoint.set_server_config(None);
        for link in &self.links {
            link.stop();
        }
        let stopped = async {
            for link in self.links {
                link.stopped().await;
            }
            self.endpoint.close(Goodbye::Stopping.code(), b"stopping");
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

fn pin(config: &NodeConfig) -> Result<tls::PinnedKeys, BindError> {
    let pinned = tls::PinnedKeys::default();
    for peer in &config.peers {
        if peer.key == config.identity.public_key() || !pinned.insert(peer.key) {
            return Err(BindError::DuplicateKey(peer.site.clone()));
        }
    }
    Ok(pinned)
}

/// Answers those who dial us.
async fn accept(endpoint: Endpoint, callers: HashMap<PublicKey, Sender<Caller>>) {
    let mut handshakes = JoinSet::new();
    let mut refusals = Refusals::default();
    loop {
        tokio::select! {
            incoming = endpoint.accept() => match incoming {
                Some(incoming) => admit(incoming, &callers, &mut handshakes),
                None => return,
            },
            Some(result) = handshakes.join_next() => {
                if let Ok(Err((address, reason))) = result {
                    refusals.log(std::time::Instant::now(), address, &reason);
                }
            }
        }
    }
}

type Refused = (SocketAddr, String);

/// Starts a handshake, unless there are too many.
fn admit(
    incoming: Incoming,
    callers: &HashMap<PublicKey, Sender<Caller>>,
    handshakes: &mut JoinSet<Result<(), Refused>>,
) {
    if handshakes.len() >= HANDSHAKES_MAX {
        incoming.ignore();
    } else if handshakes.len() >= HANDSHAKES_MAX / 2 && incoming.may_retry() {
        // An address that is not the sender's own never comes back.
        drop(incoming.retry());
    } else {
        handshakes.spawn(answer(incoming, callers.clone()));
    }
}

async fn answer(
    incoming: Incoming,
    callers: HashMap<PublicKey, Sender<Caller>>,
) -> Result<(), Refused> {
    let address = incoming.remote_address();
    let refused = |reason: String| (address, reason);
    let connecting = incoming
        .accept()
        .map_err(|error| refused(error.to_string()))?;
    let connection = timeout(HANDSHAKE_MAX, connecting)
        .await
        .map_err(|_| refused("the handshake took too long".into()))?
        .map_err(|error| refused(error.to_string()))?;
    let key = tls::peer_key(&connection);
    let Some(link) = key.and_then(|key| callers.get(&key)) else {
        connection.close(Goodbye::Violation.code(), b"unknown key");
        return Err(refused("unknown key".into()));
    };
    if let Some(caller) = link::introduce(connection).await {
        // A link that has stopped needs no callers.
        drop(link.send(caller).await);
    }
    Ok(())
}
