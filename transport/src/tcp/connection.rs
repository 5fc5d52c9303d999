//! One TLS connection as a link's line: byte streams side by side, most urgent first.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::explain;
use crate::class::Class;
use crate::identity::PublicKey;
use crate::line::{Connection, Ended, Figures, Goodbye, IDLE_MAX, Line, Sink, Source, Traffic};
use crate::wire::record::{HEADER_BYTES, Lane, RECORD_BYTES_MAX, header, parse};

const PING_EVERY: Duration = Duration::from_millis(500);
/// How long a goodbye may take to be written.
const GOODBYE_MAX: Duration = Duration::from_millis(500);
/// Byte streams of a connection: messages, and each class's frames.
const LANES: usize = 1 + Class::COUNT;
/// Pieces that came in on a lane and wait for their reader.
const WAITING_MAX: usize = 16;

const fn index(lane: Option<Class>) -> usize {
    match lane {
        None => 0,
        Some(class) => 1 + class.index(),
    }
}

#[derive(Clone, Debug)]
pub(crate) struct TcpConnection(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    address: SocketAddr,
    key: Option<PublicKey>,
    out: [mpsc::Sender<Bytes>; LANES],
    /// The peer's streams of frames, until they are accepted.
    incoming: Mutex<Vec<TcpSource>>,
    /// Asks the connection to end. When it is dropped, too.
    close: watch::Sender<Option<(Goodbye, String)>>,
    ended: watch::Receiver<Option<Ended>>,
    gauges: Arc<Gauges>,
}

#[derive(Debug)]
struct Gauges {
    start: Instant,
    sent_bytes: AtomicU64,
    received_bytes: AtomicU64,
    answers: AtomicU64,
    rtt_us: AtomicU64,
}

