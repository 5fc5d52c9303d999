//! Names of keys and fields, packed. The room of one that is forgotten goes to the next that takes as
//! much.

/// Longest key, field or log name, in bytes.
pub const NAME_BYTES_MAX: usize = u16::MAX as usize;

const CHUNK_BYTES: usize = 1 << 20;
/// Names start at multiples of this, so that 32 bits address 16 GiB.
const UNIT: usize = 4;
const UNITS_PER_CHUNK: usize = CHUNK_BYTES / UNIT;

/// Where a name lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NameRef(u32);

/// Store of names: 2 bytes of length, the name, padding.
#[derive(Debug, Default)]
pub(super) struct Arena {
    chunks: Vec<Box<[u8]>>,
    /// Units taken in the last chunk.
    used: usize,
    /// Room that was given back, by its units.
    free: Vec<Vec<NameRef>>,
    free_units: usize,
    /// Memory of the list of it.
    free_bytes: usize,
}

impl Arena {
    /// Stores a name; none when it is too long or the address space is full.
    pub(super) fn push(&mut self, name: &[u8]) -> Option<NameRef> {
        let length = u16::try_from(name.len()).ok()?;
        let units = units(name.len());
        if let Some(place) = self.free.get_mut(units).and_then(Vec::pop) {
            self.free_units -= units;
            self.write(place, length, name);
            return Some(place);
        }
        if self.chunks.is_empty() || self.used + units > UNITS_PER_CHUNK {
            self.chunks.push(vec![0; CHUNK_BYTES].into_boxed_slice());
            self.used = 0;
        }
        let unit = (self.chunks.len() - 1) * UNITS_PER_CHUNK + self.used;
        let place = NameRef(u32::try_from(unit).ok()?);
        self.used += units;
        self.write(place, length, name);
        Some(place)
    }

    fn write(&mut self, place: NameRef, length: u16, name: &[u8]) {
        let unit = place.0 as usize;
        let chunk = &mut self.chunks[unit / UNITS_PER_CHUNK];
        let start = unit % UNITS_PER_CHUNK * UNIT;
        chunk[start..start + 2].copy_from_slice(&length.to_le_bytes());
        chunk[start + 2..start + 2 + name.len()].copy_from_slice(name);
    }

    /// Gives the room of a name back. Until another takes it the name can still be read.
    pub(super) fn give_back(&mut self, place: NameRef) {
        let units = units(self.get(place).len());
        if self.free.len() <= units {
            self.free.resize_with(units + 1, Vec::new);
        }
        let free = &mut self.free[units];
        let before = free.capacity();
        free.push(place);
        self.free_units += units;
        self.free_bytes += (free.capacity() - before) * size_of::<NameRef>();
    }

    /// The name at `place`.
    pub(super) fn get(&self, place: NameRef) -> &[u8] {
        let unit = place.0 as usize;
        let chunk = &self.chunks[unit / UNITS_PER_CHUNK];
        let start = unit % UNITS_PER_CHUNK * UNIT;
        let length = u16::from_le_bytes([chunk[start], chunk[start + 1]]);
        &chunk[start + 2..start + 2 + usize::from(length)]
    }

    /// Memory taken, without the room that waits for other names.
    pub(super) fn bytes(&self) -> usize {
        self.chunks.len() * CHUNK_BYTES + self.free_bytes - self.free_units * UNIT
    }
}

/// Room that a name takes.
fn units(len: usize) -> usize {
    (2 + len).div_ceil(UNIT)
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

    #[test]
    fn room_that_was_given_back_is_used_again() {
        let mut arena = Arena::default();
        let name = |i: u32| format!("banner:{i:0width$}", width = i as usize % 40).into_bytes();
        let mut places: Vec<_> = (0..50_000).map(|i| arena.push(&name(i)).unwrap()).collect();
        let chunks = arena.chunks.len();
        for _ in 0..3 {
            places.drain(..).for_each(|place| arena.give_back(place));
            places.extend((0..50_000).map(|i| arena.push(&name(i)).unwrap()));
            assert!((0..50_000).all(|i| arena.get(places[i as usize]) == name(i)));
        }
        assert_eq!(arena.chunks.len(), chunks);
    }
}
