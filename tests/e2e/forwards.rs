//! TCP connections carried to an address behind the peer.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use strait_tests::{Cable, Site, eventually, free_port};

/// East forwards `listen` to a server behind west.
struct Forwarded {
    east: Site,
    west: Site,
    cable: Cable,
    listen: SocketAddr,
}

impl Forwarded {
    fn to(target: SocketAddr, more: &str) -> Self {
        let (mut east, mut west) = (Site::new("east"), Site::new("west"));
        let cable = Cable::to(west.link);
        east.pair_with(&west, Some(cable.address()));
        west.pair_with(&east, None);
        let listen = free_port();
        east.configure(&format!(
            "[[forward]]\nlisten = \"{listen}\"\npeer = \"west\"\ntarget = \"{target}\"\n{more}\n"
        ));
        let config = std::fs::read_to_string(west.config()).unwrap();
        let allow = format!("allow = [\"127.0.0.1:{}\"]", target.port());
        std::fs::write(west.config(), config.replace("allow = []", &allow)).unwrap();
        east.start();
        west.start();
        let forwarded = Self {
            east,
            west,
            cable,
            listen,
        };
        forwarded.wait_for_link();
        forwarded
    }

    fn wait_for_link(&self) {
        eventually("the link is up", 30, || {
            let up = |site: &Site| {
                site.status()?["links"][0]["phase"]
                    .as_str()
                    .map(str::to_owned)
            };
            let both = [up(&self.east)?, up(&self.west)?];
            (both == ["replicating", "replicating"]).then_some(())
        });
    }

    fn connect(&self) -> TcpStream {
        connect(self.listen)
    }
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    let patience = Some(Duration::from_secs(30));
    stream.set_read_timeout(patience).unwrap();
    stream.set_write_timeout(patience).unwrap();
    stream
}

/// A server that hands each connection to `serve` on a thread of its own.
fn server(serve: impl Fn(TcpStream) + Send + Clone + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let serve = serve.clone();
            thread::spawn(move || serve(stream));
        }
    });
    address
}

/// Sends back what comes, until the end, and then ends.
fn echo(mut stream: TcpStream) {
    let mut buffer = [0; 16 << 10];
    while let Ok(n @ 1..) = stream.read(&mut buffer) {
        if stream.write_all(&buffer[..n]).is_err() {
            return;
        }
    }
}

fn ask(stream: &mut TcpStream, question: &[u8]) -> std::io::Result<()> {
    stream.write_all(question)?;
    let mut answer = vec![0; question.len()];
    stream.read_exact(&mut answer)?;
    assert_eq!(answer, question);
    Ok(())
}

fn is_reset(outcome: std::io::Result<usize>) -> bool {
    outcome.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset)
}

/// Bytes that do not compress away and are different for each seed.
fn noise(bytes: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    (0..bytes.div_ceil(8))
        .flat_map(|_| next().to_le_bytes())
        .take(bytes)
        .collect()
}

#[test]
fn half_close_passes_and_large_answers_arrive_whole() {
    // Answers only when the client has finished: with the length of what came, and noise.
    let target = server(|mut stream| {
        let mut question = Vec::new();
        stream.read_to_end(&mut question).unwrap();
        stream
            .write_all(&(question.len() as u64).to_le_bytes())
            .unwrap();
        stream.write_all(&noise(20 << 20, 7)).unwrap();
    });
    let site = Forwarded::to(target, "");
    let mut client = site.connect();
    client.write_all(&noise(5 << 20, 3)).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).unwrap();
    assert_eq!(answer[..8], (5_u64 << 20).to_le_bytes());
    assert!(answer[8..] == noise(20 << 20, 7), "the answer is whole");

    eventually("the flow is gone from both tables", 10, || {
        let open = |site: &Site| site.status()?["forwards"][0]["open"].as_u64();
        (open(&site.east)? + open(&site.west)? == 0).then_some(())
    });
    let status = site.east.status().unwrap();
    let forward = &status["forwards"][0];
    assert_eq!(forward["received_bytes"], (20 << 20) + 8);
    assert_eq!(
        (&forward["opened"], &forward["reset"]),
        (&1.into(), &0.into())
    );
}