impl TcpConnection {
    /// Takes over a connection whose handshake is done.
    pub(super) fn start(
        stream: impl AsyncRead + AsyncWrite + Send + 'static,
        address: SocketAddr,
        key: Option<PublicKey>,
    ) -> Line {
        let (out, mut outgoing) = lanes(1);
        let (inward, mut incoming) = lanes(WAITING_MAX);
        let (close, closing) = watch::channel(None);
        let (end, ended) = watch::channel(None);
        let gauges = Arc::new(Gauges::new());
        let (reader, writer) = split(stream);
        let (pongs, to_answer) = mpsc::channel(1);
        let counts = Arc::clone(&gauges);
        tokio::spawn(async move {
            let read = read(reader, &inward, pongs, &counts);
            let write = write(writer, &mut outgoing, to_answer, closing, &counts);
            end.send_replace(Some(either(read, write).await));
            // Who uses the lanes finds out only now: asked for the reason, there is one.
            drop((inward, outgoing));
        });
        let messages = incoming.remove(0);
        let send = TcpSink(out[index(None)].clone());
        let shared = Shared {
            address,
            key,
            out,
            incoming: Mutex::new(incoming),
            close,
            ended,
            gauges,
        };
        Line {
            connection: Connection::Tcp(Self(Arc::new(shared))),
            send: Sink::Tcp(send),
            recv: Source::tcp(messages),
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.0.address
    }

    pub(crate) fn key(&self) -> Option<PublicKey> {
        self.0.key
    }

    pub(crate) fn open(&self, class: Class) -> TcpSink {
        TcpSink(self.0.out[index(Some(class))].clone())
    }

    pub(crate) async fn accept(&self) -> Result<TcpSource, String> {
        let next = self.0.incoming.lock().pop();
        match next {
            Some(source) => Ok(source),
            None => Err(self.closed().await.reason),
        }
    }

    pub(crate) fn close(&self, goodbye: Goodbye, reason: &str) {
        self.0.close.send_if_modified(|close| {
            let first = close.is_none();
            if first {
                *close = Some((goodbye, reason.to_owned()));
            }
            first
        });
    }

    pub(crate) async fn closed(&self) -> Ended {
        let mut ended = self.0.ended.clone();
        let why = ended.wait_for(Option::is_some).await;
        why.ok()
            .and_then(|why| why.clone())
            .unwrap_or_else(|| Ended::because("the connection broke down"))
    }

    pub(crate) fn ended(&self) -> Option<Ended> {
        self.0.ended.borrow().clone()
    }

    pub(crate) fn sample(&self) -> Figures {
        let gauges = &self.0.gauges;
        let rtt_us = gauges.rtt_us.load(Ordering::Relaxed);
        Figures {
            rtt: (rtt_us > 0).then(|| Duration::from_micros(rtt_us)),
            traffic: Traffic {
                tcp_sent_bytes: gauges.sent_bytes.load(Ordering::Relaxed),
                tcp_received_bytes: gauges.received_bytes.load(Ordering::Relaxed),
                ..Traffic::default()
            },
            answers: gauges.answers.load(Ordering::Relaxed),
            ..Figures::default()
        }
    }
}

#[derive(Debug)]
pub(crate) struct TcpSink(mpsc::Sender<Bytes>);

impl TcpSink {
    pub(crate) async fn write(&mut self, pieces: &mut [Bytes]) -> Result<(), String> {
        for piece in pieces.iter_mut().filter(|piece| !piece.is_empty()) {
            let sent = self.0.send(std::mem::take(piece)).await;
            sent.map_err(|_| "the connection has ended".to_owned())?;
        }
        Ok(())
    }
}

#[derive(Debug)]
pub(crate) struct TcpSource(mpsc::Receiver<Bytes>);

impl TcpSource {
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, String> {
        let next = self.0.recv().await;
        next.map(Some)
            .ok_or_else(|| "the connection has ended".into())
    }
}

fn lanes(capacity: usize) -> ([mpsc::Sender<Bytes>; LANES], Vec<TcpSource>) {
    let mut receivers = Vec::with_capacity(LANES);
    let senders = [(); LANES].map(|()| {
        let (sender, receiver) = mpsc::channel(capacity);
        receivers.push(TcpSource(receiver));
        sender
    });
    (senders, receivers)
}

/// Until either half ends.
async fn either(
    read: impl Future<Output = Ended>,
    write: impl Future<Output = Result<(), String>>,
) -> Ended {
    tokio::pin!(read);
    tokio::select! {
        why = &mut read => why,
        written = write => match written {
            Ok(()) => Ended::because("closed"),
            // Where nothing can be written any more, the peer's goodbye may wait to be read.
            Err(reason) => timeout(GOODBYE_MAX, read)
                .await
                .unwrap_or_else(|_| Ended::because(reason)),
        },
    }
}

async fn read(
    mut stream: impl AsyncRead + Unpin,
    lanes: &[mpsc::Sender<Bytes>; LANES],
    pongs: mpsc::Sender<Bytes>,
    gauges: &Gauges,
) -> Ended {
    let mut buffer = BytesMut::new();
    loop {
        while let Some(head) = buffer.first_chunk::<HEADER_BYTES>() {
            let (lane, len) = match parse(*head) {
                Ok(parsed) => parsed,
                Err(error) => return Ended::because(error.to_string()),
            };
            if buffer.len() < HEADER_BYTES + len {
                break;
            }
            buffer.advance(HEADER_BYTES);
            let record = buffer.split_to(len).freeze();
            match lane {
                // A reader that has gone is seen by the writer.
                Lane::Messages => drop(lanes[index(None)].send(record).await),
                Lane::Frames(class) => drop(lanes[index(Some(class))].send(record).await),
                // One answer at a time: more are not asked for by a peer that means well.
                Lane::Ping => drop(pongs.try_send(record)),
                Lane::Pong => gauges.count_answer(&record),
                Lane::Goodbye => return Ended::by_peer(record[0].into(), &record[1..]),
            }
        }
        buffer.reserve(4 * RECORD_BYTES_MAX);
        let before = buffer.len();
        match timeout(IDLE_MAX, stream.read_buf(&mut buffer)).await {
            Ok(Ok(0)) => return Ended::because("the peer closed the connection"),
            Ok(Ok(_)) => {
                let read = (buffer.len() - before) as u64;
                gauges.received_bytes.fetch_add(read, Ordering::Relaxed);
            }
            Ok(Err(error)) => return Ended::because(explain(&error)),
            Err(_) => return Ended::because("no word from the peer"),
        }
    }
}

impl Gauges {
    fn new() -> Self {
        Self {
            start: Instant::now(),
            sent_bytes: AtomicU64::new(0),
            received_bytes: AtomicU64::new(0),
            answers: AtomicU64::new(0),
            rtt_us: AtomicU64::new(0),
        }
    }

    fn now_us(&self) -> u64 {
        self.start.elapsed().as_micros() as u64
    }

