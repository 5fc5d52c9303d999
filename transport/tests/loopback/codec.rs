use bytes::Bytes;
use strait_transport::{BatchRef, Decode, Decoding, Encode, EncodedBatch, Seq, StreamId};

/// Marks each batch with a byte, so that a batch which was not encoded is noticed.
const MARK: u8 = 0x5a;

pub(crate) struct Marking {
    hellos: u64,
}

impl Marking {
    pub(crate) fn new() -> Self {
        Self { hellos: 0 }
    }
}

impl Encode for Marking {
    fn encode(&mut self, batch: BatchRef<'_>) -> EncodedBatch {
        assert!(self.hellos > 0, "nothing is encoded before a hello");
        let mut bytes = vec![MARK, u8::from(batch.literal)];
        bytes.extend_from_slice(batch.raw);
        EncodedBatch {
            bytes: bytes.into(),
            literal_bytes: batch.raw.len() as u64,
            level: 0,
        }
    }

    fn handle_acked(&mut self, _stream: StreamId, _seq: Seq) {}

    fn handle_hello(&mut self, hello: &[u8]) -> Result<(), String> {
        assert_eq!(hello, b"unmarking");
        self.hellos += 1;
        Ok(())
    }
}

/// Undoes [`Marking`]; says of some batches that they must wait, or that they must come
/// again as literals.
pub(crate) struct Unmarking {
    batches: u64,
}

impl Unmarking {
    pub(crate) fn new() -> Self {
        Self { batches: 0 }
    }
}

impl Decode for Unmarking {
    fn hello(&mut self) -> Bytes {
        Bytes::from_static(b"unmarking")
    }

    fn decode(&mut self, wire: Bytes) -> Decoding {
        self.batches += 1;
        let [mark, literal, ..] = wire[..] else {
            return Decoding::Corrupt("too short".into());
        };
        assert_eq!(mark, MARK);
        if literal == 0 && self.batches.is_multiple_of(13) {
            return Decoding::Missing;
        }
        Decoding::Ready(wire.slice(2..))
    }
}
