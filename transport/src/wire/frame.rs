//! The header in front of each encoded batch. Drawn in `docs/WIRE.md`, section "Frames".

use bytes::Bytes;

use super::{Cursor, Malformed, ParseError, put_varint, varint_len};
use crate::class::Class;
use crate::ids::{Number, Seq, StreamId};
use crate::{BATCH_BYTES_MAX, OPEN_BYTES_MAX};

/// An encoded batch is at most this much longer than its raw bytes.
pub const ENCODED_SLACK_BYTES: usize = 4 << 10;

const FORMAT: u8 = 1;
const FLAG_LAST: u8 = 1 << 2;
const FLAG_LITERAL: u8 = 1 << 3;
const FLAG_OPEN: u8 = 1 << 4;
const CLASS_MASK: u8 = 0b11;

/// Bytes that a batch takes on its QUIC stream: a typical frame header and the payload.
/// `open_len` is the length of the descriptor, which goes with a stream's first batch only.
/// Exact headers are at most 24 bytes longer.
pub const fn wire_len(payload_len: usize, open_len: Option<usize>) -> usize {
    let open = match open_len {
        Some(len) => varint_len(len as u64) + len,
        None => 0,
    };
    let numbers = 3 * varint_len(1 << 14);
    2 + numbers
        + varint_len(BATCH_BYTES_MAX as u64)
        + varint_len(payload_len as u64)
        + open
        + payload_len
}

/// What comes before the encoded bytes of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) class: Class,
    pub(crate) last: bool,
    pub(crate) literal: bool,
    pub(crate) number: Number,
    pub(crate) stream: StreamId,
    pub(crate) seq: Seq,
    /// On the first batch of a stream, and on no other.
    pub(crate) open: Option<Bytes>,
    pub(crate) raw_len: usize,
    pub(crate) wire_len: usize,
}

impl Header {
    /// Longest header there is.
    pub(crate) const BYTES_MAX: usize = 2 + 3 * 10 + 2 * 4 + 2 + OPEN_BYTES_MAX;

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(32 + self.open.as_ref().map_or(0, Bytes::len));
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        out.push(FORMAT);
        out.push(
            self.class.index() as u8
                | flag(self.last, FLAG_LAST)
                | flag(self.literal, FLAG_LITERAL)
                | flag(self.open.is_some(), FLAG_OPEN),
        );
        for value in [self.number.0, self.stream.0, self.seq.0] {
            put_varint(&mut out, value);
        }
        put_varint(&mut out, self.raw_len as u64);
        put_varint(&mut out, self.wire_len as u64);
        if let Some(open) = &self.open {
            put_varint(&mut out, open.len() as u64);
            out.extend_from_slice(open);
        }
        out
    }

    /// Reads a header from the front of `bytes`; also says how long it was.
    pub(crate) fn decode(bytes: &[u8]) -> Result<(Self, usize), ParseError> {
        let mut cursor = Cursor::new(bytes);
        if cursor.byte()? != FORMAT {
            return Err(Malformed("frame format").into());
        }
        let flags = cursor.byte()?;
        if flags & !(CLASS_MASK | FLAG_LAST | FLAG_LITERAL | FLAG_OPEN) != 0 {
            return Err(Malformed("frame flags").into());
        }
        let class = Class::from_index(usize::from(flags & CLASS_MASK));
        let class = class.ok_or(Malformed("frame class"))?;
        let number = Number(cursor.varint()?);
        let stream = StreamId(cursor.varint()?);
        let seq = Seq(cursor.varint()?);
        let raw_len = cursor.len(BATCH_BYTES_MAX, "batch length")?;
        let wire_len = cursor.len(raw_len + ENCODED_SLACK_BYTES, "encoded length")?;
        let has_open = flags & FLAG_OPEN != 0;
        if has_open != (seq == Seq(0)) {
            return Err(Malformed("descriptor flag").into());
        }
        let open = match has_open {
            true => {
                let len = cursor.len(OPEN_BYTES_MAX, "descriptor length")?;
                Some(Bytes::copy_from_slice(cursor.take(len)?))
            }
            false => None,
        };
        let header = Self {
            class,
            last: flags & FLAG_LAST != 0,
            literal: flags & FLAG_LITERAL != 0,
            number,
            stream,
            seq,
            open,
            raw_len,
            wire_len,
        };
        Ok((header, bytes.len() - cursor.remaining()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn headers() -> impl Strategy<Value = Header> {
        let numbers = (any::<u64>(), any::<u64>(), 0..3u64);
        let lens = (0..=BATCH_BYTES_MAX, 0..=ENCODED_SLACK_BYTES);
        let open = prop::collection::vec(any::<u8>(), 0..200);
        (0..3usize, any::<bool>(), any::<bool>(), numbers, lens, open).prop_map(
            |(class, last, literal, (number, stream, seq), (raw_len, wire_len), open)| Header {
                class: Class::ALL[class],
                last,
                literal,
                number: Number(number),
                stream: StreamId(stream),
                seq: Seq(seq),
                open: (seq == 0).then(|| open.into()),
                raw_len,
                wire_len,
            },
        )
    }

    proptest! {
        #[test]
        fn headers_survive(header in headers(), rest in prop::collection::vec(any::<u8>(), 0..9)) {
            let mut bytes = header.encode();
            let len = bytes.len();
            prop_assert!(len <= Header::BYTES_MAX);
            for cut in 0..len {
                prop_assert_eq!(Header::decode(&bytes[..cut]), Err(ParseError::Incomplete));
            }
            bytes.extend(rest);
            prop_assert_eq!(Header::decode(&bytes), Ok((header, len)));
        }

        #[test]
        fn garbage_never_panics(mut bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            drop(Header::decode(&bytes));
            if let Some(first) = bytes.first_mut() {
                *first = FORMAT;
            }
            drop(Header::decode(&bytes));
        }
    }

    #[test]
    fn lengths_beyond_the_bounds_are_refused() {
        let mut bytes = vec![FORMAT, 0, 0, 0, 1];
        put_varint(&mut bytes, BATCH_BYTES_MAX as u64 + 1);
        let refused = Err(ParseError::Malformed(Malformed("batch length")));
        assert_eq!(Header::decode(&bytes), refused);
    }

    #[test]
    fn the_stated_length_is_close() {
        let header = Header {
            class: Class::Bulk,
            last: false,
            literal: false,
            number: Number(1000),
            stream: StreamId(3),
            seq: Seq(70_000),
            open: None,
            raw_len: 1 << 20,
            wire_len: 900_000,
        };
        let exact = header.encode().len() + 900_000;
        assert!(wire_len(900_000, None).abs_diff(exact) <= 4);
    }
}
