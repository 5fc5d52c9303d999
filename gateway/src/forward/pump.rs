//! Moves the bytes of one flow between its TCP connection and the link.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use strait_transport::{BATCH_BYTES_MAX, Class, SendError};
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::time::timeout;

use super::carrier::Carrier;
use super::figures::Counters;
use super::flow::Flow;
use super::message::{Message, Refusal};
use super::pace::{LINGER, LINGER_MAX, Pace};
use super::peer::{Peer, Session};
use super::settings::FlowClass;
use super::socket;

/// What is asked of the connection at a time at first.
const READ_BYTES_MIN: usize = 16 << 10;

/// A flow with its two ends joined.
#[derive(Debug)]
pub(super) struct Pump<'a> {
    pub(super) peer: &'a Peer,
    pub(super) session: &'a Session,
    pub(super) flow: Arc<Flow>,
    pub(super) counters: &'a Counters,
    pub(super) class: FlowClass,
    pub(super) patience: Duration,
}

impl Pump<'_> {
    /// Runs until both directions have ended, or the flow is reset. Then nothing is left
    /// of it, and both ends know. `tcp` is a socket as [`socket`] makes them: closing it resets.
    pub(super) async fn run(self, mut tcp: TcpStream, mut carrier: Carrier) -> Result<(), Refusal> {
        let ended = self.join(&mut tcp, &mut carrier).await;
        self.session.remove(self.flow.id);
        let Err(refusal) = ended else {
            socket::close_cleanly(&tcp);
            return Ok(());
        };
        let flow = self.flow.id;
        self.session.refuse(flow, refusal.clone());
        carrier.abort();
        Err(refusal)
    }

    async fn join(&self, tcp: &mut TcpStream, carrier: &mut Carrier) -> Result<(), Refusal> {
        tcp.set_nodelay(true).map_err(|_| Refusal::Reset)?;
        let (read, write) = tcp.split();
        tokio::select! {
            biased;
            refusal = self.flow.over() => Err(refusal),
            ended = async { tokio::try_join!(self.upload(&read, carrier), self.download(write)) } => {
                ended.map(|((), ())| ())
            }
            () = self.peer.away_for(self.patience) => Err(Refusal::LinkAway),
            // Also when neither direction can move, and so neither would notice.
            _broken = read.ready(Interest::ERROR) => Err(Refusal::Reset),
        }
    }

    /// From the connection to the peer.
    async fn upload(&self, read: &ReadHalf<'_>, carrier: &mut Carrier) -> Result<(), Refusal> {
        let mut pace = Pace::new(self.class);
        let mut batch = BytesMut::new();
        // The first batch opens the flow, with what the client has said so far.
        let mut ended = fill(read, &mut batch, READ_BYTES_MIN)?;
        self.send(carrier, &mut batch, pace.class()).await?;
        while !ended {
            let credit = self.flow.credit_beyond(carrier.sent()).await;
            let limit = BATCH_BYTES_MAX.min(usize::try_from(credit).unwrap_or(usize::MAX));
            let began = Instant::now();
            read.readable().await.map_err(|_| Refusal::Reset)?;
            pace.handle_silence(began.elapsed());
            ended = fill(read, &mut batch, limit)?;
            pace.handle_bytes(batch.len());
            if pace.is_streaming() {
                ended = ended || gather(read, &mut batch, limit).await?;
            }
            if !batch.is_empty() {
                self.send(carrier, &mut batch, pace.class()).await?;
            }
        }
        carrier.finish().await.map_err(refused)
    }

    async fn send(
        &self,
        carrier: &mut Carrier,
        batch: &mut BytesMut,
        class: Class,
    ) -> Result<(), Refusal> {
        let bytes = right_sized(batch);
        let len = bytes.len() as u64;
        carrier.send(bytes, class).await.map_err(refused)?;
        self.flow.sent(len, class == Class::Bulk);
        Counters::add(&self.counters.sent_bytes, len);
        Ok(())
    }

    /// From the peer to the connection.
    async fn download(&self, mut write: WriteHalf<'_>) -> Result<(), Refusal> {
        while let Some(bytes) = self.flow.next().await {
            write.write_all(&bytes).await.map_err(|_| Refusal::Reset)?;
            Counters::add(&self.counters.received_bytes, bytes.len() as u64);
            let (flow, peer) = (self.flow.id, self.peer);
            if let Some(bytes) = self.flow.consumed(bytes.len(), || peer.rtt()) {
                self.session.send(Message::Credit { flow, bytes }).await;
            }
        }
        write.shutdown().await.map_err(|_| Refusal::Reset)
    }
}

fn refused(error: SendError) -> Refusal {
    match error {
        SendError::TooManyStreams => Refusal::Busy,
        SendError::SessionReset | SendError::TooLarge | SendError::Closed => Refusal::SessionReset,
    }
}

/// Takes what is there, up to `limit` bytes in `batch`. True at the end.
fn fill(read: &ReadHalf<'_>, batch: &mut BytesMut, limit: usize) -> Result<bool, Refusal> {
    while batch.len() < limit {
        let want = batch.len().max(READ_BYTES_MIN).min(limit - batch.len());
        batch.reserve(want);
        let mut room = bytes::BufMut::limit(&mut *batch, want);
        match read.try_read_buf(&mut room) {
            Ok(0) => return Ok(true),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(_) => return Err(Refusal::Reset),
        }
    }
    Ok(false)
}

/// Waits a little for more. True at the end.
async fn gather(read: &ReadHalf<'_>, batch: &mut BytesMut, limit: usize) -> Result<bool, Refusal> {
    let began = Instant::now();
    while batch.len() < limit && began.elapsed() < LINGER_MAX {
        match timeout(LINGER, read.readable()).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err(Refusal::Reset),
            Err(_) => break,
        }
        if fill(read, batch, limit)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The bytes without much unused memory behind them: they may wait for the link.
fn right_sized(batch: &mut BytesMut) -> Bytes {
    if batch.len() * 2 < batch.capacity() {
        let bytes = Bytes::copy_from_slice(batch);
        batch.clear();
        return bytes;
    }
    std::mem::take(batch).freeze()
}
