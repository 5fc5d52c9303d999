//! The first words on a new connection. Drawn in `docs/WIRE.md`, section "Hello".

use bytes::Bytes;

use super::control::Run;
use super::{Cursor, Malformed, ParseError, put_varint};
use crate::class::Class;
use crate::ids::{Number, SiteName};
use crate::session::{ClassMarks, Instance, NumberSet, SessionHello, UNACKED_SPAN_MAX};

/// Version of everything that follows the prefix, frames included.
pub(crate) const WIRE_VERSION: u16 = 4;
/// What a decoder may say of itself.
pub(crate) const CODEC_HELLO_BYTES_MAX: usize = 4 << 10;

const MAGIC: [u8; 4] = *b"STRT";
const ATTACH_MAGIC: [u8; 4] = *b"STRB";
const JOIN_MAGIC: [u8; 4] = *b"STRJ";
/// Three classes of two sets of a thousand runs, and the rest.
const BODY_BYTES_MAX: usize = 64 << 10;

/// Ties a bulk connection to its control connection, and to both those that take over from
/// them. Random.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PairToken(pub(crate) u64);

/// How every version's Hello begins: magic, version and the length of the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Prefix {
    /// A control connection's Hello.
    Hello { version: u16, body_len: usize },
    /// A bulk connection that belongs to a control connection.
    Attach(PairToken),
    /// A control connection that takes over from the one with this token. Said back by the
    /// listener when it agrees.
    Join(PairToken),
}

impl Prefix {
    /// Bytes of either prefix.
    pub(crate) const BYTES: usize = 12;

    pub(crate) fn encode(self) -> [u8; Self::BYTES] {
        let mut out = [0; Self::BYTES];
        match self {
            Self::Hello { version, body_len } => {
                out[..4].copy_from_slice(&MAGIC);
                out[4..6].copy_from_slice(&version.to_le_bytes());
                out[8..].copy_from_slice(&(body_len as u32).to_le_bytes());
            }
            Self::Attach(PairToken(token)) => {
                out[..4].copy_from_slice(&ATTACH_MAGIC);
                out[4..].copy_from_slice(&token.to_le_bytes());
            }
            Self::Join(PairToken(token)) => {
                out[..4].copy_from_slice(&JOIN_MAGIC);
                out[4..].copy_from_slice(&token.to_le_bytes());
            }
        }
        out
    }

