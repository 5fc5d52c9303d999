//! What we send: numbering, windows, acknowledgements.

use std::collections::{BTreeSet, HashMap, VecDeque};

use bytes::Bytes;

use super::gauge::Gauge;
use super::limits::{
    QUEUED_BATCHES_MAX, STREAMS_MAX, UNACKED_SPAN_MAX, queued_bytes_max, unacked_bytes_max,
};
use super::number_set::NumberSet;
use super::{ClassMarks, Violation};
use crate::class::Class;
use crate::error::SendError;
use crate::ids::{Number, Seq, StreamId};
use crate::wire::control::Run;

/// A batch that should go out now.
#[derive(Clone, Debug)]
pub(crate) struct Transmit {
    pub(crate) class: Class,
    pub(crate) number: Number,
    pub(crate) stream: StreamId,
    pub(crate) seq: Seq,
    /// On the first batch of a stream.
    pub(crate) open: Option<Bytes>,
    pub(crate) last: bool,
    pub(crate) literal: bool,
    pub(crate) raw: Bytes,
}

/// A batch that the peer acknowledged for the first time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Acked {
    pub(crate) stream: StreamId,
    pub(crate) seq: Seq,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Not sent over the present connection.
    Queued,
    /// On its way.
    Sent,
    /// The peer said in a Hello that it has it; it will acknowledge it in time.
    Held,
    Acked,
}

#[derive(Debug)]
struct OutBatch {
    stream: StreamId,
    seq: Seq,
    last: bool,
    raw: Bytes,
    state: State,
}

#[derive(Debug, Default)]
struct OutClass {
    /// Number of `batches[0]`: the oldest that is not acknowledged.
    base: u64,
    batches: VecDeque<OutBatch>,
    /// Index of the first batch that may still be `Queued`.
    next: usize,
    /// Batches that the peer wants again, as literals.
    again: BTreeSet<Number>,
    gauge: Gauge,
}

#[derive(Debug)]
struct OutStreamState {
    class: Class,
    open: Bytes,
    next_seq: Seq,
    ended: bool,
    /// Sequence numbers, counted as [`Number`]s.
    acked: NumberSet,
    gauge: Gauge,
    /// Nobody asks about it any more.
    detached: bool,
}

impl OutStreamState {
    fn is_done(&self) -> bool {
        self.detached && self.ended && self.acked.tail().0 == self.next_seq.0
    }
}

/// The sending half of a session.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    classes: [OutClass; Class::COUNT],
    streams: HashMap<StreamId, OutStreamState>,
    /// Never goes back, not even with a fresh session.
    next_stream: u64,
}

impl Outbox {
    pub(crate) fn open(&mut self, class: Class, open: Bytes) -> Result<StreamId, SendError> {
        if self.streams.len() >= STREAMS_MAX {
            return Err(SendError::TooManyStreams);
        }
        let id = StreamId(self.next_stream);
        self.next_stream += 1;
        let state = OutStreamState {
            class,
            open,
            next_seq: Seq(0),
            ended: false,
            acked: NumberSet::default(),
            gauge: Gauge::default(),
            detached: false,
        };
        self.streams.insert(id, state);
        Ok(id)
    }

    /// The stream's user has gone.
    pub(crate) fn detach(&mut self, stream: StreamId) {
        if let Some(state) = self.streams.get_mut(&stream) {
            state.detached = true;
            // A stream without a batch never reached the peer.
            if state.is_done() || state.next_seq == Seq(0) {
                self.streams.remove(&stream);
            }
        }
    }

    /// Whether the class's queue takes another batch.
    pub(crate) fn has_room(&self, class: Class, len: usize) -> bool {
        let gauge = &self.class(class).gauge;
        let fits = gauge.queued_bytes + len as u64 <= queued_bytes_max(class);
        gauge.queued_batches == 0 || (fits && gauge.queued_batches < QUEUED_BATCHES_MAX)
    }

    /// Queues a batch.
    pub(crate) fn push(
        &mut self,
        stream: StreamId,
        raw: Bytes,
        last: bool,
    ) -> Result<Seq, SendError> {
        let state = self.streams.get_mut(&stream);
        let state = state.ok_or(SendError::SessionReset)?;
        if state.ended {
            return Err(SendError::Closed);
        }
        let seq = state.next_seq;
        state.next_seq = Seq(seq.0 + 1);
        state.ended = last;
        state.gauge.enqueue(raw.len() as u64);
        let out = &mut self.classes[state.class.index()];
        out.gauge.enqueue(raw.len() as u64);
        out.batches.push_back(OutBatch {
            stream,
            seq,
            last,
            raw,
            state: State::Queued,
        });
        Ok(seq)
    }

    /// Raw length of what [`Outbox::poll_transmit`] would give.
    pub(crate) fn next_len(&mut self, class: Class) -> Option<u64> {
        let out = &mut self.classes[class.index()];
        if let Some(&number) = out.again.first() {
            return out.get_mut(number).map(|batch| batch.raw.len() as u64);
        }
        while out.batches.get(out.next)?.state != State::Queued {
            out.next += 1;
        }
        let len = out.batches.get(out.next)?.raw.len() as u64;
        let fits = out.gauge.unacked_bytes + len <= unacked_bytes_max(class);
        (fits && (out.next as u64) < UNACKED_SPAN_MAX).then_some(len)
    }

