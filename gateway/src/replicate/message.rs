//! The batches of a grid stream. Drawn in `docs/WIRE.md`, section "Grid stream".

use std::collections::BTreeSet;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use strait_transport::{BATCH_BYTES_MAX, SiteName};

/// Bytes in front of each record: its length.
const LEN_BYTES: usize = 4;

const POSITIONS_PART: u8 = 1;
const POSITIONS_END: u8 = 2;
const ASK: u8 = 3;
const RECORDS: u8 = 4;
const LINKED: u8 = 5;
const CAUGHT_UP: u8 = 6;
const BEGIN: u8 = 7;

/// Sites that a message may name: more are no deployment.
const LINKED_MAX: usize = 128;

/// One batch of a grid stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// A piece of what the sender of this holds; the last one ends the list.
    Positions { piece: Bytes, end: bool },
    /// Says: tell me your positions, I have lost track.
    Ask,
    /// Records, to be applied in order.
    Records(Vec<Bytes>),
    /// The sites to which the sender of this has links that are up: what they write need not be
    /// passed on to it.
    Linked(BTreeSet<SiteName>),
    /// Everything that the receiver of this lacked by its positions has been sent.
    CaughtUp,
    /// From here on comes all that the receiver of this lacks by its positions, also what it did not
    /// take before.
    Begin,
}

/// A batch that is none of these: the peer's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the peer sent a batch on the grid stream that cannot be read")]
pub(super) struct MalformedMessage;

impl Message {
    /// Reads a batch, which is bounded by the transport.
    pub(super) fn decode(mut batch: Bytes) -> Result<Self, MalformedMessage> {
        let kind = batch.try_get_u8().map_err(|_| MalformedMessage)?;
        match kind {
            POSITIONS_PART | POSITIONS_END => Ok(Self::Positions {
                piece: batch,
                end: kind == POSITIONS_END,
            }),
            ASK if batch.is_empty() => Ok(Self::Ask),
            RECORDS => decode_records(batch).map(Self::Records),
            CAUGHT_UP if batch.is_empty() => Ok(Self::CaughtUp),
            BEGIN if batch.is_empty() => Ok(Self::Begin),
            LINKED => decode_linked(&batch).map(Self::Linked),
            _ => Err(MalformedMessage),
        }
    }
}

fn decode_records(mut batch: Bytes) -> Result<Vec<Bytes>, MalformedMessage> {
    let mut records = Vec::new();
    while batch.has_remaining() {
        let len = batch.try_get_u32_le().map_err(|_| MalformedMessage)? as usize;
        if len == 0 || len > batch.remaining() {
            return Err(MalformedMessage);
        }
        records.push(batch.split_to(len));
    }
    Ok(records)
}

fn decode_linked(batch: &[u8]) -> Result<BTreeSet<SiteName>, MalformedMessage> {
    let text = std::str::from_utf8(batch).map_err(|_| MalformedMessage)?;
    let names = text.split_terminator('\n').take(LINKED_MAX + 1);
    let sites: BTreeSet<SiteName> = names
        .map(|name| name.parse().map_err(|_| MalformedMessage))
        .collect::<Result<_, _>>()?;
    if sites.len() > LINKED_MAX {
        return Err(MalformedMessage);
    }
    Ok(sites)
}

/// The batch that names the sites to which we have links.
pub(super) fn linked(sites: &BTreeSet<SiteName>) -> Bytes {
    let mut batch = vec![LINKED];
    for site in sites {
        batch.extend(site.as_ref().as_bytes());
        batch.push(b'\n');
    }
    batch.into()
}

/// The batch for a piece of positions.
pub(super) fn positions(piece: &[u8], end: bool) -> Bytes {
    let mut batch = BytesMut::with_capacity(1 + piece.len());
    batch.put_u8(if end { POSITIONS_END } else { POSITIONS_PART });
    batch.put_slice(piece);
    batch.freeze()
}

/// The batch that asks for positions.
pub(super) fn ask() -> Bytes {
    Bytes::from_static(&[ASK])
}

/// The batch that says that a catch-up is over.
pub(super) fn caught_up() -> Bytes {
    Bytes::from_static(&[CAUGHT_UP])
}

/// The batch that begins a catch-up. To peers of wire version 5 and later.
pub(super) fn begin() -> Bytes {
    Bytes::from_static(&[BEGIN])
}

