//! A decoder's hello: what the receiver holds, from which the sender may go on (rule H3).

use super::{Malformed, Reader, VERSION, put_varint};
use crate::chunker::{self, ChunkerKey};
use crate::history::{HistoryId, Position};

/// What a receiver holds of one sender's history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hello {
    /// Counts this decoder's hellos: a batch names the one it was encoded after.
    pub(crate) generation: u64,
    /// The receiver's own chunker key, and whether it already has history cut by it.
    pub(crate) key: ChunkerKey,
    pub(crate) key_settled: bool,
    /// Most bytes of history the receiver keeps for this sender.
    pub(crate) capacity_bytes: u64,
    pub(crate) held: Option<Held>,
}

/// A history as a receiver holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) id: HistoryId,
    pub(crate) epoch: u64,
    pub(crate) oldest: Position,
    /// End of the contiguous durable part.
    pub(crate) tail: Position,
}

/// Why a hello can't be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    Malformed(Malformed),
    Version(u8),
}

impl From<Malformed> for Refused {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

const KEY_SETTLED: u8 = 1 << 0;
const HELD: u8 = 1 << 1;

impl Hello {
    pub(crate) fn write(&self) -> Vec<u8> {
        let mut out = vec![VERSION, chunker::VERSION];
        let settled = if self.key_settled { KEY_SETTLED } else { 0 };
        out.push(settled | if self.held.is_some() { HELD } else { 0 });
        put_varint(&mut out, self.generation);
        out.extend_from_slice(&self.key.0);
        put_varint(&mut out, self.capacity_bytes);
        if let Some(held) = self.held {
            out.extend_from_slice(&held.id.0);
            put_varint(&mut out, held.epoch);
            put_varint(&mut out, held.oldest.0);
            put_varint(&mut out, held.tail.0);
        }
        out
    }

    /// Reads a hello; bytes after it are left for later versions.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, Refused> {
        let mut reader = Reader::new(bytes);
        let version = reader.byte()?;
        if version != VERSION {
            return Err(Refused::Version(version));
        }
        // Cut points are the sender's alone; the receiver's version matters to nobody yet.
        reader.byte()?;
        let flags = reader.byte()?;
        let generation = reader.varint()?;
        let key = ChunkerKey(reader.array()?);
        let capacity_bytes = reader.varint()?;
        let held = if flags & HELD == 0 {
            None
        } else {
            Some(read_held(&mut reader)?)
        };
        let key_settled = flags & KEY_SETTLED != 0;
        Ok(Self {
            generation,
            key,
            key_settled,
            capacity_bytes,
            held,
        })
    }
}

fn read_held(reader: &mut Reader<'_>) -> Result<Held, Malformed> {
    let held = Held {
        id: HistoryId(reader.array()?),
        epoch: reader.varint()?,
        oldest: Position(reader.varint()?),
        tail: Position(reader.varint()?),
    };
    if held.oldest > held.tail {
        return Err(Malformed("a history that ends before it begins"));
    }
    Ok(held)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hellos_come_back() {
        let held = Held {
            id: HistoryId([4; 16]),
            epoch: 9,
            oldest: Position(5),
            tail: Position(1 << 50),
        };
        for held in [None, Some(held)] {
            let hello = Hello {
                generation: 300,
                key: ChunkerKey([8; 32]),
                key_settled: held.is_none(),
                capacity_bytes: 1 << 30,
                held,
            };
            let bytes = hello.write();
            assert!(bytes.len() <= 1024);
            assert_eq!(Hello::read(&bytes), Ok(hello));
            for len in 0..bytes.len() {
                assert!(Hello::read(&bytes[..len]).is_err());
            }
        }
        assert_eq!(Hello::read(&[9]), Err(Refused::Version(9)));
    }

    fn golden() -> (std::path::PathBuf, Hello) {
        let dir = std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        let hello = Hello {
            generation: 300,
            key: ChunkerKey(std::array::from_fn(|n| n as u8)),
            key_settled: true,
            capacity_bytes: 2 << 30,
            held: Some(Held {
                id: HistoryId([4; 16]),
                epoch: 9,
                oldest: Position(70_000),
                tail: Position(1 << 50),
            }),
        };
        (dir.join("tests/golden/hello-v2.bin"), hello)
    }

    /// Hellos as release 0.1 writes them are read for as long as their version is spoken.
    #[test]
    fn the_golden_hello_is_read() {
        let (path, hello) = golden();
        let bytes = std::fs::read(path).expect("a golden file");
        assert_eq!(Hello::read(&bytes), Ok(hello.clone()));
        assert_eq!(hello.write(), bytes, "and written so");
    }

    #[test]
    #[ignore = "writes the golden file anew: only for a new version of the format"]
    fn write_the_golden_hello() {
        let (path, hello) = golden();
        std::fs::write(path, hello.write()).expect("written");
    }
}
