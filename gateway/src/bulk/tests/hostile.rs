//! A peer that lies, and clients that talk nonsense.

use std::io::Write;
use std::os::unix::net::UnixStream;

use serde::Serialize;
use strait_transport::{Class, OutStream};
use tokio::sync::mpsc;

use super::*;
use crate::bulk::message::{self, Cost, Ending, Header, Message, Pushed};
use crate::bulk::{Failure, store};
use crate::streams::TransferId;

/// A peer without manners: it sends what it is told, and shows what it hears.
struct Liar {
    _node: Node,
    link: LinkHandle,
    heard: mpsc::UnboundedReceiver<Message>,
}

impl Liar {
    async fn start(mut end: End) -> Self {
        let (hear, heard) = mpsc::unbounded_channel();
        while !matches!(end.events.next().await.unwrap(), LinkEvent::Up { .. }) {}
        let mut events = end.events;
        tokio::spawn(async move {
            while let Some(event) = events.next().await {
                if let LinkEvent::Batch(batch) = event {
                    if let Ok(message) = message::decode(&batch.bytes) {
                        hear.send(message).unwrap();
                    }
                    batch.ack();
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
    let open = StreamOpen::BulkMessages.encode();
    let mut messages = liar.link.open(Class::Control, open).unwrap();
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