#[test]
fn resets_pass_both_ways_and_targets_that_are_not_allowed_are_refused() {
    let (told, heard) = mpsc::channel();
    let target = server(move |mut stream| {
        let mut first = [0];
        stream.read_exact(&mut first).unwrap();
        if first == *b"R" {
            // Unread bytes behind the first: closing resets.
            stream.peek(&mut [0]).unwrap();
            return;
        }
        told.send(false).unwrap();
        told.send(is_reset(stream.read(&mut [0; 64]))).unwrap();
    });
    let site = Forwarded::to(target, "");
    let mut client = site.connect();
    client.write_all(b"Reset me").unwrap();
    assert!(
        is_reset(client.read(&mut [0; 64])),
        "the server's reset arrives"
    );

    // A client that dies: closing with unread bytes would need an answer, so by linger.
    let mut client = site.connect();
    client.write_all(b"x").unwrap();
    let was_reset = || heard.recv_timeout(Duration::from_secs(20)).unwrap();
    assert!(!was_reset(), "the byte arrives");
    set_zero_linger(&client);
    drop(client);
    assert!(was_reset(), "the client's reset arrives");
    drop(site);

    // Allowed is the target's port alone.
    let mut site = Forwarded::to(target, "");
    site.east.stop();
    let config = std::fs::read_to_string(site.east.config()).unwrap();
    let other = config.replace(&format!(":{}\"", target.port()), ":1\"");
    std::fs::write(site.east.config(), other).unwrap();
    site.east.start();
    site.wait_for_link();
    assert!(is_reset(site.connect().read(&mut [0])));
    eventually("the log says why", 10, || {
        let log = site.east.log_text();
        log.contains("forwarding.allow").then_some(())
    });
}

fn set_zero_linger(stream: &TcpStream) {
    let socket = socket2::SockRef::from(stream);
    socket.set_linger(Some(Duration::ZERO)).unwrap();
}

#[test]
fn a_reader_that_stops_holds_up_its_sender_and_nobody_else() {
    let written = std::sync::Arc::new(AtomicUsize::new(0));
    let counted = written.clone();
    let target = server(move |mut stream| {
        let mut kind = [0];
        stream.read_exact(&mut kind).unwrap();
        if kind == *b"e" {
            return echo(stream);
        }
        let block = noise(1 << 20, 5);
        while stream.write_all(&block).is_ok() {
            counted.fetch_add(block.len(), Ordering::Relaxed);
        }
    });
    let site = Forwarded::to(target, "");
    let mut stuck = site.connect();
    stuck.write_all(b"n").unwrap();
    // It never reads. What its server can write comes to an end.
    let mut seen = 0;
    eventually("the server of the stuck client is held up", 60, || {
        thread::sleep(Duration::from_secs(1));
        let now = written.load(Ordering::Relaxed);
        let stopped = now > 0 && now == seen;
        seen = now;
        stopped.then_some(())
    });
    assert!(seen < 200 << 20, "{seen} bytes are on their way");
    let mut other = site.connect();
    other.write_all(b"e").unwrap();
    let begun = Instant::now();
    ask(&mut other, b"hello").unwrap();
    // Some milliseconds, and what a busy machine adds.
    assert!(begun.elapsed() < Duration::from_secs(10));
    // It reads after all: everything is there, in order.
    let (mut block, expected) = (vec![0; 1 << 20], noise(1 << 20, 5));
    for _ in 0..seen >> 20 {
        stuck.read_exact(&mut block).unwrap();
        assert!(block == expected);
    }
}

