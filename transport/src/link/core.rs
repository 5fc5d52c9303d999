//! All of a link's state, behind one lock: the session, and what its threads and tasks hand
//! to each other. Nothing here waits.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::allowance::Allowance;
use super::events::{PeerInfo, QueuedEvent};
use super::telemetry::Telemetry;
use super::write::Outgoing;
use crate::class::Class;
use crate::codec::EncodedBatch;
use crate::error::SendError;
use crate::ids::{Number, Seq, StreamId};
use crate::session::{Acked, Arrival, Instance, Session, SessionHello, Transmit, Violation};
use crate::status::{Ledger, Phase};
use crate::wire::control::{Message, Run};
use crate::wire::frame::Header;

/// Encoded bytes of a class that wait to be written. The encoder stops above this, so that
/// it runs at most a batch or two ahead of the link.
const OUTGOING_BYTES_MAX: usize = 1 << 20;
/// A bulk batch that comes no later after another is one of many, small files for instance.
const BULK_FLOWS: Duration = Duration::from_millis(20);

/// A connection, counted: what belongs to an earlier one is dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Generation(u64);

/// A session, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Epoch(u64);

/// What the encoder thread does next.
#[derive(Debug)]
pub(super) enum EncoderJob {
    Acked(Acked),
    Hello {
        codec: Bytes,
        reply: oneshot::Sender<Result<(), String>>,
    },
    Drain(Option<f64>),
    Encode {
        generation: Generation,
        batch: Transmit,
        /// Others wait, or will in a moment.
        hurried: bool,
    },
}

/// What a batch of the peer's carries along, to be acknowledged.
#[derive(Clone, Copy, Debug)]
pub(super) struct AckTicket {
    pub(super) epoch: Epoch,
    pub(super) class: Class,
    pub(super) number: Number,
    pub(super) len: usize,
}

#[derive(Debug)]
pub(super) struct Core {
    session: Session,
    epoch: Epoch,
    /// The epoch whose `Up` the user has read last.
    seen_epoch: Option<Epoch>,
    /// A fresh session began of which the user has not been told.
    owes_fresh: bool,
    generation: Generation,
    /// Hellos were exchanged over this generation: batches may go out.
    is_up: bool,
    pub(super) paused: bool,
    pub(super) closed: bool,
    events: VecDeque<QueuedEvent>,
    jobs: VecDeque<EncoderJob>,
    outgoing: [VecDeque<Outgoing>; Class::COUNT],
    outgoing_bytes: [usize; Class::COUNT],
    allowances: [Allowance; Class::COUNT],
    /// Batches to ask for again: at most those that are arriving, also while the peer reads nothing.
    missing: BTreeSet<(Class, Number)>,
    /// The peer should dial anew.
    wants_renewal: bool,
    /// The peer should say something, so that we know that it lives.
    wants_answer: bool,
    ledgers: [Ledger; Class::COUNT],
    /// Of each class's last batch.
    levels: [i32; Class::COUNT],
    stream_ledgers: HashMap<StreamId, Ledger>,
    bulk_encoded_at: Option<Instant>,
    /// Batches that the peer has acknowledged.
    acked_batches: u64,
    pub(super) telemetry: Telemetry,
}

impl Core {
    pub(super) fn new(instance: Instance) -> Self {
        Self {
            session: Session::new(instance),
            epoch: Epoch(0),
            seen_epoch: None,
            owes_fresh: false,
            generation: Generation(0),
            is_up: false,
            paused: false,
            closed: false,
            events: VecDeque::new(),
            jobs: VecDeque::new(),
            outgoing: Default::default(),
            outgoing_bytes: [0; Class::COUNT],
            allowances: Default::default(),
            missing: BTreeSet::new(),
            wants_renewal: false,
            wants_answer: false,
            ledgers: [Ledger::default(); Class::COUNT],
            levels: [0; Class::COUNT],
            stream_ledgers: HashMap::new(),
            bulk_encoded_at: None,
            acked_batches: 0,
            telemetry: Telemetry::new(SystemTime::now()),
        }
    }

    // Streams and their users.

    pub(super) fn open(&mut self, class: Class, open: Bytes) -> Result<StreamId, SendError> {
        if self.closed {
            return Err(SendError::Closed);
        }
        if self.seen_epoch != Some(self.epoch) {
            return Err(SendError::SessionReset);
        }
        let stream = self.session.outbox.open(class, open)?;
        self.stream_ledgers.insert(stream, Ledger::default());
        Ok(stream)
    }

