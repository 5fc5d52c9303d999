//! What two gateways say to each other about files (drawn in docs/WIRE.md, "Bulk messages").

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use strait_transport::WireVersion;

use super::bounds;
use super::failure::Failure;
use super::limit::Limit;
use super::store::{FileMeta, Mtime, Page, Standing};
use crate::streams::TransferId;

/// The wire version since which a gateway can be told to replace nothing.
pub(super) const NO_REPLACE: WireVersion = WireVersion(5);
/// The wire version since which folders are told of.
pub(super) const FOLDERS: WireVersion = WireVersion(5);

/// The wire version since which [`Failure::ReserveReached`] is understood.
pub(super) const RESERVE: WireVersion = WireVersion(5);

/// First byte of every message, header and trailer.
const VERSION: u8 = 1;
/// Longest encoding: a full page of a listing with the longest names stays below.
const ENCODED_BYTES_MAX: usize = 512 << 10;

/// Names one question and its answer. Random.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct RequestId(pub(super) u128);

/// On the stream of messages, each way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Message {
    /// To the sender of a file: batches of its stream below this number may be sent.
    Credit { transfer: TransferId, batches: u64 },
    /// To the sender of a file: it is whole, checked, durable and in its place.
    Done { transfer: TransferId },
    /// From either end of a transfer: it is over.
    Failed {
        transfer: TransferId,
        failure: Failure,
    },
    /// Send me this file, as this transfer.
    Pull {
        transfer: TransferId,
        #[serde(deserialize_with = "bounds::path")]
        path: String,
        limit: Option<Limit>,
    },
    /// A question, answered with [`Message::Answer`].
    Ask {
        request: RequestId,
        question: Question,
    },
    Answer {
        request: RequestId,
        outcome: Result<Answer, Failure>,
    },
}

/// What can be asked about files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Question {
    /// What is in this folder, after the name `after`?
    List {
        #[serde(deserialize_with = "bounds::path")]
        path: String,
        #[serde(deserialize_with = "bounds::path")]
        after: String,
    },
    /// Remove this file.
    Remove {
        #[serde(deserialize_with = "bounds::path")]
        path: String,
    },
    /// What stands under each of these paths? At most [`PATHS_MAX`](super::describe::PATHS_MAX).
    Describe {
        #[serde(deserialize_with = "bounds::paths")]
        paths: Vec<String>,
        digests: bool,
    },
    /// What is left here of an earlier push of this file?
    Kept(Pushed),
    /// Make a symbolic link.
    Link {
        #[serde(deserialize_with = "bounds::path")]
        path: String,
        #[serde(deserialize_with = "bounds::path")]
        target: String,
        mtime: Option<Mtime>,
    },
    /// Make a symbolic link, unless something else has the name. From [`NO_REPLACE`] on.
    LinkNew {
        #[serde(deserialize_with = "bounds::path")]
        path: String,
        #[serde(deserialize_with = "bounds::path")]
        target: String,
        mtime: Option<Mtime>,
    },
    /// Make these folders where they are missing, and give them mode and time, in this order. At
    /// most [`PATHS_MAX`](super::describe::PATHS_MAX). From [`FOLDERS`] on.
    MakeFolders {
        #[serde(deserialize_with = "bounds::paths_with")]
        folders: Vec<(String, FileMeta)>,
    },
    /// Which mode and time have these folders? At most as many. From [`FOLDERS`] on.
    Folders {
        #[serde(deserialize_with = "bounds::paths")]
        paths: Vec<String>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Answer {
    Page(Page),
    Removed,
    Described(#[serde(deserialize_with = "bounds::of_paths")] Vec<Result<Standing, Failure>>),
    /// Length so far, and digest of that.
    Kept(Option<(u64, [u8; 32])>),
    Linked,
    FoldersMade(#[serde(deserialize_with = "bounds::of_paths")] Vec<Result<(), Failure>>),
    Folders(#[serde(deserialize_with = "bounds::of_paths")] Vec<Result<FileMeta, Failure>>),
}

/// A file, as its sender describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Pushed {
    #[serde(deserialize_with = "bounds::path")]
    pub(super) path: String,
    /// If it is known beforehand.
    pub(super) length: Option<u64>,
    pub(super) meta: FileMeta,
}

/// The first batch of a stream of a file's bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Header {
    /// Keep this file under its path; the bytes from `offset` on follow, you have the others.
    Push { file: Pushed, offset: u64 },
    /// The file that you asked for.
    Pull { length: u64, meta: FileMeta },
    /// As `Push`, unless another file has the path. From [`NO_REPLACE`] on.
    PushNew { file: Pushed, offset: u64 },
}

/// The last batch of a stream of a file's bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Ending {
    /// That was all of it.
    Whole {
        length: u64,
        digest: [u8; 32],
        cost: Cost,
    },
    /// There is no rest.
    Aborted(Failure),
}

/// What a file has cost the link so far: exact for the batches already encoded,
/// which excludes the few that still wait for their turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    /// The raw bytes of those batches.
    pub logical_bytes: u64,
    /// Their bytes on the wire.
    pub wire_bytes: u64,
}

