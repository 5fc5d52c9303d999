//! What a stream between two gateways carries: the descriptor that opens it.

use serde::{Deserialize, Serialize};

use crate::forward::FlowRequest;
use crate::grid::Feed;

/// One transfer of a file, named by the site that started it. Random.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TransferId(pub u128);

/// One TCP connection that a forward carries, named by the site that opened it. Random.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FlowId(pub u64);

/// The descriptor of a stream, sent with its first batch (postcard encoding).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StreamOpen {
    /// Records of the grid, of counters or of logs, and the positions they start from.
    Grid { feed: Feed },
    /// Requests and answers about files.
    BulkMessages,
    /// The bytes of one file; the last batch is a trailer.
    BulkData { transfer: TransferId },
    /// Credit and resets of flows.
    FlowMessages,
    /// A flow's first bytes, and the wish that it be connected.
    FlowOpen(FlowRequest),
    /// The bytes of one direction of a flow from `offset` on; the last batch says how
    /// they end.
    FlowData { flow: FlowId, offset: u64 },
    /// What asks for a comparison of what the two sites hold.
    CompareAsk,
    /// What answers it.
    CompareAnswer,
    /// What is not taken of the peer's grid streams. To peers of wire version 5 and later.
    Refusals,
}

/// A descriptor that this version does not understand.
#[derive(Debug, thiserror::Error)]
#[error("the peer opened a stream of a kind this version does not know")]
pub struct UnknownStream;

impl StreamOpen {
    /// Encodes the descriptor: at most 32 bytes, and a flow's target.
    pub fn encode(&self) -> bytes::Bytes {
        // Writing to a vector cannot fail for these variants.
        postcard::to_stdvec(self).unwrap_or_default().into()
    }

    /// Decodes a descriptor that came from a peer.
    pub fn decode(bytes: &[u8]) -> Result<Self, UnknownStream> {
        match postcard::take_from_bytes(bytes) {
            Ok((open, [])) => Ok(open),
            Ok(_) | Err(_) => Err(UnknownStream),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_survive_and_garbage_is_refused() {
        let opens = [
            StreamOpen::Grid {
                feed: Feed::Counters,
            },
            StreamOpen::Grid { feed: Feed::Logs },
            StreamOpen::BulkMessages,
            StreamOpen::CompareAsk,
            StreamOpen::CompareAnswer,
            StreamOpen::Refusals,
            StreamOpen::BulkData {
                transfer: TransferId(7 << 90),
            },
            StreamOpen::FlowMessages,
            StreamOpen::FlowData {
                flow: FlowId(u64::MAX),
                offset: u64::MAX,
            },
        ];
        for open in opens {
            let bytes = open.encode();
            assert!(bytes.len() <= 32);
            assert_eq!(StreamOpen::decode(&bytes).unwrap(), open);
            let mut longer = bytes.to_vec();
            longer.push(0);
            assert!(StreamOpen::decode(&longer).is_err());
        }
        assert!(StreamOpen::decode(&[9, 9, 9]).is_err());
        assert!(StreamOpen::decode(&[]).is_err());
    }

    fn corpus() -> std::path::PathBuf {
        concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus/stream").into()
    }

    #[test]
    fn fuzz() {
        let target = strait_fuzz::Target {
            name: "stream",
            corpora: &[&corpus()],
            memory_bytes_max: 1 << 20,
            per_mille: 1000,
        };
        target.run_and_understand(|input| {
            let read = StreamOpen::decode(input);
            if let Ok(open) = &read {
                assert_eq!(StreamOpen::decode(&open.encode()).unwrap(), *open);
            }
            read.is_ok()
        });
    }

    #[test]
    #[ignore = "writes the corpus anew: only for a new version of the format"]
    fn write_corpus() {
        std::fs::create_dir_all(corpus()).unwrap();
        let request = FlowRequest {
            flow: FlowId(7),
            target: "db.example:5432".to_owned(),
            class: crate::forward::FlowClass::Bulk,
            patience_s: 60,
            client: ([127, 0, 0, 1], 1234).into(),
            proxied: Some(([127, 0, 0, 1], 5432).into()),
        };
        let opens = [
            StreamOpen::Grid { feed: Feed::Logs },
            StreamOpen::BulkData {
                transfer: TransferId(1 << 100),
            },
            StreamOpen::FlowOpen(request),
            StreamOpen::FlowData {
                flow: FlowId(7),
                offset: 1 << 40,
            },
        ];
        for (n, open) in opens.into_iter().enumerate() {
            std::fs::write(corpus().join(format!("{n}.bin")), open.encode()).unwrap();
        }
    }
}
