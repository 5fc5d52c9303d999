use std::net::SocketAddr;
use std::time::Duration;

use strait_transport::{
    Identity, LinkEvent, LinkEvents, LinkHandle, Node, NodeConfig, PeerConfig, Transport,
};
use tokio::time::timeout;

use crate::codec::{Marking, Unmarking};

/// Nothing on loopback takes longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A site before it runs, and between its runs.
pub(crate) struct Site {
    pub(crate) name: &'static str,
    pub(crate) identity: Identity,
    pub(crate) incarnation: u64,
}

/// A running site with one peer.
pub(crate) struct Running {
    pub(crate) node: Node,
    pub(crate) link: LinkHandle,
    pub(crate) events: LinkEvents,
}

impl Site {
    pub(crate) fn new(name: &'static str) -> Self {
        Self {
            name,
            identity: Identity::generate().unwrap(),
            incarnation: 7,
        }
    }

    /// Starts with `peer` as the only peer; without an address the peer must dial.
    pub(crate) async fn start(&self, peer: &Self, address: Option<SocketAddr>) -> Running {
        let listen = ([127, 0, 0, 1], 0).into();
        self.start_at(listen, peer, address).await
    }

    pub(crate) async fn start_at(
        &self,
        listen: SocketAddr,
        peer: &Self,
        address: Option<SocketAddr>,
    ) -> Running {
        self.start_with(listen, peer.as_peer(address)).await
    }

    /// Starts and dials `peer` there over TCP alone.
    pub(crate) async fn start_over_tcp(&self, peer: &Self, address: SocketAddr) -> Running {
        self.start_over(Transport::Tcp, peer, address).await
    }

    /// Starts and dials `peer` there over one transport alone.
    pub(crate) async fn start_over(
        &self,
        over: Transport,
        peer: &Self,
        address: SocketAddr,
    ) -> Running {
        let peer = PeerConfig {
            transport: Some(over),
            ..peer.as_peer(Some(address))
        };
        self.start_with(([127, 0, 0, 1], 0).into(), peer).await
    }

    /// Starts and dials `peer` there, at this rate.
    pub(crate) async fn start_at_rate(
        &self,
        peer: &Self,
        address: SocketAddr,
        rate_bits_s: u64,
    ) -> Running {
        let peer = PeerConfig {
            rate_bits_s: Some(rate_bits_s),
            ..peer.as_peer(Some(address))
        };
        self.start_with(([127, 0, 0, 1], 0).into(), peer).await
    }

    fn as_peer(&self, address: Option<SocketAddr>) -> PeerConfig {
        PeerConfig {
            addresses: address.iter().map(ToString::to_string).collect(),
            ..PeerConfig::new(self.name.parse().unwrap(), self.identity.public_key())
        }
    }

    async fn start_with(&self, listen: SocketAddr, peer: PeerConfig) -> Running {
        let config = NodeConfig {
            site: self.name.parse().unwrap(),
            incarnation: self.incarnation,
            identity: self.identity.clone(),
            listen,
            callers_from: Vec::new(),
            gso: true,
            peers: vec![peer],
        };
        let codec = |_: &PeerConfig| -> (
            Box<dyn strait_transport::Encode>,
            Box<dyn strait_transport::Decode>,
        ) { (Box::new(Marking::new()), Box::new(Unmarking::new())) };
        let (node, mut links) = Node::bind(config, codec).await.unwrap();
        let (link, events) = links.pop().unwrap();
        Running { node, link, events }
    }
}

impl Running {
    pub(crate) async fn next(&mut self) -> LinkEvent {
        next(&mut self.events).await
    }

    /// Waits for the link to come up; says whether the session is fresh.
    pub(crate) async fn up(&mut self) -> bool {
        loop {
            match self.next().await {
                LinkEvent::Up { fresh, .. } => return fresh,
                LinkEvent::Down { .. } => {}
                LinkEvent::Batch(batch) => panic!("a batch before the link is up: {batch:?}"),
            }
        }
    }
}

pub(crate) async fn next(events: &mut LinkEvents) -> LinkEvent {
    let event = timeout(PATIENCE, events.next()).await;
    event.expect("an event in time").expect("a running node")
}

/// Two sites, both up. `west` listens and `east` dials.
pub(crate) async fn connected() -> (Running, Running) {
    let (east, west) = (Site::new("east"), Site::new("west"));
    let mut west_runs = west.start(&east, None).await;
    let mut east_runs = east.start(&west, Some(west_runs.node.local_addr())).await;
    assert!(east_runs.up().await);
    assert!(west_runs.up().await);
    (east_runs, west_runs)
}