impl Cost {
    /// The same, with so many bytes that did not have to cross.
    #[must_use]
    pub fn with_spared(self, bytes: u64) -> Self {
        let logical_bytes = self.logical_bytes.saturating_add(bytes);
        Self {
            logical_bytes,
            ..self
        }
    }
}

/// Foreign bytes that are no such message.
#[derive(Debug, thiserror::Error)]
pub(super) enum MessageError {
    #[error("{0} bytes of message, more than {ENCODED_BYTES_MAX}")]
    TooLong(usize),
    #[error("message version {0:?}, this gateway speaks {VERSION}")]
    Version(Option<u8>),
    #[error("malformed message")]
    Malformed,
}

pub(super) fn encode(message: &impl Serialize) -> bytes::Bytes {
    // Writing to a vector cannot fail for these types.
    postcard::to_extend(message, vec![VERSION])
        .unwrap_or_default()
        .into()
}

pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, MessageError> {
    if bytes.len() > ENCODED_BYTES_MAX {
        return Err(MessageError::TooLong(bytes.len()));
    }
    match bytes.split_first() {
        Some((&VERSION, rest)) => match postcard::take_from_bytes(rest) {
            Ok((message, [])) => Ok(message),
            Ok(_) | Err(_) => Err(MessageError::Malformed),
        },
        Some((&other, _)) => Err(MessageError::Version(Some(other))),
        None => Err(MessageError::Version(None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bulk::describe::PATHS_MAX;
    use crate::bulk::path::PATH_BYTES_MAX;
    use crate::bulk::store::{Entry, EntryKind, PAGE_ENTRIES_MAX};
    use proptest::prelude::*;

    #[test]
    fn the_largest_page_fits() {
        let entry = Entry {
            name: "n".repeat(255),
            kind: EntryKind::Other,
            length: u64::MAX,
            mtime: Mtime {
                seconds: i64::MIN,
                nanos: u32::MAX,
            },
        };
        let page = Page {
            entries: vec![entry; PAGE_ENTRIES_MAX],
            more: true,
            unspeakable: u64::MAX,
        };
        let outcome = Ok(Answer::Page(page));
        let message = Message::Answer {
            request: RequestId(u128::MAX),
            outcome,
        };
        let bytes = encode(&message);
        assert!(bytes.len() < ENCODED_BYTES_MAX);
        assert_eq!(decode::<Message>(&bytes).unwrap(), message);
    }

    #[test]
    fn as_many_paths_as_may_be_asked_for_fit() {
        let request = RequestId(u128::MAX);
        let longest = "p".repeat(PATH_BYTES_MAX);
        let question = Question::Describe {
            paths: vec![longest.clone(); PATHS_MAX],
            digests: true,
        };
        let asked = encode(&Message::Ask { request, question });
        let outcome = Ok(Answer::Described(vec![
            Ok(Standing::Link {
                target: longest
            });
            PATHS_MAX
        ]));
        let answered = encode(&Message::Answer { request, outcome });
        assert!(asked.len().max(answered.len()) < ENCODED_BYTES_MAX);
    }

    #[test]
    fn what_is_longer_than_it_may_be_is_malformed_and_reasons_are_cut() {
        let malformed = |message: &Message| {
            let decoded = decode::<Message>(&encode(message));
            matches!(decoded, Err(MessageError::Malformed))
        };
        let asked = |question| Message::Ask {
            request: RequestId(1),
            question,
        };
        let answered = |answer| Message::Answer {
            request: RequestId(1),
            outcome: Ok(answer),
        };
        let questions = |path: &str| {
            let (path, short) = (path.to_owned(), "f".to_owned());
            let file = Pushed {
                path: path.clone(),
                length: None,
                meta: FileMeta::default(),
            };
            [
                Question::List {
                    path: path.clone(),
                    after: short.clone(),
                },
                Question::List {
                    path: short.clone(),
                    after: path.clone(),
                },
                Question::Remove { path: path.clone() },
                Question::Describe {
                    paths: vec![path.clone()],
                    digests: false,
                },
                Question::Kept(file),
                Question::Link {
                    path: short,
                    target: path.clone(),
                    mtime: None,
                },
                Question::MakeFolders {
                    folders: vec![(path.clone(), FileMeta::default())],
                },
                Question::Folders { paths: vec![path] },
            ]
        };
        let longest = "p".repeat(PATH_BYTES_MAX);
        for question in questions(&longest) {
            assert!(!malformed(&asked(question)));
        }
        for question in questions(&format!("{longest}p")) {
            assert!(malformed(&asked(question.clone())), "{question:?}");
        }
        let paths = |count| vec!["f".to_owned(); count];
        for count in [PATHS_MAX, PATHS_MAX + 1] {
            let folders = asked(Question::Folders {
                paths: paths(count),
            });
            assert_eq!(malformed(&folders), count > PATHS_MAX);
            let target = "t".to_owned();
            let described = Answer::Described(vec![Ok(Standing::Link { target }); count]);
            assert_eq!(malformed(&answered(described)), count > PATHS_MAX);
        }
        let failure = Failure::Io("é".repeat(PATH_BYTES_MAX));
        let transfer = TransferId(1);
        let failed: Message = decode(&encode(&Message::Failed { transfer, failure })).unwrap();
        let half = Failure::Io("é".repeat(PATH_BYTES_MAX / 2));
        let cut = Message::Failed {
            transfer,
            failure: half,
        };
        assert_eq!(failed, cut);
    }

    #[test]
    fn versions_and_rests_are_refused() {
        let bytes = encode(&Message::Done {
            transfer: TransferId(1),
        });
        let longer = [&bytes[..], &[0]].concat();
        assert!(matches!(
            decode::<Message>(&longer),
            Err(MessageError::Malformed)
        ));
        assert!(matches!(
            decode::<Message>(&[2, 1, 1]),
            Err(MessageError::Version(Some(2)))
        ));
        assert!(matches!(
            decode::<Message>(&[]),
            Err(MessageError::Version(None))
        ));
    }

    proptest! {
        #[test]
        fn garbage_is_an_error_or_a_message(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let bytes = [&[VERSION], &bytes[..]].concat();
            // Neither may panic; what decodes must encode to something that decodes to the same.
            if let Ok(message) = decode::<Message>(&bytes) {
                prop_assert_eq!(decode::<Message>(&encode(&message)).unwrap(), message);
            }
            if let Ok(ending) = decode::<Ending>(&bytes) {
                prop_assert_eq!(decode::<Ending>(&encode(&ending)).unwrap(), ending);
            }
        }
    }
}