    /// `None`: the queue is full.
    pub(super) fn push(
        &mut self,
        class: Class,
        stream: StreamId,
        raw: &Bytes,
        last: bool,
    ) -> Result<Option<Seq>, SendError> {
        if self.closed {
            return Err(SendError::Closed);
        }
        self.session.outbox.next_seq(stream)?;
        if !self.session.outbox.has_room(class, raw.len()) {
            return Ok(None);
        }
        let seq = self.session.outbox.push(stream, raw.clone(), last)?;
        let len = raw.len() as u64;
        self.ledgers[class.index()].logical_bytes += len;
        if let Some(ledger) = self.stream_ledgers.get_mut(&stream) {
            ledger.logical_bytes += len;
        }
        Ok(Some(seq))
    }

    pub(super) fn is_acked(&self, stream: StreamId, seq: Seq) -> Result<bool, SendError> {
        if self.closed {
            return Err(SendError::Closed);
        }
        self.session.outbox.is_acked(stream, seq)
    }

    pub(super) fn next_seq(&self, stream: StreamId) -> Result<Seq, SendError> {
        self.session.outbox.next_seq(stream)
    }

    pub(super) fn detach(&mut self, stream: StreamId) {
        self.session.outbox.detach(stream);
        self.stream_ledgers.remove(&stream);
    }

    pub(super) fn stream_ledger_of(&self, stream: StreamId) -> Ledger {
        let ledger = self
            .stream_ledgers
            .get(&stream)
            .copied()
            .unwrap_or_default();
        ledger.with_gauge(self.session.outbox.stream_gauge(stream))
    }

    pub(super) fn level(&self, class: Class) -> i32 {
        self.levels[class.index()]
    }

    pub(super) fn class_ledger(&self, class: Class) -> Ledger {
        self.ledgers[class.index()].with_gauge(self.session.outbox.gauge(class))
    }

    /// Bytes of batches that are held here: to be sent or acknowledged, either way, or encoded.
    pub(super) fn batch_bytes(&self) -> u64 {
        self.session.batch_bytes() + self.outgoing_bytes.iter().sum::<usize>() as u64
    }

    /// Batches that the peer has acknowledged so far, and that were sent and it has not.
    pub(super) fn acked_and_unacked(&self) -> (u64, u64) {
        let gauges = Class::ALL.map(|class| self.session.outbox.gauge(class));
        let unacked = gauges.iter().map(|gauge| gauge.unacked_batches).sum();
        (self.acked_batches, unacked)
    }

    /// False: the batch belonged to an earlier session.
    pub(super) fn ack(&mut self, ticket: AckTicket) -> bool {
        let current = ticket.epoch == self.epoch;
        if current {
            let inbox = &mut self.session.inbox;
            inbox.ack(ticket.class, ticket.number, ticket.len);
        }
        current
    }

    pub(super) fn poll_event(&mut self) -> Option<(Epoch, QueuedEvent)> {
        let event = self.events.pop_front()?;
        if let QueuedEvent::Up { .. } = event {
            self.seen_epoch = Some(self.epoch);
        }
        Some((self.epoch, event))
    }

    // The life of connections.

    /// Everything of the connection before is void from here on.
    pub(super) fn begin(&mut self) -> Generation {
        self.generation = Generation(self.generation.0 + 1);
        self.is_up = false;
        self.missing.clear();
        self.wants_renewal = false;
        self.wants_answer = false;
        self.outgoing = Default::default();
        self.outgoing_bytes = [0; Class::COUNT];
        self.generation
    }

    pub(super) fn hello(&mut self) -> SessionHello {
        self.session.hello()
    }

    /// Takes the peer's Hello in and leaves its codec part to the encoder.
    pub(super) fn handle_hello(
        &mut self,
        hello: &SessionHello,
        codec: Bytes,
    ) -> Result<oneshot::Receiver<Result<(), String>>, Violation> {
        let opened = self.session.handle_hello(hello).inspect_err(|_| {
            self.session.forget_peer();
        })?;
        if opened.fresh {
            self.epoch = Epoch(self.epoch.0 + 1);
            self.owes_fresh = true;
            self.events.clear();
            self.jobs.clear();
            self.stream_ledgers.clear();
        }
        self.jobs
            .retain(|job| !matches!(job, EncoderJob::Hello { .. }));
        self.jobs
            .extend(opened.acked.into_iter().map(EncoderJob::Acked));
        let (reply, result) = oneshot::channel();
        self.jobs.push_back(EncoderJob::Hello { codec, reply });
        Ok(result)
    }

