//! The batches of the two streams of a comparison (postcard). Drawn in `docs/WIRE.md`, section
//! "Comparing".

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::grid::{EntryId, LogMark, LogName};

/// Marks of a log in one message.
pub(super) const MARKS_MAX: usize = 16 << 10;
/// Ranges in a group: what fingerprints are first summed over.
pub(super) const GROUP: usize = 256;

/// A sum of hashes, little-endian.
pub(super) type Fingerprint = [u8; 16];

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Message {
    /// Asks: one fingerprint for each group of ranges.
    Groups(Vec<Fingerprint>),
    /// Answers: the fingerprints of the ranges of a group that differs.
    Ranges { group: u8, ranges: Vec<Fingerprint> },
    /// Answers: these were all groups that differ.
    RangesEnd,
    /// Asks for what is in these ranges, and says that what we hold of them follows.
    Exchange(Vec<u16>),
    /// A record of counters in those ranges.
    Record(Vec<u8>),
    /// That was all; so many of the other's counters showed that something was lost here.
    RecordsEnd { differences: u64 },
    /// Asks: what a stretch of a log looks like.
    Log {
        site: String,
        name: Vec<u8>,
        start: Id,
        marks: Vec<(Id, Fingerprint)>,
    },
    /// Asks: these were all logs.
    LogsEnd,
    /// Answers: this log is another one here, after that id.
    LogDiffers {
        site: String,
        name: Vec<u8>,
        after: Id,
    },
    /// Answers: these were all that differ.
    LogsChecked,
}

/// An entry's id: milliseconds, sequence.
pub(super) type Id = (u64, u64);

pub(super) fn id(id: EntryId) -> Id {
    (id.ms, id.seq)
}

pub(super) fn entry_id((ms, seq): Id) -> EntryId {
    EntryId { ms, seq }
}

/// A batch that is none of these: the peer's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the peer sent a batch of a comparison that cannot be read")]
pub(super) struct Malformed;

impl Message {
    pub(super) fn encode(&self) -> Bytes {
        // Writing to a vector cannot fail for these types.
        postcard::to_stdvec(self).unwrap_or_default().into()
    }

    pub(super) fn decode(batch: &[u8]) -> Result<Self, Malformed> {
        match postcard::take_from_bytes(batch) {
            Ok((message, [])) => Ok(message),
            Ok(_) | Err(_) => Err(Malformed),
        }
    }

    /// What `marks` say of `log`, as few messages as hold them.
    pub(super) fn of_log(log: &LogName, start: EntryId, marks: &[LogMark]) -> Vec<Self> {
        let mut after = start;
        let pieces = marks.chunks(MARKS_MAX).map(|marks| {
            let message = Self::Log {
                site: log.site.to_string(),
                name: log.name.to_vec(),
                start: id(after),
                marks: marks
                    .iter()
                    .map(|mark| (id(mark.to), mark.fingerprint.to_le_bytes()))
                    .collect(),
            };
            after = marks.last().map_or(after, |mark| mark.to);
            message
        });
        pieces.collect()
    }
}

/// The log that a message names; none if no site is called that.
pub(super) fn log_name(site: &str, name: Vec<u8>) -> Option<LogName> {
    Some(LogName {
        site: site.parse().ok()?,
        name: name.into(),
    })
}

/// Marks as a message carries them.
pub(super) fn marks(marks: Vec<(Id, Fingerprint)>) -> Vec<LogMark> {
    let mark = |(to, fingerprint): (Id, Fingerprint)| LogMark {
        to: entry_id(to),
        fingerprint: u128::from_le_bytes(fingerprint),
    };
    marks.into_iter().map(mark).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn messages_survive_and_a_whole_table_fits_a_batch() {
        let ranges = vec![[7; 16]; GROUP];
        let message = Message::Ranges { group: 255, ranges };
        assert_eq!(Message::decode(&message.encode()), Ok(message));
        let log = log_name("east", b"clicks".to_vec()).unwrap();
        let mark = LogMark {
            to: EntryId::MAX,
            fingerprint: u128::MAX,
        };
        let pieces = Message::of_log(&log, EntryId::MIN, &vec![mark; MARKS_MAX + 1]);
        assert_eq!(pieces.len(), 2);
        for piece in pieces {
            assert!(piece.encode().len() < strait_transport::BATCH_BYTES_MAX);
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_read_or_refused(bytes: Vec<u8>) {
            drop(Message::decode(&bytes));
        }
    }
}
