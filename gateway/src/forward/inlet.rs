//! Puts one direction of a flow together again: bytes by their place, whichever stream
//! carried them and whichever of two streams was faster. Pure.

use std::collections::{BTreeMap, VecDeque};

use bytes::{Bytes, BytesMut};
use strait_transport::StreamId;

use super::message::Ending;

/// Streams that may carry one direction at a time: the last one, and those that it has
/// overtaken.
const CARRIERS_MAX: usize = 4;
/// Batches that may have overtaken others.
const EARLY_MAX: usize = 1024;
/// Pieces smaller than this are copied together, so that many small ones take little more
/// memory than their bytes.
const SMALL_BYTES: usize = 4 << 10;

/// What the peer sent cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Violation;

/// A batch of a stream that carries a flow.
#[derive(Clone, Debug)]
pub(super) struct Arrival {
    pub(super) stream: StreamId,
    /// Where the stream begins; only what its first batch says counts.
    pub(super) offset: u64,
    pub(super) bytes: Bytes,
    pub(super) last: bool,
}

/// What comes next for the reader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Bytes(Bytes),
    /// The direction has ended.
    End,
    /// Not here yet.
    Wait,
}

#[derive(Debug, Default)]
pub(super) struct Inlet {
    /// The streams and the place of their next byte.
    carriers: Vec<(StreamId, u64)>,
    early: BTreeMap<u64, Bytes>,
    ready: VecDeque<Bytes>,
    /// Small pieces behind those that are ready.
    tail: BytesMut,
    arrived: u64,
    end: Option<u64>,
}

impl Inlet {
    /// Takes a batch in, within the credit `granted`. True: the peer aborts the flow.
    pub(super) fn handle(&mut self, arrival: Arrival, granted: u64) -> Result<bool, Violation> {
        let carrier = self.carrier(&arrival)?;
        let at = self.carriers[carrier].1;
        if arrival.last {
            self.carriers.swap_remove(carrier);
            return match Ending::decode(&arrival.bytes) {
                Some(Ending::Moved) => Ok(false),
                Some(Ending::Finished) if self.end.is_none() => {
                    self.end = Some(at);
                    Ok(false)
                }
                Some(Ending::Aborted) => Ok(true),
                Some(Ending::Finished) | None => Err(Violation),
            };
        }
        let end = at.checked_add(arrival.bytes.len() as u64);
        let end = end.filter(|&end| end <= self.end.unwrap_or(granted).min(granted));
        self.carriers[carrier].1 = end.ok_or(Violation)?;
        self.file(at, arrival.bytes)?;
        Ok(false)
    }

    /// Bytes that have come without a gap.
    pub(super) fn arrived(&self) -> u64 {
        self.arrived
    }

    /// What the reader gets next.
    pub(super) fn next(&mut self) -> Next {
        if let Some(bytes) = self.ready.pop_front() {
            return Next::Bytes(bytes);
        }
        if !self.tail.is_empty() {
            return Next::Bytes(self.tail.split().freeze());
        }
        match self.end {
            Some(end) if end <= self.arrived => Next::End,
            Some(_) | None => Next::Wait,
        }
    }

    fn carrier(&mut self, arrival: &Arrival) -> Result<usize, Violation> {
        let known = self.carriers.iter().position(|c| c.0 == arrival.stream);
        if let Some(known) = known {
            return Ok(known);
        }
        if self.carriers.len() >= CARRIERS_MAX {
            return Err(Violation);
        }
        self.carriers.push((arrival.stream, arrival.offset));
        Ok(self.carriers.len() - 1)
    }

    fn file(&mut self, at: u64, bytes: Bytes) -> Result<(), Violation> {
        if bytes.is_empty() {
            return Ok(());
        }
        if at > self.arrived {
            let full = self.early.len() >= EARLY_MAX;
            return match full || self.early.insert(at, bytes).is_some() {
                true => Err(Violation),
                false => Ok(()),
            };
        }
        if at < self.arrived {
            return Err(Violation);
        }
        self.append(bytes);
        while let Some((&at, _)) = self.early.first_key_value() {
            if at > self.arrived {
                break;
            }
            match self.early.pop_first() {
                Some((at, bytes)) if at == self.arrived => self.append(bytes),
                Some(_) | None => return Err(Violation),
            }
        }
        Ok(())
    }

