use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::net::UdpSocket;

/// Carries datagrams to a node and back, unless it is cut: then it swallows them.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    cut: Arc<AtomicBool>,
}

impl Proxy {
    pub(crate) fn start(target: SocketAddr) -> Self {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let address = socket.local_addr().unwrap();
        let socket = Arc::new(UdpSocket::from_std(socket).unwrap());
        let cut = Arc::new(AtomicBool::new(false));
        tokio::spawn(forward(socket, target, Arc::clone(&cut)));
        Self { address, cut }
    }

    pub(crate) fn cut(&self) {
        self.cut.store(true, Ordering::Relaxed);
    }

    pub(crate) fn heal(&self) {
        self.cut.store(false, Ordering::Relaxed);
    }
}

async fn forward(socket: Arc<UdpSocket>, target: SocketAddr, cut: Arc<AtomicBool>) {
    let mut upstreams: HashMap<SocketAddr, Arc<UdpSocket>> = HashMap::new();
    let mut buffer = vec![0; 65536];
    while let Ok((len, from)) = socket.recv_from(&mut buffer).await {
        if cut.load(Ordering::Relaxed) {
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
        // A node that is gone refuses; the next datagram may find it again.
        drop(upstream.send(&buffer[..len]).await);
    }
}

async fn backward(
    upstream: Arc<UdpSocket>,
    socket: Arc<UdpSocket>,
    to: SocketAddr,
    cut: Arc<AtomicBool>,
) {
    let mut buffer = vec![0; 65536];
    loop {
        if let Ok(len) = upstream.recv(&mut buffer).await
            && !cut.load(Ordering::Relaxed)
        {
            drop(socket.send_to(&buffer[..len], to).await);
        }
    }
}
