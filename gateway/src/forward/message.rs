//! What two gateways say to each other about flows (drawn in docs/WIRE.md, "Flows").

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::settings::FlowClass;
use crate::bulk::printable;
use crate::streams::FlowId;

/// First byte of every batch of messages.
const VERSION: u8 = 1;
/// Most bytes of messages in one batch.
pub(super) const MESSAGES_BYTES_MAX: usize = 64 << 10;
/// Longest free text of a refusal.
const TEXT_BYTES_MAX: usize = 120;

/// The wish to connect: opens the first stream of a flow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowRequest {
    pub flow: FlowId,
    /// `host:port`, resolved by whoever connects.
    pub target: String,
    /// How urgent the answers are.
    pub class: FlowClass,
    /// How long the link may be away before the flow is reset.
    pub patience_s: u16,
    pub client: SocketAddr,
    /// What the client connected to, if the target is to be told both in front of the
    /// flow's bytes.
    pub proxied: Option<SocketAddr>,
}

/// On the stream of messages, each way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Message {
    /// Bytes of the flow below this count may be sent.
    Credit { flow: FlowId, bytes: u64 },
    /// The flow is over, both ways.
    Reset { flow: FlowId, refusal: Refusal },
}

/// The last batch of each stream of a flow: one byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// Another stream goes on at this byte.
    Moved = 0,
    /// The direction ends at this byte.
    Finished = 1,
    /// There is no rest: the flow was reset.
    Aborted = 2,
}

impl Ending {
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [0] => Some(Self::Moved),
            [1] => Some(Self::Finished),
            [2] => Some(Self::Aborted),
            _ => None,
        }
    }
}

/// Why there is no flow, or none any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// Its TCP connection was reset or broke.
    #[error("the connection was reset")]
    Reset,
    /// The far gateway's `forwarding.allow` has no rule for the target.
    #[error("the target is not in the far gateway's forwarding.allow")]
    NotAllowed,
    /// The far gateway cannot connect.
    #[error("the target cannot be reached: {}", printable(.0))]
    Unreachable(String),
    /// As many flows are open as one link may have.
    #[error("too many flows on this link")]
    Busy,
    /// The link was away for longer than the forward's patience.
    #[error("the link was away for too long")]
    LinkAway,
    /// Either gateway was restarted.
    #[error("a gateway restarted")]
    SessionReset,
    /// The peer knows no such flow, or sent what cannot be.
    #[error("the peer broke the protocol")]
    Protocol,
}

impl Refusal {
    pub(super) fn unreachable(error: &std::io::Error) -> Self {
        let mut text = error.to_string();
        let mut end = text.len().min(TEXT_BYTES_MAX);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        Self::Unreachable(text)
    }
}

/// A batch of messages under construction.
#[derive(Debug)]
pub(super) struct MessageBatch(Vec<u8>);

impl MessageBatch {
    pub(super) fn new() -> Self {
        Self(vec![VERSION])
    }

    pub(super) fn push(&mut self, message: &Message) {
        // Writing to a vector cannot fail for these types.
        self.0 = postcard::to_extend(message, std::mem::take(&mut self.0)).unwrap_or_default();
    }

    pub(super) fn is_full(&self) -> bool {
        // A refusal with its text is below 256 bytes.
        self.0.len() + 256 > MESSAGES_BYTES_MAX
    }

    pub(super) fn into_bytes(self) -> bytes::Bytes {
        self.0.into()
    }
}

/// The messages of a batch; `None` if it is none of this version.
pub(super) fn decode(bytes: &[u8]) -> Option<Vec<Message>> {
    let (&VERSION, mut rest) = bytes.split_first()? else {
        return None;
    };
    if rest.len() > MESSAGES_BYTES_MAX {
        return None;
    }
    let mut messages = Vec::new();
    while !rest.is_empty() {
        let (message, left) = postcard::take_from_bytes(rest).ok()?;
        messages.push(message);
        rest = left;
    }
    Some(messages)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn messages_survive_and_other_versions_are_refused() {
        let sent = [
            Message::Credit {
                flow: FlowId(7),
                bytes: u64::MAX,
            },
            Message::Reset {
                flow: FlowId(8),
                refusal: Refusal::Unreachable("x".repeat(TEXT_BYTES_MAX)),
            },
        ];
        let mut batch = MessageBatch::new();
        for message in &sent {
            batch.push(message);
        }
        let bytes = batch.into_bytes();
        assert_eq!(decode(&bytes).unwrap(), sent);
        assert_eq!(decode(&bytes[..bytes.len() - 1]), None);
        assert_eq!(decode(&[2]), None);
        assert_eq!(decode(&[]), None);
    }

    #[test]
    fn a_full_batch_is_one_that_the_peer_takes() {
        let mut batch = MessageBatch::new();
        let longest = Message::Reset {
            flow: FlowId(u64::MAX),
            refusal: Refusal::Unreachable("\u{10ffff}".repeat(TEXT_BYTES_MAX / 4)),
        };
        let mut count = 0;
        while !batch.is_full() {
            batch.push(&longest);
            count += 1;
        }
        assert_eq!(decode(&batch.into_bytes()).unwrap().len(), count);
    }

    proptest! {
        #[test]
        fn garbage_is_refused_or_read(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let bytes = [&[VERSION], &bytes[..]].concat();
            if let Some(messages) = decode(&bytes) {
                prop_assert!(messages.len() <= bytes.len());
            }
        }
    }

    fn corpus() -> std::path::PathBuf {
        concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus/flow").into()
    }

    #[test]
    fn fuzz() {
        let target = strait_fuzz::Target {
            name: "flow",
            corpora: &[&corpus()],
            memory_bytes_max: 4 << 20,
            per_mille: 1000,
        };
        target.run_and_understand(|input| {
            let Some(messages) = decode(input) else {
                return false;
            };
            let mut batch = MessageBatch::new();
            messages.iter().for_each(|message| batch.push(message));
            assert_eq!(decode(&batch.into_bytes()), Some(messages));
            true
        });
    }

    #[test]
    #[ignore = "writes the corpus anew: only for a new version of the format"]
    fn write_corpus() {
        std::fs::create_dir_all(corpus()).unwrap();
        let (flow, bytes) = (FlowId(7), 1 << 20);
        let refusals = [
            Refusal::NotAllowed,
            Refusal::Unreachable("no route".to_owned()),
        ];
        for (n, refusal) in refusals.into_iter().enumerate() {
            let mut batch = MessageBatch::new();
            batch.push(&Message::Credit { flow, bytes });
            batch.push(&Message::Reset { flow, refusal });
            let file = corpus().join(format!("{n}.bin"));
            std::fs::write(file, batch.into_bytes()).unwrap();
        }
    }
}
