//! Batches that no encoder of ours writes: each a typed refusal, after which the link goes on.

use super::*;
use crate::history::{Extent, HistoryId};
use crate::wire::Compressor;
use crate::wire::plan::Run;
use crate::{Store, StoreConfig};

const HELD: usize = 1000;

/// A batch that says what it likes, with a digest that fits.
struct Forged {
    head: Head,
    plan: Plan,
    /// As it stands on the wire.
    body: Vec<u8>,
    raw: Vec<u8>,
}

fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n * 31 % 251) as u8).collect()
}

fn extent(at: u64, len: usize) -> Extent {
    Extent {
        at: Position(at),
        len,
    }
}

fn source(side: Side, at: u64, len: usize) -> Source {
    Source {
        side,
        extent: extent(at, len),
    }
}

impl Forged {
    /// Literals only, appended at `start`.
    fn literal(start: u64, raw: Vec<u8>) -> Self {
        let head = Head {
            compressed: false,
            generation: 1,
            identity: None,
            floor: None,
            start: Position(start),
            raw_len: raw.len(),
            plan_len: 0,
            literal_len: raw.len(),
            bases: Vec::new(),
        };
        let plan = Plan {
            runs: Vec::new(),
            appends: std::iter::once(0..raw.len()).collect(),
        };
        let body = raw.clone();
        Self {
            head,
            plan,
            body,
            raw,
        }
    }

    /// Nothing but a reference.
    fn reference(start: u64, source: Source) -> Self {
        let mut forged = Self::literal(start, vec![0; source.extent.len]);
        forged.head.literal_len = 0;
        forged.body = Vec::new();
        forged.plan = Plan {
            runs: vec![Run {
                literal_len: 0,
                source,
                based: false,
            }],
            appends: Vec::new(),
        };
        forged
    }

    /// Literals in a frame that holds `inflated`.
    fn frame(start: u64, literal_len: usize, inflated: &[u8]) -> Self {
        let mut forged = Self::literal(start, bytes(literal_len));
        forged.head.compressed = true;
        forged.plan.appends = Vec::new();
        let mut compressor = Compressor::default();
        let frame = body::compress(&mut compressor, inflated, 0, 3).expect("it shrinks");
        forged.body = frame.to_vec();
        forged
    }

    fn wire(mut self) -> Vec<u8> {
        let plan = self.plan.write(self.head.start, self.head.raw_len);
        self.head.plan_len = plan.len();
        let digest = batch::digest(&self.head, &plan, &self.raw);
        batch::seal(&self.head, &digest, &plan, &self.body)
    }
}

/// A decoder that holds `HELD` bytes, of which the first 100 were evicted.
fn decoder() -> Decoder {
    let (_, mut decoder) = Store::open(StoreConfig {
        dir: None,
        memory_bytes_max: 64 << 20,
        disk_bytes_max: 0,
        links: 1,
    })
    .link("peer");
    decoder.hello();
    let mut first = Forged::literal(0, bytes(HELD));
    first.head.identity = Some(Identity {
        id: HistoryId([1; 16]),
        epoch: 0,
        fork: Position(0),
    });
    first.head.floor = Some(Position(100));
    let decoded = decoder.decode(&first.wire());
    assert_eq!(decoded, Ok(Decoding::Ready(bytes(HELD).into())));
    decoder
}

/// Whatever came before, a good batch is decoded.
fn goes_on(decoder: &mut Decoder) {
    let held = source(Side::Same, 500, 300);
    let mut good = Forged::reference(HELD as u64, held);
    good.raw = bytes(HELD)[500..800].to_vec();
    let raw = good.raw.clone();
    assert_eq!(
        decoder.decode(&good.wire()),
        Ok(Decoding::Ready(raw.into()))
    );
    let next = Forged::literal(HELD as u64, vec![7; 50]).wire();
    assert!(matches!(decoder.decode(&next), Ok(Decoding::Ready(_))));
}

fn outcome(forged: Forged) -> Result<Decoding, DecodeError> {
    let mut decoder = decoder();
    let outcome = decoder.decode(&forged.wire());
    goes_on(&mut decoder);
    outcome
}

#[test]
fn references_point_backwards_to_what_is_held() {
    let at_tail = |at, len| outcome(Forged::reference(HELD as u64, source(Side::Same, at, len)));
    let forwards = Err(DecodeError::Malformed("a reference forwards"));
    assert_eq!(at_tail(2000, 100), forwards, "forwards");
    assert_eq!(at_tail(950, 100), forwards, "into itself");
    assert_eq!(at_tail(1000, 100), forwards, "to itself");
    assert_eq!(
        at_tail(u64::MAX - 50, 100),
        Err(DecodeError::Malformed("a reference past the end of all"))
    );
    assert_eq!(at_tail(50, 100), Ok(Decoding::Missing), "evicted");
    let ahead = Forged::reference(5000, source(Side::Same, 2000, 100));
    assert_eq!(outcome(ahead), Ok(Decoding::Waiting), "in flight");
    for at in [0, 1 << 40] {
        let reverse = Forged::reference(HELD as u64, source(Side::Reverse, at, 100));
        assert_eq!(
            outcome(reverse),
            Ok(Decoding::Missing),
            "we never sent that"
        );
    }
}

