//! Flows that are cut, by whatever: neither end ever sees a clean end without all bytes.
//! `STRAIT_CUT_ROUNDS` sets how often gateways are killed (default 6).

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use strait_tests::{Cable, Site, eventually, free_port, join};

/// Bytes of a question and of its answer.
const WHOLE: usize = 3000;
/// Clients at a time.
const CLIENTS: usize = 48;

/// How connections ended, as one side saw it.
#[derive(Debug, Default)]
struct Ends {
    whole: AtomicUsize,
    cut: AtomicUsize,
    /// Ended cleanly with fewer bytes.
    short: AtomicUsize,
}

impl Ends {
    /// Reads to the end. Whether all is there.
    fn read(&self, stream: &mut TcpStream) -> bool {
        let mut bytes = Vec::new();
        let (kind, all) = match stream.read_to_end(&mut bytes) {
            Ok(_) if bytes == [7; WHOLE] => (&self.whole, true),
            Ok(_) => (&self.short, false),
            Err(_) => (&self.cut, false),
        };
        kind.fetch_add(1, Ordering::Relaxed);
        all
    }

    fn counts(&self) -> [usize; 3] {
        [&self.whole, &self.cut, &self.short].map(|count| count.load(Ordering::Relaxed))
    }
}

fn patient(stream: &TcpStream) {
    let patience = Some(Duration::from_secs(30));
    stream.set_read_timeout(patience).unwrap();
    stream.set_write_timeout(patience).unwrap();
}

/// A server that reads whole questions and answers them.
fn server(ends: &Arc<Ends>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let ends = ends.clone();
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let ends = ends.clone();
            thread::spawn(move || {
                patient(&stream);
                if ends.read(&mut stream) {
                    // The client may be gone.
                    stream.write_all(&[7; WHOLE]).ok();
                }
            });
        }
    });
    address
}

/// One connection of a client: two of three it resets early.
fn ask(listen: SocketAddr, round: usize, answers: &Ends) {
    let Ok(mut stream) = TcpStream::connect(listen) else {
        // The gateway is away.
        thread::sleep(Duration::from_millis(20));
        return;
    };
    patient(&stream);
    if !round.is_multiple_of(3) {
        let socket = socket2::SockRef::from(&stream);
        socket.set_linger(Some(Duration::ZERO)).unwrap();
        let part = [0, 1, WHOLE / 2][round / 3 % 3];
        stream.write_all(&[7; WHOLE][..part]).ok();
        // About when the far gateway connects, or at once.
        thread::sleep(Duration::from_millis([0, 1, 3, 20][round / 9 % 4]));
        return;
    }
    let asked = stream.write_all(&[7; WHOLE]);
    if asked
        .and_then(|()| stream.shutdown(Shutdown::Write))
        .is_ok()
    {
        answers.read(&mut stream);
    }
}

