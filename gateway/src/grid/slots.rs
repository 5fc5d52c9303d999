//! A list whose elements never move: growing it copies nothing, and a position in it is a cursor
//! that stays good. A place that is given back goes to an element that comes later.

const CHUNK: usize = 4096;

/// Numbers of how often each place of a chunk was given back.
type Lives = Option<Box<[u32; CHUNK]>>;

/// A list in chunks.
#[derive(Debug)]
pub(super) struct Slots<T> {
    chunks: Vec<Vec<T>>,
    len: usize,
    /// Places that were given back.
    free: Vec<u32>,
    /// By chunk; none while no place of it was given back.
    lives: Vec<Lives>,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self {
            chunks: Vec::new(),
            len: 0,
            free: Vec::new(),
            lives: Vec::new(),
        }
    }
}

impl<T> Slots<T> {
    /// Places there are, those that were given back included.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Elements there are.
    pub(super) fn used(&self) -> usize {
        self.len - self.free.len()
    }

    /// Adds an element and returns its place; none after 2^32 elements.
    pub(super) fn push(&mut self, value: T) -> Option<u32> {
        if let Some(place) = self.free.pop() {
            *self.at_mut(place) = value;
            return Some(place);
        }
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

    /// Gives a place back, which must have come from `push`; `left` stands there meanwhile.
    pub(super) fn give_back(&mut self, place: u32, left: T) {
        *self.at_mut(place) = left;
        self.free.push(place);
        let chunk = place as usize / CHUNK;
        if self.lives.len() <= chunk {
            self.lives.resize_with(chunk + 1, || None);
        }
        let lives = self.lives[chunk].get_or_insert_with(|| Box::new([0; CHUNK]));
        let life = &mut lives[place as usize % CHUNK];
        *life = life.wrapping_add(1);
    }

    /// How often the place was given back.
    pub(super) fn life(&self, place: u32) -> u32 {
        let chunk = self.lives.get(place as usize / CHUNK);
        let lives = chunk.and_then(Option::as_ref);
        lives.map_or(0, |lives| lives[place as usize % CHUNK])
    }

    /// All elements, to change them.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.chunks.iter_mut().flatten()
    }

    /// All elements.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.chunks.iter().flatten()
    }

    /// Memory taken, without places that wait for other elements.
    pub(super) fn bytes(&self) -> usize {
        let whole = self.chunks.len().saturating_sub(1) * CHUNK;
        let first = self.chunks.first().map_or(0, Vec::capacity);
        let lives = self.lives.iter().flatten().count() * size_of::<[u32; CHUNK]>();
        // All may be free, those of a chunk that is not whole yet too.
        let places = whole.max(first).max(self.len);
        let taken = (places - self.free.len()) * size_of::<T>();
        taken + self.free.capacity() * size_of::<u32>() + lives
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_that_were_given_back_are_used_again() {
        let mut slots = Slots::default();
        let wide = |value: u32| [value; 12];
        for value in 0..10_000_u32 {
            assert_eq!(slots.push(wide(value)), Some(value));
        }
        let bytes = slots.bytes();
        for round in 1..=3 {
            (0..10_000).for_each(|place| slots.give_back(place, wide(0)));
            assert_eq!((slots.used(), slots.life(7)), (0, round));
            assert!(slots.bytes() < bytes / 2);
            let pushed = (0..10_000).filter_map(|value| slots.push(wide(value)));
            assert_eq!(pushed.count(), 10_000);
            assert_eq!((slots.used(), slots.len()), (10_000, 10_000));
        }
        assert!(slots.bytes() < bytes + bytes / 2);
    }
}
