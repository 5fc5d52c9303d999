//! The first words on a new connection. Drawn in `docs/WIRE.md`, section "Hello".

use std::fmt;

use bytes::Bytes;

use super::control::Run;
use super::{Cursor, Malformed, ParseError, put_varint};
use crate::class::Class;
use crate::ids::{Number, SiteName, WireVersion};
use crate::session::{ClassMarks, Instance, NumberSet, SessionHello, UNACKED_SPAN_MAX};

/// The versions that this gateway speaks.
pub(crate) const OURS: WireVersions = WireVersions {
    oldest: WireVersion(4),
    newest: WireVersion(5),
};
/// What a decoder may say of itself.
pub(crate) const CODEC_HELLO_BYTES_MAX: usize = 4 << 10;

const MAGIC: [u8; 4] = *b"STRT";
const ATTACH_MAGIC: [u8; 4] = *b"STRB";
const JOIN_MAGIC: [u8; 4] = *b"STRJ";
/// Three classes of two sets of a thousand runs, and the rest.
const BODY_BYTES_MAX: usize = 64 << 10;

/// A range of versions, both ends included. Our first Hello has the form of the oldest, all that
/// follows has the form of the newest that both ends speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WireVersions {
    pub(crate) oldest: WireVersion,
    pub(crate) newest: WireVersion,
}

impl WireVersions {
    /// The newest version within both ranges.
    pub(crate) fn agree(self, theirs: Self) -> Option<WireVersion> {
        let newest = self.newest.min(theirs.newest);
        (newest >= self.oldest.max(theirs.oldest)).then_some(newest)
    }
}

impl fmt::Display for WireVersions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.oldest == self.newest {
            true => write!(f, "version {}", self.oldest),
            false => write!(f, "versions {} to {}", self.oldest, self.newest),
        }
    }
}

/// Ties a bulk connection to its control connection, and to both those that take over from
/// them. Random.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PairToken(pub(crate) u64);

/// How every version's Hello begins: magic, version and the length of the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Prefix {
    /// A control connection's Hello.
    Hello {
        versions: WireVersions,
        body_len: usize,
    },
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
            Self::Hello { versions, body_len } => {
                out[..4].copy_from_slice(&MAGIC);
                out[4..6].copy_from_slice(&versions.oldest.0.to_le_bytes());
                out[6..8].copy_from_slice(&versions.newest.0.to_le_bytes());
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
        let [o0, o1, n0, n1, len @ ..] = rest;
        match [m0, m1, m2, m3] {
            MAGIC => {
                let body_len = u32::from_le_bytes(len) as usize;
                if body_len > BODY_BYTES_MAX {
                    return Err(Malformed("Hello length"));
                }
                let oldest = WireVersion(u16::from_le_bytes([o0, o1]));
                // A gateway that speaks one version alone may say 0.
                let newest = WireVersion(u16::from_le_bytes([n0, n1])).max(oldest);
                let versions = WireVersions { oldest, newest };
                Ok(Self::Hello { versions, body_len })
            }
            ATTACH_MAGIC => Ok(Self::Attach(PairToken(u64::from_le_bytes(rest)))),
            JOIN_MAGIC => Ok(Self::Join(PairToken(u64::from_le_bytes(rest)))),
            _ => Err(Malformed("Hello: this is no strait gateway")),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hello {
    /// Said in the prefix.
    pub(crate) versions: WireVersions,
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
            versions: self.versions,
            body_len: body.len(),
        };
        let mut out = prefix.encode().to_vec();
        out.append(&mut body);
        out
    }

    /// Reads what follows the prefix.
    pub(crate) fn decode_body(versions: WireVersions, body: &[u8]) -> Result<Self, Malformed> {
        Self::parse(versions, body).map_err(|error| error.of_whole("Hello"))
    }

    fn parse(versions: WireVersions, body: &[u8]) -> Result<Self, ParseError> {
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
            versions,
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
                versions: OURS,
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
            let expected = Prefix::Hello { versions: OURS, body_len: body.len() };
            prop_assert_eq!(Prefix::decode(prefix), Ok(expected));
            prop_assert_eq!(Hello::decode_body(OURS, body), Ok(hello));
            prop_assert!(Hello::decode_body(OURS, &body[..body.len() - 1]).is_err());
        }

        #[test]
        fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            drop(Hello::decode_body(OURS, &bytes));
            if let Some(prefix) = bytes.first_chunk() {
                assert!(Prefix::decode(prefix).is_ok() || !prefix.starts_with(&ATTACH_MAGIC));
            }
        }
    }

    #[test]
    fn the_newest_version_that_both_speak_is_taken() {
        let range = |oldest, newest| WireVersions {
            oldest: WireVersion(oldest),
            newest: WireVersion(newest),
        };
        let agreed = |a, b| range(4, 5).agree(range(a, b)).map(|version| version.0);
        assert_eq!(agreed(4, 4), Some(4));
        assert_eq!(agreed(4, 5), Some(5));
        assert_eq!(agreed(5, 9), Some(5));
        assert_eq!(agreed(6, 9), None);
        assert_eq!(agreed(1, 3), None);
        // Contradicts itself.
        assert_eq!(agreed(9, 5), None);
    }

    /// The first release said its one version, and zeros.
    #[test]
    fn a_hello_of_one_version_is_understood() {
        let prefix = *b"STRT\x04\0\0\0\x07\0\0\0";
        let versions = WireVersions {
            oldest: WireVersion(4),
            newest: WireVersion(4),
        };
        let expected = Prefix::Hello {
            versions,
            body_len: 7,
        };
        assert_eq!(Prefix::decode(&prefix), Ok(expected));
        assert_eq!(OURS.agree(versions), Some(WireVersion(4)));
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