/// Clients that ask again and again until they are told to stop.
struct Clients {
    answers: Arc<Ends>,
    stop: Arc<AtomicBool>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Clients {
    fn of(listen: SocketAddr) -> Self {
        let (answers, stop) = (Arc::new(Ends::default()), Arc::new(AtomicBool::new(false)));
        let client = |number: usize| {
            let (answers, stop) = (answers.clone(), stop.clone());
            thread::spawn(move || {
                let mut round = number;
                while !stop.load(Ordering::Relaxed) {
                    ask(listen, round, &answers);
                    round += 1;
                }
            })
        };
        let threads = (0..CLIENTS).map(client).collect();
        Self {
            answers,
            stop,
            threads,
        }
    }

    fn stop(self) -> Arc<Ends> {
        self.stop.store(true, Ordering::Relaxed);
        self.threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
        self.answers
    }
}

/// East forwards to a server, by west or, where west is away, straight.
fn forwarding(target: SocketAddr, more: &str) -> (Site, Site, Cable, SocketAddr) {
    let (mut east, mut west) = (Site::new("east"), Site::new("west"));
    let cable = join(&east, &west);
    let listen = free_port();
    east.configure(&format!(
        "[[forward]]\nlisten = \"{listen}\"\npeer = \"west\"\ntarget = \"{target}\"\n{more}\n"
    ));
    west.change_config(
        "allow = []",
        &format!("allow = [\"127.0.0.1:{}\"]", target.port()),
    );
    east.start();
    west.start();
    (east, west, cable, listen)
}

fn rounds() -> usize {
    let rounds = std::env::var("STRAIT_CUT_ROUNDS").ok();
    rounds.and_then(|text| text.parse().ok()).unwrap_or(6)
}

/// Waits until more connections ended whole than before.
fn more_come_through(ends: &Ends) {
    let before = ends.counts()[0];
    eventually("flows come through", 60, || {
        (ends.counts()[0] > before + 100).then_some(())
    });
}

fn none_is_short(questions: &Ends, answers: &Ends) {
    let (questions, answers) = (questions.counts(), answers.counts());
    eprintln!("whole, cut, short: questions {questions:?}, answers {answers:?}");
    assert_eq!(
        questions[2], 0,
        "the target saw a clean end without all bytes"
    );
    assert_eq!(answers[2], 0, "a client saw a clean end without all bytes");
    assert!(
        questions[0] > 0 && questions[1] > 0 && answers[0] > 0,
        "both kinds were there"
    );
}

#[test]
fn killed_gateways_and_early_resets_never_look_like_an_end() {
    let questions = Arc::new(Ends::default());
    let target = server(&questions);
    let (mut east, mut west, _cable, listen) = forwarding(target, "patience_s = 2");
    let clients = Clients::of(listen);
    for round in 0..rounds() {
        more_come_through(&clients.answers);
        // Somewhere else in a flow each time.
        thread::sleep(Duration::from_millis(round as u64 * 37 % 100));
        match round % 4 {
            0 => west.kill(),
            1 => east.kill(),
            2 => drop(west.stop()),
            _ => drop(east.stop()),
        }
        match round % 2 {
            0 => west.start(),
            _ => east.start(),
        }
    }
    more_come_through(&clients.answers);
    none_is_short(&questions, &clients.stop());
}

#[test]
fn a_bypassed_flow_is_reset_with_its_gateway() {
    let questions = Arc::new(Ends::default());
    let target = server(&questions);
    let (mut east, mut west, _cable, listen) =
        forwarding(target, "bypass = \"direct\"\npatience_s = 1");
    west.kill();
    let clients = Clients::of(listen);
    for round in 0..rounds() {
        more_come_through(&clients.answers);
        let mut open = TcpStream::connect(listen).unwrap();
        patient(&open);
        open.write_all(&[7; 15]).unwrap();
        let cut = questions.counts()[1];
        eventually("it is bypassed", 30, || {
            let forward = &east.status()?["forwards"][0];
            (forward["bypassed"].as_u64()? > 0).then_some(())
        });
        match round % 2 {
            0 => east.kill(),
            _ => drop(east.stop()),
        }
        let ended = open.read(&mut [0; 16]);
        assert!(ended.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset));
        eventually("the target sees a reset", 30, || {
            (questions.counts()[1] > cut).then_some(())
        });
        east.start();
    }
    none_is_short(&questions, &clients.stop());
}

#[test]
fn a_bypassed_target_is_told_who_the_client_is() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = listener.local_addr().unwrap();
    let (east, mut west, _cable, listen) = forwarding(
        target,
        "bypass = \"direct\"\npatience_s = 1\nproxy_protocol = true",
    );
    west.kill();
    eventually("the link is down", 60, || {
        (east.link_status()?["phase"] != "replicating").then_some(())
    });
    let mut client = TcpStream::connect(listen).unwrap();
    client.write_all(b"GET /").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    listener.set_nonblocking(true).unwrap();
    let (mut served, _) = eventually("it is bypassed", 60, || listener.accept().ok());
    served.set_nonblocking(false).unwrap();
    patient(&served);
    let mut got = Vec::new();
    served.read_to_end(&mut got).unwrap();
    assert_eq!(&got[..16], b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c");
    assert_eq!(&got[16..24], [127, 0, 0, 1, 127, 0, 0, 1]);
    assert_eq!(
        got[24..26],
        client.local_addr().unwrap().port().to_be_bytes()
    );
    assert_eq!(got[26..28], listen.port().to_be_bytes());
    assert_eq!(&got[28..], b"GET /");
}

#[test]
fn a_forward_that_would_connect_to_itself_resets() {
    let (mut east, west) = (Site::new("east"), Site::new("west"));
    east.pair_with(&west, None);
    west.pair_with(&east, None);
    let (own, there) = (free_port(), free_port());
    east.configure(&format!(
        "[[forward]]\nlisten = \"{own}\"\npeer = \"west\"\ntarget = \"localhost:{}\"\n\
         bypass = \"direct\"\npatience_s = 1\n\
         [[forward]]\nlisten = \"{there}\"\npeer = \"west\"\ntransparent = true\n\
         bypass = \"direct\"\npatience_s = 1\n",
        own.port()
    ));
    east.start();
    for listen in [own, there] {
        let mut client = TcpStream::connect(listen).unwrap();
        patient(&client);
        let begun = Instant::now();
        let ended = client.read(&mut [0; 16]);
        assert!(ended.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset));
        assert!(begun.elapsed() < Duration::from_secs(25));
    }
    for forward in 0..2 {
        let status = east.status().unwrap();
        assert_eq!(
            status["forwards"][forward]["opened"], 1,
            "{}",
            status["forwards"]
        );
    }
    let said = "it is a forward's own address at this gateway";
    assert_eq!(east.log_text().matches(said).count(), 2);
}