    /// Smoothed as in RFC 6298, section 2.
    fn count_answer(&self, record: &[u8]) {
        self.answers.fetch_add(1, Ordering::Relaxed);
        let sent_us = record.first_chunk().map_or(0, |us| u64::from_le_bytes(*us));
        let rtt_us = self.now_us().saturating_sub(sent_us);
        let smoothed = match self.rtt_us.load(Ordering::Relaxed) {
            0 => rtt_us,
            before => (7 * before + rtt_us) / 8,
        };
        self.rtt_us.store(smoothed.max(1), Ordering::Relaxed);
    }
}

async fn write(
    mut stream: impl AsyncWrite + Unpin,
    lanes: &mut [TcpSource],
    mut pongs: mpsc::Receiver<Bytes>,
    mut close: watch::Receiver<Option<(Goodbye, String)>>,
    gauges: &Gauges,
) -> Result<(), String> {
    let mut pings = interval(PING_EVERY);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let [messages, control, interactive, bulk] = lanes else {
        return Err("a lane is missing".into());
    };
    let mut record = Vec::with_capacity(HEADER_BYTES + RECORD_BYTES_MAX);
    loop {
        let (lane, mut piece) = tokio::select! {
            biased;
            closed = close.changed() => {
                let goodbye = closed.ok().and_then(|()| close.borrow().clone());
                take_leave(&mut stream, goodbye).await;
                return Ok(());
            }
            _ = pings.tick() => {
                let now = gauges.now_us().to_le_bytes();
                (Lane::Ping, Bytes::copy_from_slice(&now))
            }
            Some(pong) = pongs.recv() => (Lane::Pong, pong),
            Some(piece) = messages.0.recv() => (Lane::Messages, piece),
            Some(piece) = control.0.recv() => (Lane::Frames(Class::Control), piece),
            Some(piece) = interactive.0.recv() => (Lane::Frames(Class::Interactive), piece),
            Some(piece) = bulk.0.recv() => (Lane::Frames(Class::Bulk), piece),
        };
        while !piece.is_empty() {
            let part = piece.split_to(piece.len().min(RECORD_BYTES_MAX));
            record.clear();
            record.extend_from_slice(&header(lane, part.len()));
            record.extend_from_slice(&part);
            let written = async {
                stream.write_all(&record).await?;
                stream.flush().await
            };
            written.await.map_err(|error| explain(&error))?;
            let sent = record.len() as u64;
            gauges.sent_bytes.fetch_add(sent, Ordering::Relaxed);
        }
    }
}

/// Tells the peer why, if there is a reason, and closes.
async fn take_leave(stream: &mut (impl AsyncWrite + Unpin), goodbye: Option<(Goodbye, String)>) {
    let leave = async {
        if let Some((goodbye, reason)) = &goodbye {
            let reason = &reason.as_bytes()[..reason.len().min(200)];
            stream
                .write_all(&header(Lane::Goodbye, 1 + reason.len()))
                .await?;
            stream.write_all(&[goodbye.code()]).await?;
            stream.write_all(reason).await?;
        }
        stream.shutdown().await
    };
    // It is told or it is not: the peer notices by itself, too.
    drop(timeout(GOODBYE_MAX, leave).await);
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;

    use super::*;

    const ADDRESS: SocketAddr =
        SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 1);

    /// Whoever sees a stream end asks why: by then the answer is there.
    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn how_it_ended_is_known_before_its_streams_end() {
        for _ in 0..2000 {
            let (near, far) = duplex(1 << 10);
            let mut near = TcpConnection::start(near, ADDRESS, None);
            let far = TcpConnection::start(far, ADDRESS, None);
            far.connection.close(Goodbye::Replaced, "enough");
            while near.recv.more(&mut BytesMut::new()).await == Ok(true) {}
            let ended = near.connection.ended();
            assert!(ended.is_some_and(|ended| ended.goodbye == Some(Goodbye::Replaced)));
        }
    }

    #[tokio::test]
    async fn a_goodbye_is_heard_though_nothing_can_be_written() {
        for _ in 0..50 {
            let (near, mut far) = duplex(1 << 10);
            let goodbye = Some((Goodbye::Replaced, "enough".to_owned()));
            take_leave(&mut far, goodbye).await;
            drop(far);
            let mut near = TcpConnection::start(near, ADDRESS, None);
            let message = Bytes::from_static(b"to nobody");
            near.send.write(&mut [message]).await.unwrap();
            let ended = near.connection.closed().await;
            assert_eq!(ended.goodbye, Some(Goodbye::Replaced), "{ended:?}");
        }
    }
}