/// The batch that holds no record: its acknowledgement says that all before it is applied.
pub(super) fn no_records() -> Bytes {
    Bytes::from_static(&[RECORDS])
}

/// Packs records into as few batches as hold them.
#[derive(Debug, Default)]
pub(super) struct RecordPacker {
    batch: BytesMut,
}

impl RecordPacker {
    /// Adds a record; returns the batch that was full before it.
    pub(super) fn push(&mut self, record: &[u8]) -> Option<Bytes> {
        let full = self.batch.len() + LEN_BYTES + record.len() > BATCH_BYTES_MAX;
        let finished = full.then(|| self.finish()).flatten();
        if self.batch.is_empty() {
            self.batch.put_u8(RECORDS);
        }
        self.batch.put_u32_le(record.len() as u32);
        self.batch.put_slice(record);
        finished
    }

    /// The batch with what was pushed since the last one; none if there is nothing.
    pub(super) fn finish(&mut self) -> Option<Bytes> {
        (!self.batch.is_empty()).then(|| self.batch.split().freeze())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn other_messages_survive() {
        let piece = Message::Positions {
            piece: Bytes::from_static(b"abc"),
            end: true,
        };
        assert_eq!(Message::decode(positions(b"abc", true)).unwrap(), piece);
        assert_eq!(Message::decode(ask()).unwrap(), Message::Ask);
        assert_eq!(Message::decode(caught_up()).unwrap(), Message::CaughtUp);
        assert!(Message::decode(Bytes::new()).is_err());
        let sites: BTreeSet<SiteName> = ["east", "west"].map(|s| s.parse().unwrap()).into();
        let read = |sites| Message::decode(linked(sites)).unwrap();
        assert_eq!(read(&sites), Message::Linked(sites.clone()));
        assert_eq!(read(&BTreeSet::new()), Message::Linked(BTreeSet::new()));
        assert!(Message::decode(Bytes::from_static(b"\x05No Site\n")).is_err());
    }

    proptest! {
        #[test]
        fn records_survive_packing(sizes in prop::collection::vec(1usize..600_000, 0..8)) {
            let records: Vec<Bytes> = sizes
                .iter()
                .enumerate()
                .map(|(n, size)| Bytes::from(vec![n as u8; *size]))
                .collect();
            let mut packer = RecordPacker::default();
            let mut batches: Vec<Bytes> =
                records.iter().filter_map(|record| packer.push(record)).collect();
            batches.extend(packer.finish());
            let mut read = Vec::new();
            for batch in batches {
                prop_assert!(batch.len() <= BATCH_BYTES_MAX);
                match Message::decode(batch) {
                    Ok(Message::Records(more)) => read.extend(more),
                    other => prop_assert!(false, "{other:?}"),
                }
            }
            prop_assert_eq!(read, records);
        }

        #[test]
        fn arbitrary_bytes_are_read_or_refused(bytes: Vec<u8>) {
            drop(Message::decode(bytes.into()));
        }
    }

    #[test]
    fn fuzz() {
        const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus/grid-stream");
        let target = strait_fuzz::Target {
            name: "grid-stream",
            corpora: &[std::path::Path::new(CORPUS)],
            memory_bytes_max: 1 << 20,
            per_mille: 1000,
        };
        target.run_and_understand(|input| {
            let batch = Bytes::copy_from_slice(input);
            let Ok(Message::Records(records)) = Message::decode(batch) else {
                return false;
            };
            let bytes: usize = records.iter().map(|record| record.len() + LEN_BYTES).sum();
            assert_eq!(bytes + 1, input.len());
            true
        });
    }

    #[test]
    #[ignore = "writes the corpus anew: only for a new version of the format"]
    fn write_corpus() {
        let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/grid-stream");
        std::fs::create_dir_all(&dir).unwrap();
        let mut packer = RecordPacker::default();
        for len in [1, 30, 500] {
            assert_eq!(packer.push(&vec![len as u8; len]), None);
        }
        std::fs::write(dir.join("records.bin"), packer.finish().unwrap()).unwrap();
        std::fs::write(dir.join("positions.bin"), positions(b"a piece", true)).unwrap();
        std::fs::write(dir.join("ask.bin"), ask()).unwrap();
    }
}
