//! What we receive: each batch once, each stream in order, within the agreed limits.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;

use super::limits::{STREAMS_MAX, UNACKED_SPAN_MAX, unacked_bytes_max};
use super::number_set::NumberSet;
use super::{ClassMarks, Violation};
use crate::class::Class;
use crate::ids::{Number, Seq, StreamId};
use crate::wire::control::Run;
use crate::wire::frame::Header;

/// What to do with a batch whose header came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// Read and decode it.
    New,
    /// It is here already.
    Duplicate,
}

/// A batch for the user: the next of its stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Delivery {
    pub(crate) class: Class,
    pub(crate) number: Number,
    pub(crate) stream: StreamId,
    pub(crate) open: Bytes,
    pub(crate) seq: Seq,
    pub(crate) last: bool,
    pub(crate) raw: Bytes,
}

/// A batch between its header and its decoding.
#[derive(Clone, Copy, Debug)]
struct Arriving {
    raw_len: usize,
    /// It was asked for again.
    missing: bool,
}

#[derive(Debug, Default)]
struct InClass {
    received: NumberSet,
    acked: NumberSet,
    arriving: HashMap<Number, Arriving>,
    /// Raw bytes announced, waiting, or delivered and not acknowledged.
    unacked_bytes: u64,
    /// Acknowledgements that the peer has not been told. Its runs have room in a window or two, however
    /// long the peer reads nothing.
    untold: NumberSet,
}

#[derive(Debug)]
struct Early {
    number: Number,
    last: bool,
    raw: Bytes,
}

#[derive(Debug)]
struct InStream {
    class: Class,
    open: Bytes,
    next_seq: Seq,
    early: BTreeMap<Seq, Early>,
}

/// The receiving half of a session.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    classes: [InClass; Class::COUNT],
    streams: HashMap<StreamId, InStream>,
}

impl Inbox {
    /// Takes the announced bytes into account, before memory is taken for them.
    pub(crate) fn handle_header(&mut self, header: &Header) -> Result<Arrival, Violation> {
        let class = &mut self.classes[header.class.index()];
        if class.received.contains(header.number) {
            return Ok(Arrival::Duplicate);
        }
        if header.number.0 - class.acked.tail().0.min(header.number.0) >= UNACKED_SPAN_MAX {
            return Err(Violation("it sent a batch beyond its window"));
        }
        if let Some(arriving) = class.arriving.get_mut(&header.number) {
            if arriving.raw_len != header.raw_len {
                return Err(Violation("two batches claim one number"));
            }
            if !(arriving.missing && header.literal) {
                return Ok(Arrival::Duplicate);
            }
            arriving.missing = false;
            return Ok(Arrival::New);
        }
        class.unacked_bytes += header.raw_len as u64;
        if class.unacked_bytes > unacked_bytes_max(header.class) {
            return Err(Violation("it sent more than its window"));
        }
        let arriving = Arriving {
            raw_len: header.raw_len,
            missing: false,
        };
        class.arriving.insert(header.number, arriving);
        Ok(Arrival::New)
    }

    /// The batch cannot be decoded: it is expected again, as literals.
    pub(crate) fn handle_missing(&mut self, header: &Header) {
        let class = &mut self.classes[header.class.index()];
        if let Some(arriving) = class.arriving.get_mut(&header.number) {
            arriving.missing = true;
        }
    }

    /// Files a decoded batch; what can now be delivered is appended to `deliveries`.
    pub(crate) fn handle_decoded(
        &mut self,
        header: &Header,
        raw: Bytes,
        deliveries: &mut Vec<Delivery>,
    ) -> Result<(), Violation> {
        if raw.len() != header.raw_len {
            return Err(Violation("a batch has another length than announced"));
        }
        let class = &mut self.classes[header.class.index()];
        if class.arriving.remove(&header.number).is_none() {
            return Ok(());
        }
        class.received.insert(header.number);
        let stream = self.stream(header)?;
        if let Some(open) = &header.open {
            stream.open = open.clone();
        }
        let early = Early {
            number: header.number,
            last: header.last,
            raw,
        };
        let taken =
            header.seq < stream.next_seq || stream.early.insert(header.seq, early).is_some();
        if taken || stream.class != header.class {
            return Err(Violation("two batches claim one place in a stream"));
        }
        self.deliver(header.stream, deliveries)
    }

