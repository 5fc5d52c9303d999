//! Sockets of flows. A flow that is cut must not look as if it had ended: until both of its
//! directions have, closing a socket says RST and not FIN, whatever closes it, the end of this
//! process too. So SO_LINGER is 0 before a socket connects or listens, and is lifted at the end alone.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{SockRef, Socket};
use tokio::net::{TcpSocket, TcpStream};

/// Has every connection that the listener `port` accepts say RST when it is closed: Linux hands the
/// option on, so there is no moment without it.
pub(super) fn reset_accepted(port: &Socket) -> io::Result<()> {
    port.set_linger(Some(Duration::ZERO))
}

/// Both directions have ended: closing says FIN, and the kernel delivers what is still under way.
pub(super) fn close_cleanly(tcp: &TcpStream) {
    // On failure the end looks cut, which is the safe mistake.
    SockRef::from(tcp).set_linger(None).ok();
}

/// Connects to the first of `addresses` that answers. Given up at any moment, the connection is
/// reset.
pub(super) async fn connect(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut failed = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in addresses {
        match connect_one(*address).await {
            Ok(tcp) => return Ok(tcp),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

async fn connect_one(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    socket.set_zero_linger()?;
    socket.set_nodelay(true)?;
    socket.connect(address).await
}

/// Copies both ways until both directions have ended, or resets both connections. Counts the bytes
/// of neither: they do not cross the link.
pub(super) async fn join(mut client: TcpStream, mut server: TcpStream) -> io::Result<()> {
    client.set_nodelay(true)?;
    tokio::io::copy_bidirectional(&mut client, &mut server).await?;
    close_cleanly(&client);
    close_cleanly(&server);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read, Write};
    use std::net::{Shutdown, TcpListener as StdListener, TcpStream as StdStream};

    use socket2::{Domain, Type};
    use tokio::net::TcpListener;

    use super::*;

    const ANY_PORT: SocketAddr =
        SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

    /// How a connection looks to its other end.
    fn end_of(mut tcp: StdStream) -> Result<usize, ErrorKind> {
        tcp.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut all = Vec::new();
        tcp.read_to_end(&mut all).map_err(|error| error.kind())
    }

    fn listener() -> TcpListener {
        let port = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        port.set_nonblocking(true).unwrap();
        reset_accepted(&port).unwrap();
        port.bind(&ANY_PORT.into()).unwrap();
        port.listen(8).unwrap();
        TcpListener::from_std(port.into()).unwrap()
    }

    #[tokio::test]
    async fn a_connection_that_nobody_ended_says_so_at_both_ends_of_a_gateway() {
        let near = listener();
        let client = StdStream::connect(near.local_addr().unwrap()).unwrap();
        drop(near.accept().await.unwrap());
        assert_eq!(end_of(client), Err(ErrorKind::ConnectionReset));

        let target = StdListener::bind(ANY_PORT).unwrap();
        drop(connect(&[target.local_addr().unwrap()]).await.unwrap());
        let (served, _) = target.accept().unwrap();
        assert_eq!(end_of(served), Err(ErrorKind::ConnectionReset));
    }

    #[tokio::test]
    async fn a_connection_that_is_given_up_while_it_is_made_does_not_look_ended() {
        let target = StdListener::bind(ANY_PORT).unwrap();
        let address = target.local_addr().unwrap();
        // The kernel has completed it by the time of the first poll, tokio does not know.
        let mut connecting = Box::pin(async move { connect(&[address]).await.map(drop) });
        let waker = std::task::Waker::noop();
        let polled = connecting
            .as_mut()
            .poll(&mut std::task::Context::from_waker(waker));
        assert!(polled.is_pending());
        let (served, _) = target.accept().unwrap();
        drop(connecting);
        assert_eq!(end_of(served), Err(ErrorKind::ConnectionReset));
    }

    #[tokio::test]
    async fn what_ended_both_ways_ends_cleanly_and_whole() {
        let near = listener();
        let target = StdListener::bind(ANY_PORT).unwrap();
        let address = target.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (mut served, _) = target.accept().unwrap();
            let mut asked = Vec::new();
            served.read_to_end(&mut asked).unwrap();
            served.write_all(&asked).unwrap();
        });
        let mut client = StdStream::connect(near.local_addr().unwrap()).unwrap();
        let asking = std::thread::spawn(move || {
            client.write_all(&[7; 100_000]).unwrap();
            client.shutdown(Shutdown::Write).unwrap();
            end_of(client)
        });
        let (accepted, _) = near.accept().await.unwrap();
        join(accepted, connect(&[address]).await.unwrap())
            .await
            .unwrap();
        assert_eq!(asking.join().unwrap(), Ok(100_000));
        server.join().unwrap();
    }
}
