//! A peer that lies, and clients that talk nonsense.

use std::io::Write;
use std::os::unix::net::UnixStream;

use serde::Serialize;
use strait_transport::{Class, OutStream, Seq, StreamId};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;

use super::*;
use crate::bulk::incoming::{Incoming, Memory, Part, Receiving};
use crate::bulk::message::{self, Cost, Ending, Header, Message, Pushed};
use crate::bulk::session::{Places, Session};
use crate::bulk::{Failure, store};
use crate::streams::TransferId;

/// A peer without manners: it sends what it is told, and shows what it hears.
struct Liar {
    _node: Node,
    link: LinkHandle,
    heard: mpsc::UnboundedReceiver<Message>,
}

impl Liar {
    async fn start(end: End) -> Self {
        Self::start_with(end, true).await
    }

    /// With or without confirming what it is sent.
    async fn start_with(mut end: End, confirms: bool) -> Self {
        let (hear, heard) = mpsc::unbounded_channel();
        while !matches!(end.events.next().await.unwrap(), LinkEvent::Up { .. }) {}
        let mut events = end.events;
        tokio::spawn(async move {
            while let Some(event) = events.next().await {
                if let LinkEvent::Batch(batch) = event {
                    if let Ok(message) = message::decode(&batch.bytes) {
                        hear.send(message).unwrap();
                    }
                    if confirms {
                        batch.ack();
                    }
                }
            }
        });
        Self {
            _node: end.node,
            link: end.link,
            heard,
        }
    }

    fn open(&self, transfer: TransferId) -> OutStream {
        self.link
            .open(Class::Bulk, StreamOpen::BulkData { transfer }.encode())
            .unwrap()
    }

    fn open_messages(&self) -> OutStream {
        let open = StreamOpen::BulkMessages.encode();
        self.link.open(Class::Control, open).unwrap()
    }

    /// Sends a header and these bytes; how it ended.
    async fn push(&mut self, header: &Header, bytes: &'static [u8], ending: &Ending) -> Failure {
        let transfer = TransferId(rand::random());
        let mut stream = self.open(transfer);
        send(&mut stream, header, false).await;
        stream.send(Bytes::from_static(bytes), false).await.unwrap();
        send(&mut stream, ending, true).await;
        self.failure(transfer).await
    }

    async fn failure(&mut self, transfer: TransferId) -> Failure {
        loop {
            let message = tokio::time::timeout(PATIENCE, self.heard.recv())
                .await
                .unwrap();
            if let Message::Failed {
                transfer: of,
                failure,
            } = message.unwrap()
                && of == transfer
            {
                return failure;
            }
        }
    }
}

async fn send(stream: &mut OutStream, message: &impl Serialize, last: bool) {
    stream.send(message::encode(message), last).await.unwrap();
}

fn pushed(path: &str, length: Option<u64>, offset: u64) -> Header {
    let path = path.to_owned();
    let meta = FileMeta::default();
    Header::Push {
        file: Pushed { path, length, meta },
        offset,
    }
}

fn header(path: &str) -> Header {
    pushed(path, None, 0)
}

