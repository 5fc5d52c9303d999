//! A list whose elements never move: growing it copies nothing, and a position in it is a cursor
//! that stays good.

const CHUNK: usize = 4096;

/// Append-only list in chunks.
#[derive(Debug)]
pub(super) struct Slots<T> {
    chunks: Vec<Vec<T>>,
    len: usize,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self {
            chunks: Vec::new(),
            len: 0,
        }
    }
}

impl<T> Slots<T> {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Appends and returns the place; none after 2^32 elements.
    pub(super) fn push(&mut self, value: T) -> Option<u32> {
        let place = u32::try_from(self.len).ok()?;
        if self.len.is_multiple_of(CHUNK) {
            // The first chunk of a small list grows as a vector does, later ones come whole.
            let capacity = if self.len == 0 { 4 } else { CHUNK };
            self.chunks.push(Vec::with_capacity(capacity));
        }
        self.chunks.last_mut()?.push(value);
        self.len += 1;
        Some(place)
    }

    pub(super) fn get(&self, place: u32) -> Option<&T> {
        let place = place as usize;
        self.chunks.get(place / CHUNK)?.get(place % CHUNK)
    }

    /// The element at `place`, which must have come from `push`.
    pub(super) fn at(&self, place: u32) -> &T {
        &self.chunks[place as usize / CHUNK][place as usize % CHUNK]
    }

    /// Likewise, to change it.
    pub(super) fn at_mut(&mut self, place: u32) -> &mut T {
        &mut self.chunks[place as usize / CHUNK][place as usize % CHUNK]
    }

    /// All elements, to change them.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.chunks.iter_mut().flatten()
    }

    /// Memory taken.
    pub(super) fn bytes(&self) -> usize {
        let whole = self.chunks.len().saturating_sub(1) * CHUNK;
        let first = self.chunks.first().map_or(0, Vec::capacity);
        (whole.max(first)) * size_of::<T>()
    }
}
