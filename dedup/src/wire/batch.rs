//! The head of a batch: which history, where it appends, what it is compressed against.

use super::{Malformed, Reader, Side, Source, VERSION, put_varint, put_zigzag};
use crate::BATCH_BYTES_MAX;
use crate::history::{Extent, HistoryId, Position};

/// Bytes of BLAKE3 that prove a batch: 2⁻¹²⁸ of a wrong one passing.
pub(crate) const DIGEST_BYTES: usize = 16;
/// Most ranges of history in the prefix of one batch.
pub(crate) const BASES_MAX: usize = 1024;
/// Most bytes of history in the prefix of one batch.
pub(crate) const BASE_BYTES_MAX: usize = 4 << 20;
/// Most bytes of a plan.
pub(crate) const PLAN_BYTES_MAX: usize = 1 << 20;

const COMPRESSED: u8 = 1 << 0;
const IDENTITY: u8 = 1 << 1;
const FLOOR: u8 = 1 << 2;
const KNOWN: u8 = COMPRESSED | IDENTITY | FLOOR;

/// A history as a batch names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) id: HistoryId,
    pub(crate) epoch: u64,
    /// Up to here the epoch before had the same bytes.
    pub(crate) fork: Position,
}

/// Everything of a batch but its digest and its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// The body is a zstd frame with the bases as its prefix; otherwise it stands as it is.
    pub(crate) compressed: bool,
    /// The decoder's hello that the sender answered.
    pub(crate) generation: u64,
    /// The history, until the receiver is known to have it.
    pub(crate) identity: Option<Identity>,
    /// The sender refers to nothing below any more.
    pub(crate) floor: Option<Position>,
    /// Where the batch's appended bytes begin.
    pub(crate) start: Position,
    pub(crate) raw_len: usize,
    pub(crate) plan_len: usize,
    pub(crate) literal_len: usize,
    pub(crate) bases: Vec<Source>,
}

impl Head {
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let mut flags = 0;
        for (set, flag) in [
            (self.compressed, COMPRESSED),
            (self.identity.is_some(), IDENTITY),
            (self.floor.is_some(), FLOOR),
        ] {
            flags |= if set { flag } else { 0 };
        }
        out.push(flags);
        put_varint(out, self.generation);
        if let Some(identity) = self.identity {
            out.extend_from_slice(&identity.id.0);
            put_varint(out, identity.epoch);
            put_varint(out, identity.fork.0);
        }
        if let Some(floor) = self.floor {
            put_varint(out, floor.0);
        }
        for number in [
            self.start.0,
            self.raw_len as u64,
            self.plan_len as u64,
            self.literal_len as u64,
        ] {
            put_varint(out, number);
        }
        put_varint(out, self.bases.len() as u64);
        let mut after = self.start;
        for base in &self.bases {
            put_varint(out, (base.extent.len as u64) << 1 | side_bit(base.side));
            put_zigzag(out, base.extent.at.0.wrapping_sub(after.0) as i64);
            after = base.extent.end();
        }
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let flags = reader.byte()?;
        if flags & !KNOWN != 0 {
            return Err(Malformed("unknown flags"));
        }
        let generation = reader.varint()?;
        let identity = match flags & IDENTITY {
            0 => None,
            _ => Some(Identity {
                id: HistoryId(reader.array()?),
                epoch: reader.varint()?,
                fork: Position(reader.varint()?),
            }),
        };
        let floor = match flags & FLOOR {
            0 => None,
            _ => Some(Position(reader.varint()?)),
        };
        let start = Position(reader.varint()?);
        let raw_len = reader.bounded(BATCH_BYTES_MAX, "longer than a batch may be")?;
        let plan_len = reader.bounded(PLAN_BYTES_MAX, "a plan longer than allowed")?;
        let literal_len = reader.bounded(raw_len, "more literals than bytes")?;
        let bases = read_bases(reader, start)?;
        let compressed = flags & COMPRESSED != 0;
        Ok(Self {
            compressed,
            generation,
            identity,
            floor,
            start,
            raw_len,
            plan_len,
            literal_len,
            bases,
        })
    }
}