    pub(crate) fn decode(bytes: &[u8; Self::BYTES]) -> Result<Self, Malformed> {
        let [m0, m1, m2, m3, rest @ ..] = *bytes;
        let [v0, v1, _, _, len @ ..] = rest;
        match [m0, m1, m2, m3] {
            MAGIC => {
                let body_len = u32::from_le_bytes(len) as usize;
                let version = u16::from_le_bytes([v0, v1]);
                if body_len > BODY_BYTES_MAX {
                    return Err(Malformed("Hello length"));
                }
                Ok(Self::Hello { version, body_len })
            }
            ATTACH_MAGIC => Ok(Self::Attach(PairToken(u64::from_le_bytes(rest)))),
            JOIN_MAGIC => Ok(Self::Join(PairToken(u64::from_le_bytes(rest)))),
            _ => Err(Malformed("Hello: this is no strait gateway")),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hello {
    pub(crate) site: SiteName,
    pub(crate) incarnation: u64,
    pub(crate) token: PairToken,
    pub(crate) session: SessionHello,
    pub(crate) codec: Bytes,
}

impl Hello {
    /// The whole Hello, prefix included.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(256);
        let peer = self.session.peer.map_or(0, |peer| peer.0);
        let fixed = [
            self.session.instance.0,
            peer,
            self.incarnation,
            self.token.0,
        ];
        body.extend(fixed.iter().flat_map(|n| n.to_le_bytes()));
        put_bytes(&mut body, self.site.as_ref().as_bytes());
        for marks in &self.session.marks {
            put_set(&mut body, &marks.received);
            put_set(&mut body, &marks.acked);
        }
        put_bytes(&mut body, &self.codec);
        let prefix = Prefix::Hello {
            version: WIRE_VERSION,
            body_len: body.len(),
        };
        let mut out = prefix.encode().to_vec();
        out.append(&mut body);
        out
    }

    /// Reads what follows the prefix.
    pub(crate) fn decode_body(body: &[u8]) -> Result<Self, Malformed> {
        Self::parse(body).map_err(|error| error.of_whole("Hello"))
    }

    fn parse(body: &[u8]) -> Result<Self, ParseError> {
        let mut cursor = Cursor::new(body);
        let mut number = || cursor.array().map(u64::from_le_bytes);
        let (instance, peer, incarnation, token) = (number()?, number()?, number()?, number()?);
        let site = take_bytes(&mut cursor, SiteName::LEN_MAX)?;
        let site = str::from_utf8(site).ok().and_then(|site| site.parse().ok());
        let site = site.ok_or(Malformed("site name in Hello"))?;
        let mut marks: [ClassMarks; Class::COUNT] = Default::default();
        for marks in &mut marks {
            marks.received = take_set(&mut cursor)?;
            marks.acked = take_set(&mut cursor)?;
        }
        let codec = take_bytes(&mut cursor, CODEC_HELLO_BYTES_MAX)?;
        if cursor.remaining() > 0 || instance == 0 {
            return Err(Malformed("Hello").into());
        }
        Ok(Self {
            site,
            incarnation,
            token: PairToken(token),
            session: SessionHello {
                instance: Instance(instance),
                peer: (peer != 0).then_some(Instance(peer)),
                marks,
            },
            codec: Bytes::copy_from_slice(codec),
        })
    }
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn take_bytes<'a>(cursor: &mut Cursor<'a>, max: usize) -> Result<&'a [u8], ParseError> {
    let len = cursor.len(max, "length in Hello")?;
    cursor.take(len)
}

/// Tail, number of runs, then for each run the gap before it and its length.
fn put_set(out: &mut Vec<u8>, set: &NumberSet) {
    put_varint(out, set.tail().0);
    put_varint(out, set.runs().count() as u64);
    let mut end = set.tail().0;
    for run in set.runs() {
        put_varint(out, run.start.0 - end);
        put_varint(out, run.len);
        end = run.start.0 + run.len;
    }
}

fn take_set(cursor: &mut Cursor<'_>) -> Result<NumberSet, ParseError> {
    const WHAT: Malformed = Malformed("marks in Hello");
    let tail = Number(cursor.varint()?);
    let count = cursor.len(UNACKED_SPAN_MAX as usize / 2, WHAT.0)?;
    let mut end = tail.0;
    let mut runs = Vec::with_capacity(count);
    for _ in 0..count {
        let start = end.checked_add(cursor.varint()?).ok_or(WHAT)?;
        let len = cursor.varint()?;
        end = start.checked_add(len).ok_or(WHAT)?;
        runs.push(Run {
            start: Number(start),
            len,
        });
    }
    if end - tail.0 > UNACKED_SPAN_MAX * 2 {
        return Err(WHAT.into());
    }
    Ok(NumberSet::from_parts(tail, &runs).ok_or(WHAT)?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sets() -> impl Strategy<Value = NumberSet> {
        prop::collection::vec(0..2000u64, 0..300).prop_map(|numbers| {
            let mut set = NumberSet::default();
            for n in numbers {
                set.insert(Number(n));
            }
            set
        })
    }

    proptest! {
        #[test]
        fn hellos_survive(
            numbers in any::<[u64; 3]>(),
            peer in any::<Option<u64>>(),
            sets in prop::collection::vec(sets(), 6),
            codec in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            let marks = [0, 2, 4].map(|i: usize| ClassMarks {
                received: sets[i].clone(),
                acked: sets[i + 1].clone(),
            });
            let hello = Hello {
                site: "east".parse().unwrap(),
                incarnation: numbers[0],
                token: PairToken(numbers[1]),
                session: SessionHello {
                    instance: Instance(numbers[2].max(1)),
                    peer: peer.map(|peer| Instance(peer.max(1))),
                    marks,
                },
                codec: codec.into(),
            };
            let bytes = hello.encode();
            let (prefix, body) = bytes.split_first_chunk().unwrap();
            let expected = Prefix::Hello { version: WIRE_VERSION, body_len: body.len() };
            prop_assert_eq!(Prefix::decode(prefix), Ok(expected));
            prop_assert_eq!(Hello::decode_body(body), Ok(hello));
            prop_assert!(Hello::decode_body(&body[..body.len() - 1]).is_err());
        }

        #[test]
        fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            drop(Hello::decode_body(&bytes));
            if let Some(prefix) = bytes.first_chunk() {
                assert!(Prefix::decode(prefix).is_ok() || !prefix.starts_with(&ATTACH_MAGIC));
            }
        }
    }

    #[test]
    fn the_worst_hello_fits() {
        let mut set = NumberSet::default();
        for n in 0..UNACKED_SPAN_MAX / 2 {
            set.insert(Number((1 << 60) + 2 * n));
        }
        let mut bytes = Vec::new();
        put_set(&mut bytes, &set);
        assert!(6 * bytes.len() + CODEC_HELLO_BYTES_MAX + 100 < BODY_BYTES_MAX);
    }

    #[test]
    fn an_attachment_survives() {
        let token = PairToken(0x0123_4567_89ab_cdef);
        for prefix in [Prefix::Attach(token), Prefix::Join(token)] {
            assert_eq!(Prefix::decode(&prefix.encode()), Ok(prefix));
        }
    }
}