    /// The next batch of this class, if there is one and the peer's window has room.
    pub(crate) fn poll_transmit(&mut self, class: Class) -> Option<Transmit> {
        self.next_len(class)?;
        let out = &mut self.classes[class.index()];
        let again = out.again.pop_first();
        let number = again.unwrap_or(Number(out.base + out.next as u64));
        let index = usize::try_from(number.0 - out.base).ok()?;
        let batch = out.batches.get_mut(index)?;
        let state = self.streams.get_mut(&batch.stream)?;
        if batch.state == State::Queued {
            batch.state = State::Sent;
            out.gauge.send(batch.raw.len() as u64);
            state.gauge.send(batch.raw.len() as u64);
        }
        Some(Transmit {
            class,
            number,
            stream: batch.stream,
            seq: batch.seq,
            open: (batch.seq == Seq(0)).then(|| state.open.clone()),
            last: batch.last,
            literal: again.is_some(),
            raw: batch.raw.clone(),
        })
    }

    /// The peer lacks what this batch refers to.
    pub(crate) fn handle_missing(&mut self, class: Class, number: Number) {
        let out = &mut self.classes[class.index()];
        if out.get_mut(number).is_some_and(|b| b.state == State::Sent) {
            out.again.insert(number);
        }
    }

    /// The peer has applied these batches.
    pub(crate) fn handle_acks(
        &mut self,
        class: Class,
        runs: &[Run],
        acked: &mut Vec<Acked>,
    ) -> Result<(), Violation> {
        for run in runs {
            let out = self.class(class);
            let end = run.start.0.checked_add(run.len);
            let sent_end = out.base + out.batches.len() as u64;
            let end = end.filter(|&end| end <= sent_end);
            let end = end.ok_or(Violation("it acknowledged what was never sent"))?;
            for number in run.start.0.max(out.base)..end {
                acked.extend(self.handle_ack(class, Number(number))?);
            }
        }
        self.classes[class.index()].forget_acked();
        Ok(())
    }

    fn handle_ack(&mut self, class: Class, number: Number) -> Result<Option<Acked>, Violation> {
        let out = &mut self.classes[class.index()];
        let Some(batch) = out.get_mut(number) else {
            return Ok(None);
        };
        match batch.state {
            State::Acked => return Ok(None),
            State::Queued => return Err(Violation("it acknowledged what was never sent")),
            State::Sent | State::Held => batch.state = State::Acked,
        }
        let (stream, seq) = (batch.stream, batch.seq);
        let len = std::mem::take(&mut batch.raw).len() as u64;
        out.gauge.ack(len);
        out.again.remove(&number);
        if let Some(state) = self.streams.get_mut(&stream) {
            state.gauge.ack(len);
            state.acked.insert(Number(seq.0));
            if state.is_done() {
                self.streams.remove(&stream);
            }
        }
        Ok(Some(Acked { stream, seq }))
    }

    /// A new connection in the same session: what the peer lacks is queued again.
    pub(crate) fn resume(
        &mut self,
        class: Class,
        marks: &ClassMarks,
        acked: &mut Vec<Acked>,
    ) -> Result<(), Violation> {
        let out = &mut self.classes[class.index()];
        out.again.clear();
        out.next = 0;
        let assigned_end = out.base + out.batches.len() as u64;
        if marks.acked.tail().0 < out.base {
            return Err(Violation("it took back acknowledgements"));
        }
        if marks.received.end().0 > assigned_end || marks.acked.end() > marks.received.end() {
            return Err(Violation("it claims to have what was never sent"));
        }
        for (index, batch) in out.batches.iter_mut().enumerate() {
            let number = Number(out.base + index as u64);
            let received = marks.received.contains(number);
            match batch.state {
                State::Queued if received => {
                    return Err(Violation("it claims to have what was never sent"));
                }
                State::Held if !received => return Err(Violation("it lost what it had")),
                State::Sent if received => batch.state = State::Held,
                State::Sent => {
                    batch.state = State::Queued;
                    let len = batch.raw.len() as u64;
                    out.gauge.send_failed(len);
                    if let Some(state) = self.streams.get_mut(&batch.stream) {
                        state.gauge.send_failed(len);
                    }
                }
                State::Queued | State::Held | State::Acked => {}
            }
        }
        let base = Number(self.class(class).base);
        let up_to_tail = Run {
            start: base,
            len: marks.acked.tail().0 - base.0,
        };
        let runs: Vec<_> = [up_to_tail].into_iter().chain(marks.acked.runs()).collect();
        self.handle_acks(class, &runs, acked)
    }

    /// A fresh session: everything is gone.
    pub(crate) fn reset(&mut self) {
        *self = Self {
            next_stream: self.next_stream,
            ..Self::default()
        };
    }

    /// Whether the peer has acknowledged this batch and all before it.
    pub(crate) fn is_acked(&self, stream: StreamId, seq: Seq) -> Result<bool, SendError> {
        let state = self.streams.get(&stream).ok_or(SendError::SessionReset)?;
        Ok(state.acked.tail().0 > seq.0)
    }

    pub(crate) fn next_seq(&self, stream: StreamId) -> Result<Seq, SendError> {
        let state = self.streams.get(&stream).ok_or(SendError::SessionReset)?;
        Ok(state.next_seq)
    }

    pub(crate) fn gauge(&self, class: Class) -> Gauge {
        self.class(class).gauge
    }

    pub(crate) fn stream_gauge(&self, stream: StreamId) -> Gauge {
        let state = self.streams.get(&stream);
        state.map_or_else(Gauge::default, |state| state.gauge)
    }

    fn class(&self, class: Class) -> &OutClass {
        &self.classes[class.index()]
    }
}

impl OutClass {
    fn get_mut(&mut self, number: Number) -> Option<&mut OutBatch> {
        let index = number.0.checked_sub(self.base)?;
        self.batches.get_mut(usize::try_from(index).ok()?)
    }

    fn forget_acked(&mut self) {
        let is_acked = |batch: &OutBatch| batch.state == State::Acked;
        while self.batches.front().is_some_and(is_acked) {
            self.batches.pop_front();
            self.base += 1;
            self.next = self.next.saturating_sub(1);
        }
    }
}
