use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

/// Carries datagrams and TCP connections to a node and back, unless it is cut: then it swallows
/// them.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    cut: Arc<Cut>,
}

#[derive(Default)]
struct Cut {
    udp: AtomicBool,
    tcp: AtomicBool,
    /// Datagrams to the node take different ways.
    disorder: AtomicBool,
}

/// How long a datagram is under way at least, where they take different ways.
const SHORT_WAY: Duration = Duration::from_millis(20);
/// By how much the slowest of so many ways is longer than the first, in milliseconds.
const WAYS: u64 = 4;

impl Proxy {
    pub(crate) async fn start(target: SocketAddr) -> Self {
        let (socket, listener) = loop {
            let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            let address = socket.local_addr().unwrap();
            if let Ok(listener) = TcpListener::bind(address).await {
                break (Arc::new(socket), listener);
            }
        };
        let address = socket.local_addr().unwrap();
        let cut = Arc::<Cut>::default();
        tokio::spawn(forward(socket, target, Arc::clone(&cut)));
        tokio::spawn(accept(listener, target, Arc::clone(&cut)));
        Self { address, cut }
    }

    pub(crate) fn cut(&self) {
        self.cut_udp();
        self.cut.tcp.store(true, Ordering::Relaxed);
    }

    pub(crate) fn cut_udp(&self) {
        self.cut.udp.store(true, Ordering::Relaxed);
    }

    /// Datagrams to the node overtake each other from now on.
    pub(crate) fn disorder(&self) {
        self.cut.disorder.store(true, Ordering::Relaxed);
    }

    pub(crate) fn heal(&self) {
        self.cut.udp.store(false, Ordering::Relaxed);
        self.cut.tcp.store(false, Ordering::Relaxed);
    }
}

async fn forward(socket: Arc<UdpSocket>, target: SocketAddr, cut: Arc<Cut>) {
    let mut upstreams: HashMap<SocketAddr, Arc<UdpSocket>> = HashMap::new();
    let mut buffer = vec![0; 65536];
    let mut ways = (0..WAYS).cycle();
    while let Ok((len, from)) = socket.recv_from(&mut buffer).await {
        if cut.udp.load(Ordering::Relaxed) {
            continue;
        }
        let upstream = match upstreams.get(&from) {
            Some(upstream) => upstream,
            None => {
                let upstream = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
                upstream.connect(target).await.unwrap();
                let back = (Arc::clone(&upstream), Arc::clone(&socket));
                tokio::spawn(backward(back.0, back.1, from, Arc::clone(&cut)));
                upstreams.entry(from).or_insert(upstream)
            }
        };
        if cut.disorder.load(Ordering::Relaxed) {
            let longer = Duration::from_millis(ways.next().unwrap_or(0));
            let (upstream, datagram) = (Arc::clone(upstream), buffer[..len].to_vec());
            tokio::spawn(async move {
                tokio::time::sleep(SHORT_WAY + longer).await;
                drop(upstream.send(&datagram).await);
            });
            continue;
        }
        // A node that is gone refuses; the next datagram may find it again.
        drop(upstream.send(&buffer[..len]).await);
    }
}

async fn backward(upstream: Arc<UdpSocket>, socket: Arc<UdpSocket>, to: SocketAddr, cut: Arc<Cut>) {
    let mut buffer = vec![0; 65536];
    loop {
        if let Ok(len) = upstream.recv(&mut buffer).await
            && !cut.udp.load(Ordering::Relaxed)
        {
            drop(socket.send_to(&buffer[..len], to).await);
        }
    }
}

async fn accept(listener: TcpListener, target: SocketAddr, cut: Arc<Cut>) {
    while let Ok((near, _)) = listener.accept().await {
        let Ok(far) = TcpStream::connect(target).await else {
            continue;
        };
        let ((near_read, near_write), (far_read, far_write)) =
            (near.into_split(), far.into_split());
        tokio::spawn(copy(near_read, far_write, Arc::clone(&cut)));
        tokio::spawn(copy(far_read, near_write, Arc::clone(&cut)));
    }
}

/// While it is cut, bytes stand still.
async fn copy(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, cut: Arc<Cut>) -> io::Result<()> {
    let mut buffer = vec![0; 65536];
    loop {
        while cut.tcp.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        match from.read(&mut buffer).await? {
            0 => return to.shutdown().await,
            len => to.write_all(&buffer[..len]).await?,
        }
    }
}
