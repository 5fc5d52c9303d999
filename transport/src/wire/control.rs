//! Messages on the control connection's one bidirectional stream, after the Hello.

use super::{Cursor, Malformed, ParseError, put_varint};
use crate::class::Class;
use crate::ids::Number;

const ACKS: u8 = 1;
const MISSING: u8 = 2;
const RENEW: u8 = 3;
const LAST: u8 = 4;
const DRAINED: u8 = 5;
const RANGES_MAX: usize = 256;

/// A run of numbers: `start` and the `len - 1` that follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) start: Number,
    pub(crate) len: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    /// These batches have been applied.
    Acks { class: Class, runs: Vec<Run> },
    /// Send this batch again, as literals.
    Missing { class: Class, number: Number },
    /// Whoever dialed should dial anew, and hand over to that connection.
    Renew,
    /// A newer connection took over; over this one came so many batches, and no more will.
    Last { batches: u64 },
    /// All of the other end's last batches are here.
    Drained,
}

impl Message {
    /// Longest message there is.
    pub(crate) const BYTES_MAX: usize = 2 + 2 + RANGES_MAX * 20;

    /// Splits acknowledgements into messages of bounded length.
    pub(crate) fn acks(class: Class, runs: &[Run]) -> impl Iterator<Item = Self> + '_ {
        runs.chunks(RANGES_MAX).map(move |runs| Self::Acks {
            class,
            runs: runs.to_vec(),
        })
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Acks { class, runs } => {
                out.extend([ACKS, class.index() as u8]);
                put_varint(out, runs.len() as u64);
                for run in runs {
                    put_varint(out, run.start.0);
                    put_varint(out, run.len);
                }
            }
            Self::Missing { class, number } => {
                out.extend([MISSING, class.index() as u8]);
                put_varint(out, number.0);
            }
            Self::Renew => out.push(RENEW),
            Self::Last { batches } => {
                out.push(LAST);
                put_varint(out, *batches);
            }
            Self::Drained => out.push(DRAINED),
        }
    }

    /// Reads one message from the front of `bytes`; also says how long it was.
    pub(crate) fn decode(bytes: &[u8]) -> Result<(Self, usize), ParseError> {
        let mut cursor = Cursor::new(bytes);
        let kind = cursor.byte()?;
        let message = match kind {
            ACKS => {
                let class = take_class(&mut cursor)?;
                let count = cursor.len(RANGES_MAX, "number of runs")?;
                let runs = (0..count).map(|_| {
                    let start = Number(cursor.varint()?);
                    let len = cursor.varint()?;
                    Ok(Run { start, len })
                });
                let runs = runs.collect::<Result<_, ParseError>>()?;
                Self::Acks { class, runs }
            }
            MISSING => Self::Missing {
                class: take_class(&mut cursor)?,
                number: Number(cursor.varint()?),
            },
            RENEW => Self::Renew,
            LAST => Self::Last {
                batches: cursor.varint()?,
            },
            DRAINED => Self::Drained,
            _ => return Err(Malformed("message kind").into()),
        };
        Ok((message, bytes.len() - cursor.remaining()))
    }
}

fn take_class(cursor: &mut Cursor<'_>) -> Result<Class, ParseError> {
    let class = Class::from_index(usize::from(cursor.byte()?));
    Ok(class.ok_or(Malformed("message class"))?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn acks_survive(numbers in prop::collection::vec((any::<u64>(), any::<u64>()), 0..600)) {
            let runs: Vec<_> = numbers.iter().map(|&(n, len)| Run { start: Number(n), len }).collect();
            let mut again = Vec::new();
            for message in Message::acks(Class::Bulk, &runs) {
                let mut bytes = Vec::new();
                message.encode(&mut bytes);
                prop_assert!(bytes.len() <= Message::BYTES_MAX);
                prop_assert_eq!(Message::decode(&bytes), Ok((message.clone(), bytes.len())));
                if let Message::Acks { runs, .. } = message {
                    again.extend(runs);
                }
            }
            prop_assert_eq!(again, runs);
        }

        #[test]
        fn short_messages_survive(n in any::<u64>()) {
            let missing = Message::Missing { class: Class::Control, number: Number(n) };
            let others = [Message::Renew, Message::Last { batches: n }, Message::Drained];
            for message in others.into_iter().chain([missing]) {
                let mut bytes = Vec::new();
                message.encode(&mut bytes);
                prop_assert_eq!(Message::decode(&bytes), Ok((message, bytes.len())));
                let cut = Message::decode(&bytes[..bytes.len() - 1]);
                prop_assert_eq!(cut, Err(ParseError::Incomplete));
            }
        }

        #[test]
        fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            drop(Message::decode(&bytes));
        }
    }
}