    fn append(&mut self, bytes: Bytes) {
        self.arrived += bytes.len() as u64;
        if bytes.len() < SMALL_BYTES {
            self.tail.extend_from_slice(&bytes);
            return;
        }
        if !self.tail.is_empty() {
            self.ready.push_back(self.tail.split().freeze());
        }
        self.ready.push_back(bytes);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn arrival(stream: u64, offset: u64, bytes: &[u8]) -> Arrival {
        Arrival {
            stream: StreamId(stream),
            offset,
            bytes: Bytes::copy_from_slice(bytes),
            last: false,
        }
    }

    fn ending(stream: u64, offset: u64, ending: Ending) -> Arrival {
        Arrival {
            last: true,
            ..arrival(stream, offset, &[ending as u8])
        }
    }

    fn drain(inlet: &mut Inlet) -> (Vec<u8>, Next) {
        let mut out = Vec::new();
        loop {
            match inlet.next() {
                Next::Bytes(bytes) => out.extend(bytes),
                rest @ (Next::End | Next::Wait) => return (out, rest),
            }
        }
    }

    #[test]
    fn a_stream_that_overtakes_waits_for_the_one_before() {
        let mut inlet = Inlet::default();
        for (arrived, seen) in [
            (arrival(1, 0, b"ab"), &b"ab"[..]),
            (arrival(2, 4, b"ef"), b""),
            (ending(2, 4, Ending::Finished), b""),
            (arrival(1, 0, b"cd"), b"cdef"),
        ] {
            assert_eq!(inlet.handle(arrived, 100), Ok(false));
            assert_eq!(drain(&mut inlet).0, seen);
        }
        assert_eq!(inlet.next(), Next::End);
        assert_eq!(inlet.handle(ending(1, 0, Ending::Moved), 100), Ok(false));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let with = |arrivals: &[Arrival]| {
            let mut inlet = Inlet::default();
            let mut handle = |a: &Arrival| inlet.handle(a.clone(), 10);
            arrivals.iter().map(&mut handle).last().unwrap()
        };
        let eleven = [0; 11];
        assert_eq!(with(&[arrival(1, 0, &eleven)]), Err(Violation));
        assert_eq!(with(&[arrival(1, u64::MAX, b"x")]), Err(Violation));
        let twice = [arrival(1, 0, b"ab"), arrival(2, 1, b"x")];
        assert_eq!(with(&twice), Err(Violation));
        let overlap = [arrival(1, 2, b"cd"), arrival(2, 0, b"abc")];
        assert_eq!(with(&overlap), Err(Violation));
        let beyond = [ending(1, 3, Ending::Finished), arrival(2, 0, b"abcd")];
        assert_eq!(with(&beyond), Err(Violation));
        let crowd: Vec<_> = (0..5).map(|n| arrival(n, 5, b"")).collect();
        assert_eq!(with(&crowd), Err(Violation));
        let no_ending = Arrival {
            last: true,
            ..arrival(1, 0, b"xyz")
        };
        assert_eq!(with(&[no_ending]), Err(Violation));
        assert_eq!(with(&[ending(1, 0, Ending::Aborted)]), Ok(true));
    }

    #[test]
    fn small_pieces_take_little_more_than_their_bytes() {
        let mut inlet = Inlet::default();
        for _ in 0..100_000 {
            inlet.handle(arrival(1, 0, b"x"), 1 << 20).unwrap();
        }
        assert!(inlet.ready.is_empty() && inlet.tail.capacity() < 300_000);
        assert_eq!(drain(&mut inlet).0.len(), 100_000);
    }

    proptest! {
        /// However the bytes are cut into streams and batches, and however the streams
        /// overtake each other, they come out as they were.
        #[test]
        fn any_cut_and_order_give_the_same_bytes(
            bytes in proptest::collection::vec(any::<u8>(), 1..500),
            cuts in proptest::collection::vec((1_usize..50, any::<bool>()), 1..20),
            order in proptest::collection::vec(any::<prop::sample::Index>(), 600),
        ) {
            // At most two streams at a time, as senders do.
            let mut streams: Vec<VecDeque<Arrival>> = vec![VecDeque::new()];
            let (mut at, mut begin) = (0, 0);
            for &(len, moves) in cuts.iter().cycle() {
                if at == bytes.len() {
                    break;
                }
                let end = bytes.len().min(at + len);
                let number = streams.len() as u64;
                let stream = streams.last_mut().unwrap();
                stream.push_back(arrival(number, begin, &bytes[at..end]));
                at = end;
                if moves && at < bytes.len() {
                    stream.push_back(ending(number, begin, Ending::Moved));
                    streams.push(VecDeque::new());
                    begin = at as u64;
                }
            }
            let number = streams.len() as u64;
            let begin_last = streams.last().unwrap()[0].offset;
            streams.last_mut().unwrap().push_back(ending(number, begin_last, Ending::Finished));
            let mut inlet = Inlet::default();
            let mut out = Vec::new();
            for pick in order.iter().cycle() {
                streams.retain(|stream| !stream.is_empty());
                if streams.is_empty() {
                    break;
                }
                let open = streams.len().min(2);
                let next = streams[pick.index(open)].pop_front().unwrap();
                prop_assert_eq!(inlet.handle(next, bytes.len() as u64), Ok(false));
                out.extend(drain(&mut inlet).0);
            }
            prop_assert_eq!(out, bytes);
            prop_assert_eq!(inlet.next(), Next::End);
        }
    }
}
