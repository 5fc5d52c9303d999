use std::net::{SocketAddr, UdpSocket};

use crate::codec::{Decode, Encode};
use crate::config::{NodeConfig, PeerConfig};
use crate::error::BindError;
use crate::link::{self, LinkEvents, LinkHandle};

/// A gateway's end of all its links: one listening socket, and the links' threads.
#[derive(Debug)]
pub struct Node {
    local_addr: SocketAddr,
}

impl Node {
    /// Listens, and starts a link to every peer. `codec` is called once for each. Must run
    /// inside tokio.
    #[allow(clippy::unused_async, reason = "resolves addresses once links dial")]
    pub async fn bind(
        config: NodeConfig,
        mut codec: impl FnMut(&PeerConfig) -> (Box<dyn Encode>, Box<dyn Decode>),
    ) -> Result<(Self, Vec<(LinkHandle, LinkEvents)>), BindError> {
        let listen = |source| BindError::Listen {
            address: config.listen,
            source,
        };
        let socket = UdpSocket::bind(config.listen).map_err(listen)?;
        let local_addr = socket.local_addr().map_err(listen)?;
        let links = config.peers.iter().map(|peer| {
            let (_encode, _decode) = codec(peer);
            let (_sender, events) = link::channel();
            (LinkHandle::new(peer.site.clone(), peer.key), events)
        });
        Ok((Self { local_addr }, links.collect()))
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Says goodbye to all peers and stops the links' threads; within two seconds.
    #[allow(clippy::unused_async, reason = "waits for goodbyes once links dial")]
    pub async fn close(self) {}
}