    /// Both ends have agreed: batches may flow.
    pub(super) fn up(&mut self, generation: Generation, peer: PeerInfo) {
        if generation != self.generation {
            return;
        }
        self.is_up = true;
        self.telemetry.set_phase(Phase::Up);
        self.telemetry.peer = Some(peer.clone());
        let fresh = std::mem::take(&mut self.owes_fresh);
        if !fresh && matches!(self.events.back(), Some(QueuedEvent::Down { .. })) {
            // The user need not hear of a gap it has not noticed.
            self.events.pop_back();
        } else {
            self.events.push_back(QueuedEvent::Up { peer, fresh });
        }
    }

    /// The connection is gone.
    pub(super) fn down(&mut self, phase: Phase, reason: &str, is_meant: bool) {
        let was_up = self.is_up;
        self.begin();
        self.telemetry.disconnected(phase, reason);
        if was_up {
            let reason = reason.to_owned();
            self.events
                .push_back(QueuedEvent::Down { reason, is_meant });
        }
    }

    // The encoder.

    pub(super) fn next_job(&mut self, now: Instant) -> Option<EncoderJob> {
        if let Some(job) = self.jobs.pop_front() {
            return Some(job);
        }
        if !self.is_up {
            return None;
        }
        let has_room = |class: Class| {
            self.outgoing_bytes[class.index()] < OUTGOING_BYTES_MAX
                && self.allowances[class.index()].is_open(now)
        };
        let room = Class::ALL.map(has_room);
        let transmit = self.session.poll_transmit(room)?;
        let is_bulk = transmit.class == Class::Bulk;
        let hurried = self.has_queued() || (is_bulk && self.bulk_flows_at(now));
        if is_bulk {
            self.bulk_encoded_at = Some(now);
        }
        Some(EncoderJob::Encode {
            generation: self.generation,
            batch: transmit,
            hurried,
        })
    }

    /// Whether bulk batches come one after the other, even if the next is not here yet.
    pub(super) fn bulk_flows_at(&self, now: Instant) -> bool {
        let since = self.bulk_encoded_at.map(|at| now.duration_since(at));
        since.is_some_and(|since| since < BULK_FLOWS)
    }

    /// When time alone lets another batch go.
    pub(super) fn opens_at(&self, now: Instant) -> Option<Instant> {
        let opens = self.allowances.iter();
        opens.filter_map(|allowance| allowance.opens_at(now)).min()
    }

    /// So many bits a second of a class may go; `None`: any number.
    pub(super) fn set_allowance(&mut self, class: Class, bits_s: Option<u64>) {
        self.allowances[class.index()].set(bits_s);
    }

    pub(super) fn put_encoded(
        &mut self,
        now: Instant,
        generation: Generation,
        batch: Transmit,
        encoded: EncodedBatch,
    ) {
        if generation != self.generation {
            return;
        }
        let class = batch.class;
        let header = Header {
            class,
            last: batch.last,
            literal: batch.literal,
            number: batch.number,
            stream: batch.stream,
            seq: batch.seq,
            open: batch.open,
            raw_len: batch.raw.len(),
            wire_len: encoded.bytes.len(),
        };
        let outgoing = Outgoing {
            header: header.encode().into(),
            payload: encoded.bytes,
        };
        let wire_bytes = outgoing.len();
        let compressed = outgoing.payload.len();
        if let Some(ledger) = self.stream_ledgers.get_mut(&batch.stream) {
            ledger.count(encoded.literal_bytes, compressed, wire_bytes);
        }
        self.ledgers[class.index()].count(encoded.literal_bytes, compressed, wire_bytes);
        self.levels[class.index()] = encoded.level;
        self.allowances[class.index()].spend(now, wire_bytes);
        self.outgoing_bytes[class.index()] += wire_bytes;
        self.outgoing[class.index()].push_back(outgoing);
    }

