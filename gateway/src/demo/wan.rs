//! A wide-area link inside the process: a UDP relay with a rate, a delay, a
//! drop-tail queue, random loss and a cable that can be pulled. Needs no root.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use lru::LruCache;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep_until};

/// Most clients (source addresses) that one relay serves; of more, who was silent longest is
/// forgotten. While the cable is out, gateways dial from ever new sockets.
const CLIENTS_MAX: NonZeroUsize = NonZeroUsize::new(64).unwrap();
/// Largest UDP datagram.
const DATAGRAM_BYTES_MAX: usize = 65_535;
/// Bytes that IPv4 and UDP headers add to each datagram on a real link.
const HEADER_BYTES: u64 = 28;
/// Datagrams under way in one direction; the queue's limit in time is reached long before.
const UNDER_WAY_MAX: usize = 65_536;

/// What kind of link to play.
#[derive(Clone, Copy, Debug)]
pub struct WanConfig {
    /// Bits per second in each direction, IP and UDP headers included.
    pub rate_bits_s: u64,
    /// Propagation delay one way.
    pub delay: Duration,
    /// Probability that a datagram is lost at random, 0 to 1.
    pub loss: f64,
    /// Longest time that a datagram may stand in the queue in front of the link.
    pub queue: Duration,
    /// Seed of the losses: the same seed loses the same datagrams of the same sequence.
    pub seed: u64,
}

/// What has crossed in one direction, IP and UDP headers included.
#[derive(Clone, Copy, Debug, Default)]
pub struct WanFigures {
    pub datagrams: u64,
    pub bytes: u64,
    pub dropped: u64,
}

/// One direction of the link: decides when, or whether, a datagram comes out.
#[derive(Debug)]
struct Pipe {
    config: WanConfig,
    random: StdRng,
    /// When the last bit that was accepted leaves the queue.
    free_at: Instant,
    figures: WanFigures,
}

impl Pipe {
    fn new(config: WanConfig, seed: u64, now: Instant) -> Self {
        Self {
            config,
            random: StdRng::seed_from_u64(seed),
            free_at: now,
            figures: WanFigures::default(),
        }
    }

    /// The time at which a datagram of `bytes` arrives, or `None` if it is lost.
    fn pass(&mut self, now: Instant, bytes: usize) -> Option<Instant> {
        let start = self.free_at.max(now);
        let lost = self.random.random_bool(self.config.loss);
        if lost || start - now > self.config.queue {
            self.figures.dropped += 1;
            return None;
        }
        let wire_bytes = bytes as u64 + HEADER_BYTES;
        let nanos = wire_bytes * 8 * 1_000_000_000 / self.config.rate_bits_s.max(1);
        self.free_at = start + Duration::from_nanos(nanos);
        self.figures.datagrams += 1;
        self.figures.bytes += wire_bytes;
        Some(self.free_at + self.config.delay)
    }
}

/// A datagram on its way out of a pipe.
struct UnderWay {
    due: Instant,
    bytes: Bytes,
    socket: Arc<UdpSocket>,
    /// `None`: the socket is connected.
    to: Option<SocketAddr>,
}

/// One direction with its delivery task's inbox.
#[derive(Clone)]
struct Direction {
    pipe: Arc<Mutex<Pipe>>,
    inbox: mpsc::Sender<UnderWay>,
    cut: Arc<AtomicBool>,
    cut_drops: Arc<AtomicU64>,
}

