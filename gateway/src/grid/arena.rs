//! Names of keys and fields, packed. They are never freed: a counter that was deleted still has
//! its components, so its name stays too.

/// Longest key, field or log name, in bytes.
pub const NAME_BYTES_MAX: usize = u16::MAX as usize;

const CHUNK_BYTES: usize = 1 << 20;
/// Names start at multiples of this, so that 32 bits address 16 GiB.
const UNIT: usize = 4;
const UNITS_PER_CHUNK: usize = CHUNK_BYTES / UNIT;

/// Where a name lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NameRef(u32);

/// Append-only store of names: 2 bytes of length, the name, padding.
#[derive(Debug, Default)]
pub(super) struct Arena {
    chunks: Vec<Box<[u8]>>,
    /// Units taken in the last chunk.
    used: usize,
}

impl Arena {
    /// Stores a name; none when it is too long or the address space is full.
    pub(super) fn push(&mut self, name: &[u8]) -> Option<NameRef> {
        let length = u16::try_from(name.len()).ok()?;
        let units = (2 + name.len()).div_ceil(UNIT);
        if self.chunks.is_empty() || self.used + units > UNITS_PER_CHUNK {
            self.chunks.push(vec![0; CHUNK_BYTES].into_boxed_slice());
            self.used = 0;
        }
        let unit = (self.chunks.len() - 1) * UNITS_PER_CHUNK + self.used;
        let place = NameRef(u32::try_from(unit).ok()?);
        let start = self.used * UNIT;
        let chunk = self.chunks.last_mut()?;
        chunk[start..start + 2].copy_from_slice(&length.to_le_bytes());
        chunk[start + 2..start + 2 + name.len()].copy_from_slice(name);
        self.used += units;
        Some(place)
    }

    /// The name at `place`.
    pub(super) fn get(&self, place: NameRef) -> &[u8] {
        let unit = place.0 as usize;
        let chunk = &self.chunks[unit / UNITS_PER_CHUNK];
        let start = unit % UNITS_PER_CHUNK * UNIT;
        let length = u16::from_le_bytes([chunk[start], chunk[start + 1]]);
        &chunk[start + 2..start + 2 + usize::from(length)]
    }

    /// Memory taken.
    pub(super) fn bytes(&self) -> usize {
        self.chunks.len() * CHUNK_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back_across_chunks() {
        let mut arena = Arena::default();
        let names: Vec<Vec<u8>> = (0..200_u32)
            .map(|i| vec![i as u8; (i as usize * 331) % (NAME_BYTES_MAX + 1)])
            .chain([vec![7; NAME_BYTES_MAX]])
            .collect();
        let places: Vec<_> = names.iter().map(|name| arena.push(name).unwrap()).collect();
        for (name, place) in names.iter().zip(places) {
            assert_eq!(arena.get(place), name);
        }
        assert!(arena.bytes() > CHUNK_BYTES);
        assert!(arena.push(&vec![0; NAME_BYTES_MAX + 1]).is_none());
    }
}
