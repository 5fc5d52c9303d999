//! The batches of the two streams of a comparison (postcard). Drawn in `docs/WIRE.md`, section
//! "Comparing".

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::grid::{EntryId, LogDepth, LogMark, LogMarks, LogName};

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
    /// Asks: what a stretch of a log looks like; with `disk`, also where it is read from there.
    Log {
        site: String,
        name: Vec<u8>,
        disk: bool,
        start: Id,
        marks: Vec<(Id, Fingerprint)>,
    },
    /// Asks: these were all logs.
    LogsEnd,
    /// Answers: this log is another one here, after the first id and up to the second.
    LogDiffers {
        site: String,
        name: Vec<u8>,
        after: Id,
        to: Id,
    },
    /// Answers: these were all that differ.
    LogsChecked,
    /// Asks for the entries of a log after the first id and up to the second.
    Fetch {
        site: String,
        name: Vec<u8>,
        after: Id,
        to: Id,
    },
    /// Answers: a record of that log.
    Entries(Vec<u8>),
    /// Answers: these were all up to this id; whether they are as the origin's.
    EntriesEnd { reached: Id, agrees: bool },
    /// Asks where logs end; only where both ends speak version 5 of the wire, and so with what follows.
    AskEnds,
    /// Answers: where some of them do.
    Ends(Vec<LogEnd>),
    /// Answers: these were all.
    EndsEnd,
}

/// Where a log ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LogEnd {
    pub(super) site: String,
    pub(super) name: Vec<u8>,
    pub(super) last: Id,
    pub(super) trimmed_to: Id,
    pub(super) revision: u64,
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

    /// What `marks` say of `log`.
    pub(super) fn of_log(log: &LogName, depth: LogDepth, marks: &LogMarks) -> Self {
        let of_mark = |mark: &LogMark| (id(mark.to), mark.fingerprint.to_le_bytes());
        Self::Log {
            site: log.site.to_string(),
            name: log.name.to_vec(),
            disk: depth == LogDepth::Disk,
            start: id(marks.start),
            marks: marks.marks.iter().map(of_mark).collect(),
        }
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
pub(super) fn marks(start: Id, marks: Vec<(Id, Fingerprint)>) -> LogMarks {
    let mark = |(to, fingerprint): (Id, Fingerprint)| LogMark {
        to: entry_id(to),
        fingerprint: u128::from_le_bytes(fingerprint),
    };
    LogMarks {
        start: entry_id(start),
        marks: marks.into_iter().map(mark).collect(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::grid::{LOG_MARKS_MAX, RECORD_BYTES_MAX};

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
        let marks = LogMarks {
            start: EntryId::MIN,
            marks: vec![mark; LOG_MARKS_MAX],
        };
        let message = Message::of_log(&log, LogDepth::Disk, &marks);
        assert!(message.encode().len() < strait_transport::BATCH_BYTES_MAX);
        let entries = Message::Entries(vec![255; RECORD_BYTES_MAX]);
        assert!(entries.encode().len() < strait_transport::BATCH_BYTES_MAX);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_read_or_refused(bytes: Vec<u8>) {
            drop(Message::decode(&bytes));
        }
    }

    fn corpus() -> std::path::PathBuf {
        concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus/compare").into()
    }

    #[test]
    fn fuzz() {
        let target = strait_fuzz::Target {
            name: "compare",
            corpora: &[&corpus()],
            memory_bytes_max: 16 << 20,
            per_mille: 1000,
        };
        target.run_and_understand(|input| {
            let read = Message::decode(input);
            if let Ok(message) = &read {
                assert_eq!(Message::decode(&message.encode()).as_ref(), Ok(message));
            }
            read.is_ok()
        });
    }

    #[test]
    #[ignore = "writes the corpus anew: only for a new version of the format"]
    fn write_corpus() {
        std::fs::create_dir_all(corpus()).unwrap();
        let (site, name) = ("east".to_owned(), b"clicks".to_vec());
        let (after, to) = ((1, 2), (u64::MAX, 3));
        let end = LogEnd {
            site: site.clone(),
            name: name.clone(),
            last: to,
            trimmed_to: after,
            revision: 7,
        };
        let log = Message::Log {
            site: site.clone(),
            name: name.clone(),
            disk: true,
            start: after,
            marks: vec![(to, [9; 16]); 3],
        };
        let messages = [
            Message::Groups(vec![[1; 16]; 16]),
            Message::Exchange(vec![0, 1, 4095]),
            Message::Record(vec![3; 40]),
            log,
            Message::Fetch {
                site,
                name,
                after,
                to,
            },
            Message::Ends(vec![end; 2]),
        ];
        for (n, message) in messages.into_iter().enumerate() {
            let file = corpus().join(format!("{n}.bin"));
            std::fs::write(file, message.encode()).unwrap();
        }
    }
}
