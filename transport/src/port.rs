use std::io;
use std::net::{SocketAddr, UdpSocket};

use tokio::net::{TcpListener, TcpSocket};

use crate::error::BindError;
use crate::quic;

/// How often a port is picked anew that is not free for UDP and TCP alike.
const ANY_PORT_ATTEMPTS: usize = 16;
/// Connections over TCP that wait to be accepted, at most.
const BACKLOG: u32 = 1024;

/// A node's port, UDP and TCP, that was taken and where nobody is answered yet.
#[derive(Debug)]
pub struct Port {
    pub(crate) udp: UdpSocket,
    tcp: TcpSocket,
    address: SocketAddr,
}

impl Port {
    /// Takes `address`. Port 0: any that is free for both.
    ///
    /// # Errors
    /// The system refuses one of them.
    pub fn take(address: SocketAddr) -> Result<Self, BindError> {
        let mut attempts = 0..ANY_PORT_ATTEMPTS;
        loop {
            match Self::try_take(address) {
                Ok(port) => return Ok(port),
                // The system picked a port that is free for UDP alone.
                Err(_) if address.port() == 0 && attempts.next().is_some() => {}
                Err(source) => return Err(BindError::Listen { address, source }),
            }
        }
    }

    fn try_take(address: SocketAddr) -> io::Result<Self> {
        let udp = quic::socket::bind(address)?;
        let taken = udp.local_addr()?;
        let tcp = match taken {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        tcp.set_reuseaddr(true)?;
        tcp.bind(taken)?;
        Ok(Self { udp, tcp, address })
    }

    /// Has those who come over TCP wait, and hands out both sockets.
    pub(crate) fn open(self) -> Result<(UdpSocket, TcpListener), BindError> {
        let Self { udp, tcp, address } = self;
        let listener = tcp.listen(BACKLOG);
        let listener = listener.map_err(|source| BindError::Listen { address, source })?;
        Ok((udp, listener))
    }
}
