//! Where clients connect: TCP addresses and unix sockets.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::net::{TcpListener, TcpSocket, UnixListener, UnixSocket};

use super::address::ClientAddress;
use super::stream::Handover;
use super::unix_socket::SocketFile;

/// Connections that wait to be accepted, at most.
const BACKLOG: u32 = 1024;

/// One place where clients connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// Port 0: any free one.
    Tcp(SocketAddr),
    /// The same behind TLS.
    Tls(SocketAddr),
    /// A unix socket, made anew at each start with these permissions.
    Unix { path: PathBuf, mode: u32 },
    /// The gateway's own commands come in through the socket of its data directory.
    Own,
}

impl Endpoint {
    /// The address of plain TCP, if it has one.
    pub fn tcp(&self) -> Option<SocketAddr> {
        self.address().filter(|_| !self.is_tls())
    }

    /// The address, be it of TLS or plain.
    pub fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) | Self::Tls(address) => Some(*address),
            Self::Unix { .. } | Self::Own => None,
        }
    }

    pub fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// As `CLIENT LIST` has it.
    pub(super) fn local_address(&self) -> String {
        match self {
            Self::Tcp(address) | Self::Tls(address) => address.to_string(),
            Self::Unix { path, .. } => format!("{}:0", path.display()),
            Self::Own => ClientAddress::Own.to_string(),
        }
    }
}

/// As `listen.grid` has it.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Tls(address) => write!(f, "tls:{address}"),
            Self::Unix { path, .. } => write!(f, "unix:{}", path.display()),
            Self::Own => f.write_str("strait.sock"),
        }
    }
}

/// The address could not be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen for Redis clients on {endpoint}: {source}")]
pub struct BindError {
    pub(super) endpoint: Endpoint,
    pub(super) source: io::Error,
}

/// A place that was taken and does not listen yet: who connects is refused, and no other process
/// can have it.
#[derive(Debug)]
pub struct Port {
    socket: Socket,
    endpoint: Endpoint,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpSocket),
    Unix(UnixSocket, SocketFile),
}

impl Port {
    /// Takes it. Must run inside tokio.
    pub fn take(endpoint: &Endpoint) -> Result<Self, BindError> {
        let taken = match endpoint {
            Endpoint::Tcp(address) | Endpoint::Tls(address) => bind_tcp(*address).map(Socket::Tcp),
            Endpoint::Unix { path, mode } => bind_unix(path, *mode),
            Endpoint::Own => Err(io::ErrorKind::Unsupported.into()),
        };
        let endpoint = endpoint.clone();
        match taken {
            Ok(socket) => Ok(Self { socket, endpoint }),
            Err(source) => Err(BindError { endpoint, source }),
        }
    }

    pub(super) fn listen(self) -> Result<Listener, BindError> {
        let endpoint = self.endpoint;
        let listening = match self.socket {
            Socket::Tcp(socket) => listen_tcp(socket, &endpoint),
            Socket::Unix(socket, file) => (socket.listen(BACKLOG))
                .map(|listener| (Accepting::Unix(listener, file), endpoint.clone())),
        };
        match listening {
            Ok((accepting, endpoint)) => Ok(Listener {
                accepting,
                endpoint: Arc::new(endpoint),
            }),
            Err(source) => Err(BindError { endpoint, source }),
        }
    }
}

fn bind_tcp(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

fn listen_tcp(socket: TcpSocket, endpoint: &Endpoint) -> io::Result<(Accepting, Endpoint)> {
    let listener = socket.listen(BACKLOG)?;
    let found = listener.local_addr()?;
    let endpoint = match endpoint.is_tls() {
        true => Endpoint::Tls(found),
        false => Endpoint::Tcp(found),
    };
    Ok((Accepting::Tcp(listener), endpoint))
}

/// Nobody can connect before it listens, and by then its permissions are set.
fn bind_unix(path: &Path, mode: u32) -> io::Result<Socket> {
    let file = SocketFile::claim(path)?;
    let socket = UnixSocket::new_stream()?;
    socket.bind(path)?;
    file.set_mode(mode)?;
    Ok(Socket::Unix(socket, file))
}

/// A client that nobody serves yet.
#[derive(Debug)]
pub(super) struct Accepted {
    pub(super) stream: Handover,
    pub(super) address: ClientAddress,
    /// Where it connected.
    pub(super) listener: Arc<Endpoint>,
}

/// A place where clients are accepted.
#[derive(Debug)]
pub(super) struct Listener {
    accepting: Accepting,
    /// With the port that was found.
    pub(super) endpoint: Arc<Endpoint>,
}

#[derive(Debug)]
enum Accepting {
    Tcp(TcpListener),
    /// The file goes with it.
    Unix(UnixListener, SocketFile),
}

impl Listener {
    /// The next client.
    pub(super) async fn accept(&self) -> io::Result<Accepted> {
        let (stream, address) = self.accept_stream().await?;
        Ok(Accepted {
            stream,
            address,
            listener: self.endpoint.clone(),
        })
    }

    async fn accept_stream(&self) -> io::Result<(Handover, ClientAddress)> {
        match &self.accepting {
            Accepting::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                let stream = Handover::Tcp(stream.into_std()?);
                Ok((stream, ClientAddress::Net(address)))
            }
            Accepting::Unix(listener, file) => {
                let (stream, _) = listener.accept().await?;
                let address = ClientAddress::Unix {
                    path: file.path().into(),
                    uid: stream.peer_cred()?.uid(),
                };
                Ok((Handover::Unix(stream.into_std()?), address))
            }
        }
    }
}