impl Direction {
    fn send(&self, bytes: &[u8], socket: &Arc<UdpSocket>, to: Option<SocketAddr>) {
        if self.cut.load(Ordering::Relaxed) {
            self.cut_drops.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let Some(due) = self.pipe.lock().pass(Instant::now(), bytes.len()) else {
            return;
        };
        let under_way = UnderWay {
            due,
            bytes: Bytes::copy_from_slice(bytes),
            socket: socket.clone(),
            to,
        };
        if self.inbox.try_send(under_way).is_err() {
            self.cut_drops.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A relay on loopback that plays a wide-area link in front of `target`.
/// Dropping it stops it.
pub struct Wan {
    address: SocketAddr,
    there: Direction,
    back: Direction,
    _tasks: JoinSet<()>,
}

impl std::fmt::Debug for Wan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wan")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Wan {
    /// Starts a relay on a free loopback port.
    ///
    /// # Errors
    /// When no socket can be bound.
    pub async fn start(config: WanConfig, target: SocketAddr) -> std::io::Result<Self> {
        let front = Arc::new(UdpSocket::bind("127.0.0.1:0").await?);
        let address = front.local_addr()?;
        let mut tasks = JoinSet::new();
        let mut direction = |seed| {
            let cut = Arc::new(AtomicBool::new(false));
            let (inbox, outbox) = mpsc::channel(UNDER_WAY_MAX);
            tasks.spawn(deliver(outbox, cut.clone()));
            Direction {
                pipe: Arc::new(Mutex::new(Pipe::new(config, seed, Instant::now()))),
                inbox,
                cut,
                cut_drops: Arc::default(),
            }
        };
        let there = direction(config.seed);
        let back = direction(config.seed.wrapping_add(1));
        tasks.spawn(relay(front, target, there.clone(), back.clone()));
        Ok(Self {
            address,
            there,
            back,
            _tasks: tasks,
        })
    }

    /// Where to dial instead of the target.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Pulls the cable: everything, what is under way too, is lost until [`Wan::heal`].
    pub fn cut(&self) {
        self.cut_ways(true, true);
    }

    /// Pulls the cable in one direction or both, and plugs in the other: towards the target, and
    /// back from it.
    pub fn cut_ways(&self, there: bool, back: bool) {
        self.there.cut.store(there, Ordering::Relaxed);
        self.back.cut.store(back, Ordering::Relaxed);
    }

    /// Plugs the cable in again.
    pub fn heal(&self) {
        self.cut_ways(false, false);
    }

    /// From now on datagrams are lost with this probability, in both directions.
    pub fn set_loss(&self, loss: f64) {
        for direction in [&self.there, &self.back] {
            direction.pipe.lock().config.loss = loss;
        }
    }

    /// What has crossed (towards the target, back from it).
    pub fn figures(&self) -> (WanFigures, WanFigures) {
        let read = |direction: &Direction| {
            let mut figures = direction.pipe.lock().figures;
            figures.dropped += direction.cut_drops.load(Ordering::Relaxed);
            figures
        };
        (read(&self.there), read(&self.back))
    }
}

/// Takes datagrams of every client to the target, from a socket of its own each.
async fn relay(front: Arc<UdpSocket>, target: SocketAddr, there: Direction, back: Direction) {
    let mut clients: LruCache<SocketAddr, (Arc<UdpSocket>, AbortHandle)> =
        LruCache::new(CLIENTS_MAX);
    let mut answers = JoinSet::new();
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    loop {
        // An error here is an ICMP message about some client that has gone.
        let Ok((len, client)) = front.recv_from(&mut buffer).await else {
            continue;
        };
        if !clients.contains(&client) {
            let Ok(socket) = connected(target).await else {
                continue;
            };
            let answering = answer(socket.clone(), front.clone(), client, back.clone());
            let answering = answers.spawn(answering);
            if let Some((_, (_, silent))) = clients.push(client, (socket, answering)) {
                silent.abort();
            }
            while answers.try_join_next().is_some() {}
        }
        if let Some((socket, _)) = clients.get(&client) {
            there.send(&buffer[..len], socket, None);
        }
    }
}

async fn connected(target: SocketAddr) -> std::io::Result<Arc<UdpSocket>> {
    let socket = UdpSocket::bind("127.0.0.1:0").await?;
    socket.connect(target).await?;
    Ok(Arc::new(socket))
}

/// Takes what the target answers to one client back to it.
async fn answer(
    socket: Arc<UdpSocket>,
    front: Arc<UdpSocket>,
    client: SocketAddr,
    back: Direction,
) {
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    loop {
        match socket.recv(&mut buffer).await {
            Ok(len) => back.send(&buffer[..len], &front, Some(client)),
            // The target's port is closed for now: it may come back.
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}

/// Hands out what is due. The delay is the same for all, so the order never changes.
async fn deliver(mut inbox: mpsc::Receiver<UnderWay>, cut: Arc<AtomicBool>) {
    let mut queue: VecDeque<UnderWay> = VecDeque::new();
    loop {
        let next = queue.front().map(|first| first.due);
        tokio::select! {
            received = inbox.recv() => match received {
                Some(under_way) => queue.push_back(under_way),
                None => return,
            },
            () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {
                let now = Instant::now();
                while queue.front().is_some_and(|first| first.due <= now) {
                    let Some(first) = queue.pop_front() else { break };
                    if !cut.load(Ordering::Relaxed) {
                        hand_over(&first).await;
                    }
                }
            }
        }
    }
}

/// Sends one datagram. Like any link, it says nothing when that fails.
async fn hand_over(datagram: &UnderWay) {
    let sent = match datagram.to {
        Some(to) => datagram.socket.send_to(&datagram.bytes, to).await,
        None => datagram.socket.send(&datagram.bytes).await,
    };
    drop(sent);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> WanConfig {
        WanConfig {
            rate_bits_s: 8_000_000,
            delay: Duration::from_millis(10),
            loss: 0.0,
            queue: Duration::from_millis(20),
            seed: 1,
        }
    }

    #[test]
    fn pipe_keeps_its_rate_delay_and_queue() {
        let now = Instant::now();
        let mut pipe = Pipe::new(config(), 1, now);
        // 1000 bytes with headers take 1 ms at 1 MB/s.
        let arrivals: Vec<_> = (0..40).map(|_| pipe.pass(now, 972)).collect();
        assert_eq!(arrivals[0], Some(now + Duration::from_millis(11)));
        assert_eq!(arrivals[9], Some(now + Duration::from_millis(20)));
        assert!(arrivals[20].is_some(), "20 ms of queue are allowed");
        assert!(arrivals[21].is_none(), "the rest is dropped");
        assert_eq!(pipe.figures.dropped, 19);
        assert_eq!(pipe.figures.bytes, 21_000);
    }

    #[test]
    fn pipe_loses_at_its_rate() {
        let start = Instant::now();
        let lossy = WanConfig {
            loss: 0.1,
            ..config()
        };
        let mut pipe = Pipe::new(lossy, 7, start);
        let lost = (0..10_000)
            .filter(|i| {
                pipe.pass(start + Duration::from_millis(i * 10), 100)
                    .is_none()
            })
            .count();
        assert!((900..1100).contains(&lost), "{lost} of 10000 lost at 10 %");
    }

    async fn target_behind_wan() -> (UdpSocket, Wan) {
        let target = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let wan = Wan::start(config(), target.local_addr().unwrap()).await;
        (target, wan.unwrap())
    }

    #[tokio::test]
    async fn who_comes_after_many_others_is_served() {
        let (target, wan) = target_behind_wan().await;
        let mut clients = Vec::new();
        for _ in 0..=CLIENTS_MAX.get() {
            let client = connected(wan.address()).await.unwrap();
            client.send(b"there").await.unwrap();
            let (_, from) = target.recv_from(&mut [0; 64]).await.unwrap();
            target.send_to(b"back", from).await.unwrap();
            assert_eq!(client.recv(&mut [0; 64]).await.unwrap(), 4);
            clients.push(client);
        }
    }

    #[tokio::test]
    async fn datagrams_cross_late_and_not_at_all_when_cut() {
        let (target, wan) = target_behind_wan().await;
        let client = connected(wan.address()).await.unwrap();
        let mut buffer = [0; 64];

        let start = Instant::now();
        client.send(b"there").await.unwrap();
        let (len, from) = target.recv_from(&mut buffer).await.unwrap();
        assert_eq!(&buffer[..len], b"there");
        target.send_to(b"back", from).await.unwrap();
        let len = client.recv(&mut buffer).await.unwrap();
        assert_eq!(&buffer[..len], b"back");
        assert!(start.elapsed() >= Duration::from_millis(20));

        wan.cut();
        client.send(b"lost").await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        wan.heal();
        client.send(b"kept").await.unwrap();
        let (len, _) = target.recv_from(&mut buffer).await.unwrap();
        assert_eq!(&buffer[..len], b"kept");

        wan.cut_ways(false, true);
        client.send(b"asked").await.unwrap();
        let (len, _) = target.recv_from(&mut buffer).await.unwrap();
        assert_eq!(&buffer[..len], b"asked", "this way is open");
        target.send_to(b"lost", from).await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        wan.heal();
        target.send_to(b"answer", from).await.unwrap();
        let len = client.recv(&mut buffer).await.unwrap();
        assert_eq!(&buffer[..len], b"answer", "the other was not");
    }
}
