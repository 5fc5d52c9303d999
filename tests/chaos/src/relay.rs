//! The link between two sites: UDP through the demo's WAN, TCP beside it on the same port.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use strait_tests::{Wan, WanConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

/// How often a held-up direction looks whether it may go on.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// What a link does to all that crosses it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weather {
    pub(crate) delay: Duration,
    pub(crate) loss: f64,
    pub(crate) seed: u64,
}

/// A relay in front of one gateway's link address. Stops when dropped.
#[derive(Debug)]
pub(crate) struct Relay {
    wan: Wan,
    loss: f64,
    there: Arc<AtomicBool>,
    back: Arc<AtomicBool>,
    _runtime: Runtime,
}

impl Relay {
    pub(crate) fn to(target: SocketAddr, weather: Weather) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime for the relay");
        let config = WanConfig {
            rate_bits_s: 200_000_000,
            delay: weather.delay,
            loss: weather.loss,
            queue: Duration::from_millis(50),
            seed: weather.seed,
        };
        let (wan, listener) = runtime.block_on(both_sockets(config, target));
        let (there, back) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let gates = (Arc::clone(&there), Arc::clone(&back));
        runtime.spawn(accept(listener, target, weather.delay, gates));
        Self {
            wan,
            loss: weather.loss,
            there,
            back,
            _runtime: runtime,
        }
    }

    /// Where to dial instead of the target.
    pub(crate) fn address(&self) -> SocketAddr {
        self.wan.address()
    }

    /// Nothing gets through, UDP or TCP, towards the target or back from it.
    pub(crate) fn cut(&self, there: bool, back: bool) {
        self.wan.cut_ways(there, back);
        self.there.store(there, Ordering::Relaxed);
        self.back.store(back, Ordering::Relaxed);
    }

    /// UDP gets through no more, TCP does.
    pub(crate) fn block_udp(&self) {
        self.wan.cut();
    }

    /// Datagrams are lost with this probability.
    pub(crate) fn set_loss(&self, loss: f64) {
        self.wan.set_loss(loss);
    }

    /// The link is as it was at first.
    pub(crate) fn heal(&self) {
        self.cut(false, false);
        self.set_loss(self.loss);
    }
}

/// A WAN for UDP and a listener for TCP on the same port.
async fn both_sockets(config: WanConfig, target: SocketAddr) -> (Wan, TcpListener) {
    loop {
        let wan = Wan::start(config, target)
            .await
            .expect("a relay on loopback");
        // Somebody else may have the port's TCP side.
        if let Ok(listener) = TcpListener::bind(wan.address()).await {
            return (wan, listener);
        }
    }
}

type Gates = (Arc<AtomicBool>, Arc<AtomicBool>);

async fn accept(listener: TcpListener, target: SocketAddr, delay: Duration, gates: Gates) {
    loop {
        let Ok((near, _)) = listener.accept().await else {
            continue;
        };
        let (there, back) = gates.clone();
        tokio::spawn(async move {
            let Ok(far) = TcpStream::connect(target).await else {
                return;
            };
            let (near, far) = (near.into_split(), far.into_split());
            tokio::join!(
                carry(near.0, far.1, delay, there),
                carry(far.0, near.1, delay, back)
            );
        });
    }
}

/// One direction. While it is cut bytes wait, as the kernel would go on sending them.
async fn carry(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    delay: Duration,
    cut: Arc<AtomicBool>,
) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = from.read(&mut buffer).await.unwrap_or(0);
        tokio::time::sleep(delay).await;
        while cut.load(Ordering::Relaxed) {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        if read == 0 || to.write_all(&buffer[..read]).await.is_err() {
            // Gone is gone, also for the other end.
            drop(to.shutdown().await);
            return;
        }
    }
}