fn whole(length: u64, bytes: &[u8]) -> Ending {
    Ending::Whole {
        length,
        digest: *blake3::hash(bytes).as_bytes(),
        cost: Cost::default(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lies_leave_no_file() {
    let wires = Wires::new();
    let (east, west) = (wires.east().await, wires.west().await);
    let west = Gate::start(west, None);
    let mut liar = Liar::start(east).await;
    let failure = liar.push(&header("f"), b"abc", &whole(4, b"abc")).await;
    assert_eq!(
        failure,
        Failure::LengthDiffers {
            declared: 4,
            received: 3
        }
    );
    let failure = liar.push(&header("f"), b"abc", &whole(3, b"abd")).await;
    assert_eq!(failure, Failure::DigestDiffers);
    for path in ["../f", "/f", "a/../../f", "", ".strait-partial/f", "a\nb"] {
        let failure = liar.push(&header(path), b"abc", &whole(3, b"abc")).await;
        assert!(matches!(failure, Failure::Path(_)), "{path}");
    }
    let unasked = Header::Pull {
        length: 3,
        meta: FileMeta::default(),
    };
    let failure = liar.push(&unasked, b"abc", &whole(3, b"abc")).await;
    assert!(matches!(failure, Failure::Aborted(_)), "{failure}");
    let huge = pushed("huge", Some(u64::MAX), 0);
    let failure = liar.push(&huge, b"abc", &whole(3, b"abc")).await;
    assert!(matches!(failure, Failure::DiskFull { .. }), "{failure}");
    let beyond = pushed("beyond", Some(u64::MAX), u64::MAX);
    let failure = liar.push(&beyond, b"abc", &whole(3, b"abc")).await;
    assert_eq!(failure, Failure::NothingKept);
    assert_eq!(std::fs::read_dir(&west.files).unwrap().count(), 1);
    assert_eq!(west.unfinished(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_in_streams_harms_nobody() {
    let wires = Wires::new();
    let (east, west) = (wires.east().await, wires.west().await);
    let west = Gate::start(west, None);
    let mut liar = Liar::start(east).await;
    for bytes in [
        &b""[..],
        b"\x01",
        b"\x01\x00",
        b"\x02\x00\x00",
        &[0xff; 4096],
    ] {
        let transfer = TransferId(rand::random());
        let mut stream = liar.open(transfer);
        stream.send(Bytes::from_static(bytes), false).await.unwrap();
        assert!(matches!(liar.failure(transfer).await, Failure::Protocol(_)));
        stream.send(Bytes::new(), true).await.unwrap();
        let transfer = TransferId(rand::random());
        let mut stream = liar.open(transfer);
        send(&mut stream, &header("f"), false).await;
        stream.send(Bytes::from_static(bytes), true).await.unwrap();
        assert!(matches!(liar.failure(transfer).await, Failure::Protocol(_)));
    }
    let mut messages = liar.open_messages();
    for length in 0..50 {
        let nonsense = Bytes::from(noise(length, usize::from(length) * 9));
        messages.send(nonsense, false).await.unwrap();
    }
    let request = message::RequestId(1);
    let (path, after) = (String::new(), String::new());
    let question = message::Question::List { path, after };
    send(&mut messages, &Message::Ask { request, question }, false).await;
    loop {
        let message = tokio::time::timeout(PATIENCE, liar.heard.recv())
            .await
            .unwrap();
        if let Some(Message::Answer { outcome, .. }) = message {
            assert_eq!(
                outcome.unwrap(),
                message::Answer::Page(store::Page::default())
            );
            break;
        }
    }
    assert_eq!(west.unfinished(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_on_the_control_socket_harms_nobody() {
    let (east, west) = two_gates(None).await;
    east.push("west:f", &b"before"[..]).await.unwrap();
    let request = br#"{"version":1,"request":{"site":"west","path":"f","wait_s":0,"what":"pull"}}"#;
    let later = br#"{"version":9,"request":{"site":"west","path":"f","wait_s":0,"what":"pull"}}"#;
    let frame =
        |kind: u8, bytes: &[u8]| [&(bytes.len() as u32).to_le_bytes()[..], &[kind], bytes].concat();
    let speeches = [
        noise(1, 100),
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        u32::MAX.to_le_bytes().to_vec(),
        frame(0, b"{}"),
        frame(0, &b"[".repeat(100_000)),
        frame(1, b"data before a request"),
        frame(7, b""),
        frame(0, later),
        [frame(0, request), frame(0, request)].concat(),
    ];
    for speech in speeches {
        let mut stream = UnixStream::connect(&east.socket).unwrap();
        // It may hang up before it has heard all.
        stream.write_all(&speech).ok();
        stream.shutdown(std::net::Shutdown::Write).ok();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).ok();
    }
    assert_eq!(east.pull("west:f").await.unwrap(), b"before");
    assert_eq!(read(&west.files.join("f")), b"before");
}

/// West between a liar and north, which is honest.
struct Siege {
    west: Gate,
    liar: Liar,
    north: Gate,
    _elsewhere: Elsewhere,
}

/// A runtime for the liar alone: tasks of its own do not count with those that it makes others have.
struct Elsewhere(Option<Runtime>);

impl Elsewhere {
    fn new() -> Self {
        let mut runtime = Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).enable_all().build();
        Self(Some(runtime.unwrap()))
    }

    async fn run<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> T {
        let runtime = self.0.as_ref().unwrap();
        runtime.spawn(work).await.unwrap()
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        // To wait for it is not allowed in a task.
        self.0.take().unwrap().shutdown_background();
    }
}

impl Siege {
    async fn lay(deaf: bool) -> Self {
        Self::lay_with(deaf, |_| {}).await
    }

    async fn lay_with(deaf: bool, change: impl FnOnce(&mut BulkConfig)) -> Self {
        let [east_key, west_key, north_key] = [key_dir(), key_dir(), key_dir()].map(Arc::new);
        let address = strait_ports::free_port();
        let peers = [("east", &*east_key, vec![]), ("north", &*north_key, vec![])];
        let (node, links) = bind_among("west", &west_key, address, &peers).await;
        let west = Gate::start_among(node, links, WireVersion(u16::MAX), change);
        let any = "127.0.0.1:0".parse().unwrap();
        let dialed = || vec![address.to_string()];
        let (dials, known) = (dialed(), west_key.clone());
        let lies = async move {
            let east = bind("east", &east_key, any, "west", &known, dials).await;
            Liar::start_with(east, !deaf).await
        };
        let north = bind("north", &north_key, any, "west", &west_key, dialed()).await;
        let elsewhere = Elsewhere::new();
        let liar = elsewhere.run(lies).await;
        let north = Gate::start(north, None);
        north.push("west:before", &b"before"[..]).await.unwrap();
        Self {
            west,
            liar,
            north,
            _elsewhere: elsewhere,
        }
    }

    /// An honest push and pull, and work that blocks, soon.
    async fn goes_on(&self) {
        let honest = async {
            let bytes = noise(3, 3 << 20);
            let pushed = io::Cursor::new(bytes.clone());
            self.north.push("west:meanwhile", pushed).await.unwrap();
            assert!(self.north.pull("west:meanwhile").await.unwrap() == bytes);
            tokio::task::spawn_blocking(|| ()).await.unwrap();
        };
        tokio::time::timeout(PATIENCE, honest).await.unwrap();
    }
}

fn pull_of(path: &str) -> Message {
    Message::Pull {
        transfer: TransferId(rand::random()),
        path: path.to_owned(),
        limit: None,
    }
}

fn list_of(path: &str) -> Message {
    let (path, after) = (path.to_owned(), String::new());
    Message::Ask {
        request: message::RequestId(rand::random()),
        question: message::Question::List { path, after },
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_that_are_too_long_are_not_read() {
    let siege = Siege::lay(true).await;
    let mut messages = siege.liar.open_messages();
    let long = "p".repeat(500_000);
    for _ in 0..50 {
        send(&mut messages, &pull_of(&long), false).await;
        send(&mut messages, &list_of(&long), false).await;
    }
    siege.west.until(|figures| figures.malformed == 100).await;
    let figures = siege.west.bulk.figures();
    assert_eq!((figures.sending, figures.failed), (0, 0));
    siege.goes_on().await;
}

/// Messages that fit into the queues of a link whose peer confirms nothing, and some.
const UNHEARD: usize = 10_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_asks_on_and_takes_no_answers_loses_what_is_under_way() {
    let siege = Siege::lay(true).await;
    let tasks = || {
        tokio::runtime::Handle::current()
            .metrics()
            .num_alive_tasks()
    };
    let (before, mut most) = (tasks(), 0);
    let east = site("east");
    let session = || {
        siege
            .west
            .bulk
            .room
            .site(&east)
            .unwrap()
            .current_session()
            .unwrap()
    };
    let (first, mut messages) = (session(), siege.liar.open_messages());
    for _ in 0..UNHEARD {
        send(&mut messages, &pull_of("not here"), false).await;
        send(&mut messages, &list_of(""), false).await;
        most = most.max(tasks());
    }
    // Some of what was sent is still to be read.
    let ended = async {
        while Arc::ptr_eq(&first, &session()) {
            send(&mut messages, &list_of(""), false).await;
            most = most.max(tasks());
        }
    };
    tokio::time::timeout(PATIENCE, ended).await.unwrap();
    // 384 pulls and questions; the rest is of the link: a task for each batch that is being read, and for each that was
    // written and has not arrived.
    assert!(most < before + 2000, "{before} tasks, then {most}");
    siege.goes_on().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_pushes_and_pulls_without_credit_hold_no_thread() {
    let siege = Siege::lay(false).await;
    std::fs::write(siege.west.files.join("large"), noise(1, 8 << 20)).unwrap();
    let mut idle = Vec::new();
    for number in 0..416 {
        let mut stream = siege.liar.open(TransferId(rand::random()));
        send(&mut stream, &header(&format!("idle-{number}")), false).await;
        idle.push(stream);
    }
    let mut messages = siege.liar.open_messages();
    for _ in 0..384 {
        send(&mut messages, &pull_of("large"), false).await;
    }
    let all = |figures: BulkFigures| (figures.receiving, figures.sending) == (416, 384);
    siege.west.until(all).await;
    siege.west.until(|_| siege.west.unfinished() == 416).await;
    siege.goes_on().await;
    // What goes beyond is told at once.
    let mut liar = siege.liar;
    let transfer = TransferId(rand::random());
    let (path, limit) = ("large".to_owned(), None);
    let pull = Message::Pull {
        transfer,
        path,
        limit,
    };
    send(&mut messages, &pull, false).await;
    assert_eq!(liar.failure(transfer).await, Failure::Busy);
    let transfer = TransferId(rand::random());
    let mut stream = liar.open(transfer);
    send(&mut stream, &header("one more"), false).await;
    assert_eq!(liar.failure(transfer).await, Failure::Busy);
}

#[tokio::test(flavor = "multi_thread")]
async fn pushes_and_pulls_that_do_not_move_end() {
    let rest = |config: &mut BulkConfig| config.idle_max = Duration::from_millis(300);
    let siege = Siege::lay_with(false, rest).await;
    std::fs::write(siege.west.files.join("large"), noise(1, 8 << 20)).unwrap();
    let idle = TransferId(rand::random());
    let mut stream = siege.liar.open(idle);
    send(&mut stream, &header("idle"), false).await;
    let pull = pull_of("large");
    let mut messages = siege.liar.open_messages();
    send(&mut messages, &pull, false).await;
    let mut liar = siege.liar;
    let failure = liar.failure(idle).await;
    assert!(failure.to_string().contains("for long"), "{failure}");
    siege.west.idle().await;
    assert_eq!(
        (siege.west.unfinished(), siege.west.bulk.figures().failed),
        (0, 2)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_are_over_at_once_count_until_they_are_in_place() {
    let siege = Siege::lay(false).await;
    let tasks = || {
        tokio::runtime::Handle::current()
            .metrics()
            .num_alive_tasks()
    };
    let (before, mut most) = (tasks(), 0);
    for number in 0..3000 {
        let mut stream = siege.liar.open(TransferId(rand::random()));
        send(&mut stream, &header(&format!("tiny/{number}")), false).await;
        send(&mut stream, &whole(0, b""), true).await;
        most = most.max(tasks());
    }
    assert!(most < before + 1000, "{before} tasks, then {most}");
    siege.goes_on().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_beyond_the_credit_end_the_file() {
    let wires = Wires::new();
    let (mut east, _west) = (wires.east().await, wires.west().await);
    while !matches!(east.events.next().await.unwrap(), LinkEvent::Up { .. }) {}
    let session = Session::start(&east.link, WireVersion(5), Places::default());
    let (transfer, meta) = (TransferId(1), FileMeta::default());
    let receiving = Receiving::default();
    let incoming = Incoming::new(&session, &receiving, transfer, (None, meta), None);
    let (inlet, mut incoming) = incoming.unwrap();
    session.add_incoming(StreamId(7), inlet);
    for seq in 1..20 {
        let bytes = Bytes::from_static(b"more");
        let part = Part {
            bytes,
            last: false,
            memory: Memory::Ours { _room: None },
        };
        session.deliver(StreamId(7), Seq(seq), part);
    }
    let mut arrived = 0;
    while incoming.arrived().await.is_some() {
        arrived += 1;
    }
    assert_eq!(arrived, 3, "the header was the first of four");
}

/// Counts lines of the log by their text.
#[derive(Clone, Default)]
struct Lines(Arc<parking_lot::Mutex<Vec<String>>>);

impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Lines {
    fn on_event(&self, event: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
        struct Text(String);
        impl tracing::field::Visit for Text {
            fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                if field.name() == "message" {
                    self.0 = format!("{value:?}");
                }
            }
        }
        let mut text = Text(String::new());
        event.record(&mut text);
        self.0.lock().push(text.0);
    }
}

#[tokio::test]
async fn a_peer_writes_one_line_of_a_kind_into_the_log() {
    use tracing_subscriber::layer::SubscriberExt;
    let lines = Lines::default();
    let subscriber = tracing_subscriber::registry().with(lines.clone());
    let _logging = tracing::subscriber::set_default(subscriber);
    let wires = Wires::new();
    let (east, west) = (wires.east().await, wires.west().await);
    let west = Gate::start(west, None);
    std::fs::create_dir(west.files.join("folder")).unwrap();
    let mut liar = Liar::start(east).await;
    let mut messages = liar.open_messages();
    for _ in 0..50 {
        liar.push(&header("../f"), b"abc", &whole(3, b"abc")).await;
        let unasked = Header::Pull {
            length: 3,
            meta: FileMeta::default(),
        };
        liar.push(&unasked, b"abc", &whole(3, b"abc")).await;
        let transfer = TransferId(rand::random());
        let (path, limit) = ("folder".to_owned(), None);
        let pull = Message::Pull {
            transfer,
            path,
            limit,
        };
        send(&mut messages, &pull, false).await;
        liar.failure(transfer).await;
    }
    let lines = lines.0.lock();
    for kind in ["was refused", "was not received", "was not sent"] {
        let written = lines.iter().filter(|line| line.contains(kind)).count();
        assert_eq!(written, 1, "{kind}");
    }
}