#[test]
fn a_break_is_silence_and_kill_9_is_a_reset() {
    let target = server(echo);
    let mut site = Forwarded::to(target, "");
    let mut client = site.connect();
    ask(&mut client, b"before").unwrap();
    site.cable.cut();
    client.write_all(b"during").unwrap();
    thread::sleep(Duration::from_secs(6));
    site.cable.heal();
    let mut answer = [0; 6];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"during");

    site.west.kill();
    site.west.start();
    assert!(is_reset(client.read(&mut [0])), "a lost session resets");
    site.wait_for_link();
    let mut client = site.connect();
    ask(&mut client, b"after").unwrap();

    site.east.kill();
    assert!(is_reset(client.read(&mut [0])), "a killed gateway resets");
    site.east.start();
    site.wait_for_link();
    ask(&mut site.connect(), b"again").unwrap();
}

#[test]
fn while_the_peer_is_away_connections_go_straight_or_are_refused() {
    let target = server(echo);
    let mut site = Forwarded::to(target, "bypass = \"direct\"\npatience_s = 2");
    let refusing = free_port();
    site.east.stop();
    site.east.configure(&format!(
        "[[forward]]\nlisten = \"{refusing}\"\npeer = \"west\"\ntarget = \"{target}\"\npatience_s = 2\n"
    ));
    site.east.start();
    site.wait_for_link();
    let bypassed =
        |site: &Forwarded| site.east.status().unwrap()["forwards"][0]["bypassed"].as_u64();

    let mut open = site.connect();
    ask(&mut open, b"by link").unwrap();
    ask(&mut connect(refusing), b"by link").unwrap();
    assert_eq!(bypassed(&site), Some(0));
    site.west.kill();
    assert!(is_reset(open.read(&mut [0])), "patience ends");
    ask(&mut site.connect(), b"straight").unwrap();
    assert_eq!(bypassed(&site), Some(1));
    assert!(is_reset(connect(refusing).read(&mut [0])));

    site.west.start();
    site.wait_for_link();
    ask(&mut site.connect(), b"by link again").unwrap();
    ask(&mut connect(refusing), b"by link again").unwrap();
    assert_eq!(bypassed(&site), Some(1));
    let status = site.west.status().unwrap();
    assert_eq!(status["forwards"][0]["opened"], 2, "{}", status["forwards"]);
}

#[test]
fn a_thousand_flows_at_once() {
    const FLOWS: usize = 1000;
    let target = server(echo);
    let site = Forwarded::to(target, "");
    let mut clients: Vec<_> = (0..FLOWS).map(|_| site.connect()).collect();
    for round in 0..3_u8 {
        for (n, client) in clients.iter_mut().enumerate() {
            let message = [round, n as u8, (n >> 8) as u8].repeat(100);
            client.write_all(&message).unwrap();
        }
        for (n, client) in clients.iter_mut().enumerate() {
            let mut answer = [0; 300];
            client.read_exact(&mut answer).unwrap();
            let expected = [round, n as u8, (n >> 8) as u8].repeat(100);
            assert!(answer[..] == expected, "flow {n}, round {round}");
        }
    }
    let status = site.east.status().unwrap();
    assert_eq!(status["forwards"][0]["open"], FLOWS);
    drop(clients);
    eventually("all are gone", 30, || {
        let open = |site: &Site| site.status()?["forwards"][0]["open"].as_u64();
        (open(&site.east)? + open(&site.west)? == 0).then_some(())
    });
}

#[test]
fn the_target_can_be_told_who_the_client_is() {
    let (told, heard) = mpsc::channel();
    let target = server(move |mut stream| {
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        told.send(all).unwrap();
    });
    let site = Forwarded::to(target, "proxy_protocol = true");
    let mut client = site.connect();
    client.write_all(b"GET /").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let got = heard.recv_timeout(Duration::from_secs(20)).unwrap();
    let port = client.local_addr().unwrap().port();
    assert_eq!(&got[..16], b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c");
    assert_eq!(&got[16..24], [127, 0, 0, 1, 127, 0, 0, 1]);
    assert_eq!(got[24..26], port.to_be_bytes());
    assert_eq!(got[26..28], site.listen.port().to_be_bytes());
    assert_eq!(&got[28..], b"GET /");
}
