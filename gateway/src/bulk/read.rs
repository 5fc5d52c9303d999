//! Reading what is sent: batch by batch, hashed on the way, noticing a change.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;

use bytes::{Bytes, BytesMut};
use strait_transport::BATCH_BYTES_MAX;

use super::failure::Failure;
use super::store::Trailer;

/// Room for most of the files of a tree.
const ROOM_BYTES_MIN: usize = 32 << 10;

/// Reads batches to the end.
#[derive(Debug)]
pub struct BatchReader<R> {
    from: R,
    hasher: blake3::Hasher,
    length: u64,
    /// What the next batch begins with: a small file is to cost no full one.
    room: usize,
    /// Bytes of a full batch.
    full: usize,
}

impl<R: Read> BatchReader<R> {
    pub fn new(from: R) -> Self {
        Self {
            from,
            hasher: blake3::Hasher::new(),
            length: 0,
            room: ROOM_BYTES_MIN,
            full: BATCH_BYTES_MAX,
        }
    }

    /// The same, with shorter batches.
    pub fn with_batches_of(self, bytes: usize) -> Self {
        let full = bytes.clamp(1, BATCH_BYTES_MAX);
        let room = self.room.min(full);
        Self { room, full, ..self }
    }

    /// The next batch: full, unless it is the last. `None` at the end.
    pub fn next_batch(&mut self) -> io::Result<Option<Bytes>> {
        let mut batch = BytesMut::zeroed(self.room);
        let mut filled = 0;
        while filled < self.full {
            if filled == batch.len() {
                self.room = self.full;
                batch.resize(self.room, 0);
            }
            match self.from.read(&mut batch[filled..]) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        batch.truncate(filled);
        self.hasher.update(&batch);
        self.length += filled as u64;
        Ok((filled > 0).then(|| batch.freeze()))
    }

    /// Whether `batch`, just read, is the last: it is not full.
    pub fn is_last(&self, batch: &Bytes) -> bool {
        batch.len() < self.full
    }

    /// Reads `length` bytes, or up to the end, without giving them; what has been read then.
    pub fn skip(&mut self, length: u64) -> io::Result<Trailer> {
        let before = self.hasher.count();
        self.hasher.update_reader((&mut self.from).take(length))?;
        self.length += self.hasher.count() - before;
        Ok(self.trailer())
    }

    /// Bytes read so far.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Length and digest of what has been read so far.
    pub fn trailer(&self) -> Trailer {
        Trailer {
            length: self.length,
            digest: self.hasher.finalize(),
        }
    }
}

/// A plain file as it was when it was opened.
#[derive(Debug)]
pub struct Snapshot {
    before: std::fs::Metadata,
}

impl Snapshot {
    pub fn of(file: &File) -> io::Result<Self> {
        let before = file.metadata()?;
        Ok(Self { before })
    }

    pub fn length(&self) -> u64 {
        self.before.len()
    }

    /// An error if the file has changed since, or `read` is not all of it.
    pub fn check(&self, file: &File, read: &Trailer) -> Result<(), Failure> {
        let after = file.metadata().map_err(Failure::io)?;
        let times = |m: &std::fs::Metadata| (m.mtime(), m.mtime_nsec(), m.len());
        if times(&after) != times(&self.before) || read.length != self.before.len() {
            return Err(Failure::Changed);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    /// Gives one byte at a time, as a slow pipe may.
    struct Trickle(usize);

    impl Read for Trickle {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = self.0.min(buffer.len()).min(4093);
            self.0 -= count;
            Ok(count)
        }
    }

    #[test]
    fn batches_are_full_until_the_last() {
        let mut reader = BatchReader::new(Trickle(BATCH_BYTES_MAX * 2 + 5));
        let mut sizes = Vec::new();
        while let Some(batch) = reader.next_batch().unwrap() {
            sizes.push(batch.len());
        }
        assert_eq!(sizes, [BATCH_BYTES_MAX, BATCH_BYTES_MAX, 5]);
        assert_eq!(reader.trailer().length, BATCH_BYTES_MAX as u64 * 2 + 5);
    }

    #[test]
    fn growth_and_shrinking_are_noticed() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"12345").unwrap();
        let snapshot = Snapshot::of(&file).unwrap();
        let whole = Trailer {
            length: 5,
            digest: blake3::hash(b"12345"),
        };
        assert_eq!(snapshot.check(&file, &whole), Ok(()));
        assert_eq!(
            snapshot.check(&file, &Trailer { length: 4, ..whole }),
            Err(Failure::Changed)
        );
        file.set_len(9).unwrap();
        assert_eq!(snapshot.check(&file, &whole), Err(Failure::Changed));
    }
}
