//! A crowd at the door: connections that are never finished, from many addresses.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use strait_transport::{Refusal, Transport};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpSocket, UdpSocket};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::site::{PATIENCE, Running, Site};

/// Strangers, each of whom dials over QUIC about five times in two seconds.
const STRANGERS: usize = 6;
/// TCP connections that the crowd has open, or tries to.
const OVER_TCP: u8 = 100;
/// How long a link may take to come up.
const UP_MAX: Duration = Duration::from_secs(2);

/// Lasts until it is dropped.
struct Crowd {
    _tasks: JoinSet<()>,
    _strangers: Vec<Running>,
}

impl Crowd {
    /// From so many addresses; returns when the door has turned some away over either transport.
    async fn gather(west: &Running, addresses: u8) -> Self {
        let (target, mut tasks) = (west.node.local_addr(), JoinSet::new());
        for n in 0..OVER_TCP {
            tasks.spawn(knock_over_tcp(address(n % addresses), target));
        }
        let turned_away = || west.node.refusals().connections(Refusal::TooMany);
        grows(turned_away).await;
        let front = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
        let dialed = front.local_addr().unwrap();
        tasks.spawn(let_half_through(front, target, addresses));
        let (stranger, nobody) = (Site::new("stranger"), Site::new("nobody"));
        let mut strangers = Vec::new();
        for _ in 0..STRANGERS {
            strangers.push(stranger.start_over(Transport::Quic, &nobody, dialed).await);
        }
        sleep(Duration::from_secs(1)).await;
        grows(turned_away).await;
        Self {
            _tasks: tasks,
            _strangers: strangers,
        }
    }
}

/// Waits until it has grown by a few.
async fn grows(count: impl Fn() -> u64) {
    let before = count();
    let grown = async {
        while count() < before + 20 {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, grown)
        .await
        .expect("some are turned away");
}

fn address(n: u8) -> SocketAddr {
    (Ipv4Addr::new(127, 0, 1, 1 + n), 0).into()
}

/// Connects, says nothing, and connects anew when it is hung up on.
async fn knock_over_tcp(from: SocketAddr, target: SocketAddr) {
    loop {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(from).unwrap();
        if let Ok(mut stream) = socket.connect(target).await {
            drop(stream.read(&mut [0; 1]).await);
        }
        sleep(Duration::from_millis(20)).await;
    }
}

/// Carries whatever a dialer sends, each time from the next address; of the answers only those that ask it
/// to prove its address. So no handshake ends.
async fn let_half_through(front: Arc<UdpSocket>, target: SocketAddr, addresses: u8) {
    let mut dialers: HashMap<SocketAddr, Arc<UdpSocket>> = HashMap::new();
    let mut turns = (0..addresses).cycle();
    let mut back = JoinSet::new();
    let mut buffer = vec![0; 2048];
    while let Ok((len, dialer)) = front.recv_from(&mut buffer).await {
        let socket = match dialers.entry(dialer) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                let socket = UdpSocket::bind(address(turns.next().unwrap())).await;
                let socket = Arc::new(socket.unwrap());
                socket.connect(target).await.unwrap();
                back.spawn(bring_back(Arc::clone(&socket), Arc::clone(&front), dialer));
                new.insert(socket)
            }
        };
        drop(socket.send(&buffer[..len]).await);
    }
}

/// Brings Retry packets back to the dialer: RFC 9000, section 17.2.5.
async fn bring_back(socket: Arc<UdpSocket>, front: Arc<UdpSocket>, dialer: SocketAddr) {
    let mut answer = vec![0; 2048];
    while let Ok(len) = socket.recv(&mut answer).await {
        if answer[0] & 0xf0 == 0xf0 {
            drop(front.send_to(&answer[..len], dialer).await);
        }
    }
}

/// `east` dials into the crowd, over either transport alone.
async fn comes_up(east: &Site, west: &Site, west_runs: &mut Running) {
    let target = west_runs.node.local_addr();
    for over in [Transport::Tcp, Transport::Quic] {
        let begun = Instant::now();
        let mut east_runs = east.start_over(over, west, target).await;
        east_runs.up().await;
        west_runs.up().await;
        let took = begun.elapsed();
        assert!(took < UP_MAX, "up over {} after {took:?}", over.name());
        east_runs.node.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_from_six_addresses_keeps_nobody_out() {
    let (east, west) = (Site::new("east"), Site::new("west"));
    let mut west_runs = west.start(&east, None).await;
    let _crowd = Crowd::gather(&west_runs, 6).await;
    comes_up(&east, &west, &mut west_runs).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_from_everywhere_does_not_keep_out_a_peer_whose_address_is_known() {
    let (east, west) = (Site::new("east"), Site::new("west"));
    // Nobody listens there: only its address counts.
    let elsewhere = strait_ports::free_port();
    let mut west_runs = west.start(&east, Some(elsewhere)).await;
    let _crowd = Crowd::gather(&west_runs, OVER_TCP).await;
    comes_up(&east, &west, &mut west_runs).await;
}