    fn stream(&mut self, header: &Header) -> Result<&mut InStream, Violation> {
        if self.streams.len() >= STREAMS_MAX && !self.streams.contains_key(&header.stream) {
            return Err(Violation("it opened too many streams"));
        }
        let new = || InStream {
            class: header.class,
            open: Bytes::new(),
            next_seq: Seq(0),
            early: BTreeMap::new(),
        };
        Ok(self.streams.entry(header.stream).or_insert_with(new))
    }

    fn deliver(&mut self, id: StreamId, out: &mut Vec<Delivery>) -> Result<(), Violation> {
        let Some(stream) = self.streams.get_mut(&id) else {
            return Ok(());
        };
        while let Some(early) = stream.early.remove(&stream.next_seq) {
            out.push(Delivery {
                class: stream.class,
                number: early.number,
                stream: id,
                open: stream.open.clone(),
                seq: stream.next_seq,
                last: early.last,
                raw: early.raw,
            });
            stream.next_seq = Seq(stream.next_seq.0 + 1);
            if early.last {
                let more = !stream.early.is_empty();
                self.streams.remove(&id);
                return match more {
                    true => Err(Violation("a stream goes on after its end")),
                    false => Ok(()),
                };
            }
        }
        Ok(())
    }

    /// The user has applied a delivered batch of `len` bytes.
    pub(crate) fn ack(&mut self, class: Class, number: Number, len: usize) {
        let class = &mut self.classes[class.index()];
        if class.acked.insert(number) {
            class.unacked_bytes = class.unacked_bytes.saturating_sub(len as u64);
            class.untold.insert(number);
        }
    }

    /// Acknowledgements that the peer has not been told over this connection.
    pub(crate) fn poll_acks(&mut self, class: Class) -> Vec<Run> {
        std::mem::take(&mut self.classes[class.index()].untold).into_runs()
    }

    /// The connection is gone, and with it what was only half here.
    pub(crate) fn handle_disconnected(&mut self) {
        for class in &mut self.classes {
            for (_, arriving) in class.arriving.drain() {
                class.unacked_bytes -= arriving.raw_len as u64;
            }
        }
    }

    /// What the next Hello says about this class. It covers all acknowledgements so far.
    pub(crate) fn marks(&mut self, class: Class) -> ClassMarks {
        let class = &mut self.classes[class.index()];
        class.untold = NumberSet::default();
        ClassMarks {
            received: class.received.clone(),
            acked: class.acked.clone(),
        }
    }

    /// Raw bytes of a class that are announced, waiting, or delivered and not acknowledged.
    pub(crate) fn unacked_bytes(&self, class: Class) -> u64 {
        self.classes[class.index()].unacked_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acknowledgements_that_nobody_reads_take_no_room() {
        let (mut inbox, mut deliveries) = (Inbox::default(), Vec::new());
        let before = strait_fuzz::held_bytes();
        for number in 0..100_000 {
            let header = Header {
                class: Class::Control,
                last: false,
                literal: true,
                number: Number(number),
                stream: StreamId(0),
                seq: Seq(number),
                open: None,
                raw_len: 1,
                wire_len: 1,
            };
            assert_eq!(inbox.handle_header(&header), Ok(Arrival::New));
            let raw = Bytes::from_static(b"0");
            inbox.handle_decoded(&header, raw, &mut deliveries).unwrap();
            for delivery in deliveries.drain(..) {
                inbox.ack(delivery.class, delivery.number, delivery.raw.len());
            }
        }
        let held = strait_fuzz::held_bytes() - before;
        assert!(held < 16 << 10, "{held} bytes");
        let run = Run {
            start: Number(0),
            len: 100_000,
        };
        assert_eq!(inbox.poll_acks(Class::Control), [run]);
        assert_eq!(inbox.poll_acks(Class::Control), []);
    }
}