    /// Whether any batch waits to be encoded.
    pub(super) fn has_queued(&self) -> bool {
        let queued = |class| self.session.outbox.gauge(class).queued_batches;
        Class::ALL.into_iter().any(|class| queued(class) > 0)
    }

    pub(super) fn set_drain(&mut self, bytes_per_s: Option<f64>) {
        let is_drain = |job: &EncoderJob| matches!(job, EncoderJob::Drain(_));
        self.jobs.retain(|job| !is_drain(job));
        self.jobs.push_back(EncoderJob::Drain(bytes_per_s));
    }

    // The writers and readers.

    pub(super) fn has_outgoing(&self, generation: Generation, class: Class) -> bool {
        generation == self.generation && !self.outgoing[class.index()].is_empty()
    }

    pub(super) fn take_outgoing(
        &mut self,
        generation: Generation,
        class: Class,
    ) -> Option<Outgoing> {
        if generation != self.generation {
            return None;
        }
        let outgoing = self.outgoing[class.index()].pop_front()?;
        self.outgoing_bytes[class.index()] -= outgoing.len();
        Some(outgoing)
    }

    /// What to tell the peer now, encoded.
    pub(super) fn take_messages(&mut self, generation: Generation) -> Vec<u8> {
        let mut out = Vec::new();
        if generation != self.generation {
            return out;
        }
        for class in Class::ALL {
            let runs = self.session.inbox.poll_acks(class);
            for message in Message::acks(class, &runs) {
                message.encode(&mut out);
            }
        }
        for (class, number) in std::mem::take(&mut self.missing) {
            Message::Missing { class, number }.encode(&mut out);
        }
        if std::mem::take(&mut self.wants_renewal) {
            Message::Renew.encode(&mut out);
        }
        if std::mem::take(&mut self.wants_answer) {
            // It acknowledges nothing, and is acknowledged itself.
            let nothing = Message::Acks {
                class: Class::Control,
                runs: Vec::new(),
            };
            nothing.encode(&mut out);
        }
        out
    }

    /// Says something that the peer's end answers by itself.
    pub(super) fn ask_answer(&mut self) {
        self.wants_answer = true;
    }

    /// Asks the peer to dial anew.
    pub(super) fn ask_renewal(&mut self) {
        self.wants_renewal = true;
    }

    pub(super) fn handle_acks(
        &mut self,
        generation: Generation,
        class: Class,
        runs: &[Run],
    ) -> Result<(), Violation> {
        if generation == self.generation {
            let mut acked = Vec::new();
            let outbox = &mut self.session.outbox;
            outbox.handle_acks(class, runs, &mut acked)?;
            self.acked_batches += acked.len() as u64;
            self.jobs.extend(acked.into_iter().map(EncoderJob::Acked));
        }
        Ok(())
    }

    /// The peer wants this batch again, as literals.
    pub(super) fn handle_wanted(&mut self, generation: Generation, class: Class, number: Number) {
        if generation == self.generation {
            self.session.outbox.handle_missing(class, number);
        }
    }

    pub(super) fn handle_header(
        &mut self,
        generation: Generation,
        header: &Header,
    ) -> Result<Arrival, Violation> {
        if generation != self.generation {
            return Ok(Arrival::Duplicate);
        }
        self.session.inbox.handle_header(header)
    }

    pub(super) fn handle_missing(&mut self, generation: Generation, header: &Header) {
        if generation == self.generation {
            self.session.inbox.handle_missing(header);
            self.missing.insert((header.class, header.number));
        }
    }

    pub(super) fn handle_decoded(
        &mut self,
        generation: Generation,
        header: &Header,
        raw: Bytes,
    ) -> Result<(), Violation> {
        if generation != self.generation {
            return Ok(());
        }
        self.missing.remove(&(header.class, header.number));
        let mut deliveries = Vec::new();
        let inbox = &mut self.session.inbox;
        inbox.handle_decoded(header, raw, &mut deliveries)?;
        for delivery in deliveries {
            let received = &mut self.telemetry.received[delivery.class.index()];
            received.batches += 1;
            received.bytes += delivery.raw.len() as u64;
            self.events.push_back(QueuedEvent::Batch(delivery));
        }
        Ok(())
    }

    pub(super) fn is_current(&self, generation: Generation) -> bool {
        generation == self.generation
    }
}