fn read_bases(reader: &mut Reader<'_>, start: Position) -> Result<Vec<Source>, Malformed> {
    let count = reader.bounded(BASES_MAX, "too many bases")?;
    let mut bases = Vec::with_capacity(count);
    let (mut after, mut bytes) = (start, 0);
    for _ in 0..count {
        let len_and_side = reader.varint()?;
        let len = usize::try_from(len_and_side >> 1).unwrap_or(usize::MAX);
        bytes = len.saturating_add(bytes);
        if bytes > BASE_BYTES_MAX {
            return Err(Malformed("too many bytes of bases"));
        }
        let at = Position(after.0.wrapping_add(reader.zigzag()? as u64));
        let source = source(len_and_side & 1, at, len, start)?;
        after = source.extent.end();
        bases.push(source);
    }
    Ok(bases)
}

pub(crate) fn side_bit(side: Side) -> u64 {
    match side {
        Side::Same => 0,
        Side::Reverse => 1,
    }
}

/// A reference: backwards only, within 64 bits.
pub(crate) fn source(
    bit: u64,
    at: Position,
    len: usize,
    start: Position,
) -> Result<Source, Malformed> {
    let side = if bit == 0 { Side::Same } else { Side::Reverse };
    let end =
        at.0.checked_add(len as u64)
            .ok_or(Malformed("a reference past the end of all"))?;
    if side == Side::Same && end > start.0 {
        return Err(Malformed("a reference forwards"));
    }
    Ok(Source {
        side,
        extent: Extent { at, len },
    })
}

/// Puts a batch together: version, digest, head, plan, body.
pub(crate) fn seal(head: &Head, digest: &[u8; DIGEST_BYTES], plan: &[u8], body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(plan.len() + body.len() + 64 + head.bases.len() * 6);
    out.push(VERSION);
    out.extend_from_slice(digest);
    head.write(&mut out);
    out.extend_from_slice(plan);
    out.extend_from_slice(body);
    out
}

/// What proves a batch: the stream's bytes, the head and the plan.
pub(crate) fn digest(head: &Head, plan: &[u8], raw: &[u8]) -> [u8; DIGEST_BYTES] {
    let mut written = Vec::with_capacity(64 + head.bases.len() * 6);
    head.write(&mut written);
    let mut hasher = blake3::Hasher::new();
    hasher.update(raw).update(&written).update(plan);
    let hash = hasher.finalize();
    let mut digest = [0; DIGEST_BYTES];
    digest.copy_from_slice(&hash.as_bytes()[..DIGEST_BYTES]);
    digest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head() -> Head {
        let base = |at, len, side| Source {
            side,
            extent: Extent {
                at: Position(at),
                len,
            },
        };
        Head {
            compressed: true,
            generation: 3,
            identity: Some(Identity {
                id: HistoryId([9; 16]),
                epoch: 2,
                fork: Position(5),
            }),
            floor: Some(Position(77)),
            start: Position(1 << 40),
            raw_len: 1 << 20,
            plan_len: 100,
            literal_len: 2000,
            bases: vec![
                base(500, 1000, Side::Same),
                base(1 << 41, 9, Side::Reverse),
                base(3, 0, Side::Same),
            ],
        }
    }

    #[test]
    fn heads_come_back() {
        let mut out = Vec::new();
        head().write(&mut out);
        assert_eq!(Head::read(&mut Reader::new(&out)), Ok(head()));
        for len in 0..out.len() {
            assert!(Head::read(&mut Reader::new(&out[..len])).is_err());
        }
    }

    #[test]
    fn forward_and_oversized_bases_are_refused() {
        for (at, len) in [
            (1 << 40, 1),
            (u64::MAX, 5),
            (0, BASE_BYTES_MAX + 1),
            ((1 << 40) - 5, 6),
        ] {
            let mut bad = head();
            bad.bases[0].extent = Extent {
                at: Position(at),
                len,
            };
            let mut out = Vec::new();
            bad.write(&mut out);
            assert!(
                Head::read(&mut Reader::new(&out)).is_err(),
                "base at {at} of {len}"
            );
        }
    }
}
