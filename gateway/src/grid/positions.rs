//! What a site holds of everyone's data: what it tells a peer so that the peer can go on from there.

use std::collections::BTreeMap;

use bytes::Bytes;
use strait_transport::SiteName;

use super::arena::NAME_BYTES_MAX;
use super::varint::{Malformed, Reader, put, put_bytes};
use super::{EntryId, Epoch, LogName, LogPosition, Origin, RECORD_BYTES_MAX};

/// How far a site holds everything of each origin and each log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Positions {
    /// Every component of the origin up to this version is held.
    pub watermarks: BTreeMap<Origin, Epoch>,
    /// How much of each log is held.
    pub logs: BTreeMap<LogName, LogPosition>,
}

/// A piece of positions that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("positions are malformed: {0}")]
pub struct PositionsError(&'static str);

/// First byte of a piece.
const VERSION: u8 = 1;
const ORIGIN: u8 = 1;
const LOG: u8 = 2;
/// No item is longer.
const ITEM_BYTES_MAX: usize = 1 + 34 + 3 + NAME_BYTES_MAX + 50;

impl Positions {
    /// Encodes them in pieces of at most [`RECORD_BYTES_MAX`] bytes; at least one.
    pub fn encode(&self) -> Vec<Bytes> {
        let mut pieces = Vec::new();
        let mut piece = vec![VERSION];
        let mut add = |item: Vec<u8>| {
            if piece.len() + ITEM_BYTES_MAX > RECORD_BYTES_MAX {
                pieces.push(std::mem::replace(&mut piece, vec![VERSION]).into());
            }
            piece.extend(item);
        };
        for (origin, epoch) in &self.watermarks {
            let mut item = vec![ORIGIN];
            put_bytes(&mut item, origin.site.as_ref().as_bytes());
            item.extend(origin.incarnation.to_le_bytes());
            put(&mut item, epoch.0);
            add(item);
        }
        for (log, position) in &self.logs {
            let mut item = vec![LOG];
            put_bytes(&mut item, log.site.as_ref().as_bytes());
            put_bytes(&mut item, &log.name);
            for id in [position.last, position.trimmed_to] {
                put(&mut item, id.ms);
                put(&mut item, id.seq);
            }
            put(&mut item, position.revision);
            add(item);
        }
        pieces.push(piece.into());
        pieces
    }

    /// Adds what one piece from a peer says.
    pub fn extend_from(&mut self, piece: &[u8]) -> Result<(), PositionsError> {
        self.read(piece).map_err(|error| PositionsError(error.0))
    }

    fn read(&mut self, piece: &[u8]) -> Result<(), Malformed> {
        let mut reader = Reader::new(piece);
        if reader.byte()? != VERSION {
            return Err(Malformed("unknown version"));
        }
        while !reader.is_empty() {
            match reader.byte()? {
                ORIGIN => self.read_origin(&mut reader)?,
                LOG => self.read_log(&mut reader)?,
                _ => return Err(Malformed("unknown item")),
            }
        }
        Ok(())
    }

    fn read_origin(&mut self, reader: &mut Reader<'_>) -> Result<(), Malformed> {
        let site = read_site(reader)?;
        let origin = Origin {
            site,
            incarnation: reader.u64_le()?,
        };
        self.watermarks.insert(origin, Epoch(reader.varint()?));
        Ok(())
    }

    fn read_log(&mut self, reader: &mut Reader<'_>) -> Result<(), Malformed> {
        let site = read_site(reader)?;
        let name = reader.bytes()?;
        if name.len() > NAME_BYTES_MAX {
            return Err(Malformed("a log's name too long"));
        }
        let name = name.into();
        let mut id = || {
            Ok(EntryId {
                ms: reader.varint()?,
                seq: reader.varint()?,
            })
        };
        let (last, trimmed_to) = (id()?, id()?);
        let position = LogPosition {
            last,
            trimmed_to,
            revision: reader.varint()?,
        };
        self.logs.insert(LogName { site, name }, position);
        Ok(())
    }

    /// Adds what another part of the same list says.
    pub fn extend(&mut self, more: Self) {
        self.watermarks.extend(more.watermarks);
        self.logs.extend(more.logs);
    }

    /// The version up to which everything of `origin` is held.
    pub fn watermark(&self, origin: &Origin) -> Epoch {
        self.watermarks.get(origin).copied().unwrap_or_default()
    }

    /// How much of `log` is held.
    pub fn log(&self, log: &LogName) -> LogPosition {
        self.logs.get(log).copied().unwrap_or_default()
    }
}

fn read_site(reader: &mut Reader<'_>) -> Result<SiteName, Malformed> {
    let text = std::str::from_utf8(reader.bytes()?).ok();
    text.and_then(|text| text.parse().ok())
        .ok_or(Malformed("not a site's name"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn positions_come_back_from_their_pieces() {
        let site: SiteName = "east".parse().unwrap();
        let mut positions = Positions::default();
        for n in 0..40_000_u64 {
            let log = LogName {
                site: site.clone(),
                name: n.to_be_bytes()[..].into(),
            };
            let last = EntryId {
                ms: n << 20,
                seq: n,
            };
            positions.logs.insert(
                log,
                LogPosition {
                    last,
                    trimmed_to: EntryId::MAX,
                    revision: n,
                },
            );
            if n < 10 {
                let origin = Origin {
                    site: site.clone(),
                    incarnation: n,
                };
                positions.watermarks.insert(origin, Epoch(u64::MAX - n));
            }
        }
        let pieces = positions.encode();
        assert!(pieces.len() > 1);
        let mut read = Positions::default();
        for piece in &pieces {
            assert!(piece.len() <= RECORD_BYTES_MAX);
            read.extend_from(piece).unwrap();
        }
        assert_eq!(read, positions);
        assert_eq!(Positions::default().encode().len(), 1);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes: Vec<u8>) {
            let mut positions = Positions::default();
            let read = positions.extend_from(&[&[VERSION], &bytes[..]].concat());
            prop_assert!(read.is_err() || positions.logs.len() <= bytes.len());
        }
    }
}