#[test]
fn bases_point_backwards_to_what_is_held() {
    let based_on = |base| {
        let mut forged = Forged::frame(HELD as u64, 5000, &bytes(5000));
        forged.head.bases = vec![base];
        outcome(forged)
    };
    let forwards = Err(DecodeError::Malformed("a reference forwards"));
    assert_eq!(based_on(source(Side::Same, 950, 100)), forwards);
    assert_eq!(based_on(source(Side::Same, 50, 100)), Ok(Decoding::Missing));
    assert_eq!(
        based_on(source(Side::Reverse, 50, 100)),
        Ok(Decoding::Missing)
    );
    let large = source(Side::Same, 0, batch::BASE_BYTES_MAX + 1);
    assert_eq!(
        based_on(large),
        Err(DecodeError::Malformed("too many bytes of bases"))
    );
}

#[test]
fn a_frame_holds_what_it_declares() {
    let literals =
        |declared, inflated: &[u8]| outcome(Forged::frame(HELD as u64, declared, inflated));
    let right = literals(5000, &bytes(5000));
    assert_eq!(right.map(|_| ()), Ok(()), "as declared");
    assert_eq!(literals(4999, &bytes(5000)), Err(DecodeError::Compressed));
    assert_eq!(literals(5001, &bytes(5000)), Err(DecodeError::Compressed));
    // 64 MiB in a few KiB.
    assert_eq!(
        literals(1 << 20, &vec![0; 64 << 20]),
        Err(DecodeError::Compressed)
    );
    let other = literals(5000, &vec![1; 5000]);
    assert_eq!(other, Err(DecodeError::Digest));
    let mut cut = Forged::literal(HELD as u64, bytes(500));
    cut.body.pop();
    assert!(matches!(outcome(cut), Err(DecodeError::Malformed(_))));
    let too_long = Forged::literal(HELD as u64, vec![0; crate::BATCH_BYTES_MAX + 1]);
    assert!(matches!(outcome(too_long), Err(DecodeError::Malformed(_))));
}

#[test]
fn appends_go_where_there_is_room() {
    let over = Forged::literal(500, vec![9; 100]);
    let refused = |at| Err(DecodeError::Position { at, tail: 1000 });
    assert_eq!(outcome(over), refused(500), "over other bytes");
    let across = Forged::literal(900, bytes(HELD)[900..].repeat(2));
    assert_eq!(outcome(across), refused(900), "across the end");
    let far = HELD as u64 + AHEAD_BYTES_MAX as u64 + 1;
    assert_eq!(
        outcome(Forged::literal(far, bytes(10))),
        refused(far),
        "far past the end"
    );
    let again = Forged::literal(500, bytes(HELD)[500..600].to_vec());
    assert!(
        matches!(outcome(again), Ok(Decoding::Ready(_))),
        "what is there already"
    );
    let too_long = std::iter::once(0..11).collect();
    for ranges in [too_long, vec![5..10, 3..4]] {
        let mut forged = Forged::literal(HELD as u64, bytes(10));
        forged.plan.appends = ranges;
        assert!(outcome(forged).is_err());
    }
}

/// What arrives ahead of a gap is held up to a bound; what is beyond it waits, and is taken when the
/// gap has closed.
#[test]
fn what_is_ahead_of_a_gap_is_bounded() {
    let mut decoder = decoder();
    let batch = crate::BATCH_BYTES_MAX;
    let at = |n: usize| (HELD + n * batch) as u64;
    let wire = |n: usize| Forged::literal(at(n), vec![n as u8; batch]).wire();
    let (mut held, mut waiting) = (0, Vec::new());
    for n in 1..40 {
        match decoder.decode(&wire(n)).expect("ours") {
            Decoding::Ready(_) => held += 1,
            Decoding::Waiting => waiting.push(n),
            Decoding::Missing => panic!("nothing is missing"),
        }
    }
    assert!(held > 1 && waiting.len() > 20, "{held} held");
    for n in std::iter::once(0).chain(waiting) {
        assert!(
            matches!(decoder.decode(&wire(n)), Ok(Decoding::Ready(_))),
            "batch {n}"
        );
    }
}

#[test]
fn strangers_are_told_apart() {
    let wire = Forged::literal(HELD as u64, bytes(10)).wire();
    let mut other_version = wire.clone();
    other_version[0] += 1;
    let mut decoder = decoder();
    let theirs = wire::VERSION + 1;
    assert_eq!(
        decoder.decode(&other_version),
        Err(DecodeError::Version { theirs })
    );
    decoder.hello();
    let stale = DecodeError::Stale { theirs: 1, ours: 2 };
    assert_eq!(decoder.decode(&wire), Err(stale));
    let fresh = Store::open(StoreConfig {
        dir: None,
        memory_bytes_max: 64 << 20,
        disk_bytes_max: 0,
        links: 1,
    });
    let (_, mut decoder) = fresh.link("peer");
    decoder.hello();
    assert_eq!(decoder.decode(&wire), Err(DecodeError::UnknownHistory));
}
