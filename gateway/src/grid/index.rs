//! Places of keys by their names, in pages of one size. A page that is full is split in two
//! (extendible hashing), so growing moves some hundred keys at a time, and leaves behind no
//! tables of half the size that nothing else fits into.

use hashbrown::HashTable;

use super::arena::NameRef;

/// A page of 1024 buckets is full with these.
const PAGE_KEYS: usize = 896;
/// Pages are not split further; then they grow. Only hashes that are no hashes get here.
const DEPTH_MAX: u32 = 28;

/// What an index holds: the name beside the place, so that the processor can fetch the counter
/// while it still compares the name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Named {
    pub(super) place: u32,
    pub(super) name: NameRef,
}

#[derive(Debug, Default)]
struct Page {
    table: HashTable<Named>,
    /// It holds the names whose positions begin with the same so many bits.
    depth: u32,
}

/// All keys of a grid.
#[derive(Debug)]
pub(super) struct Index {
    /// The page by the first `depth` bits of a position.
    directory: Vec<u32>,
    depth: u32,
    pages: Vec<Page>,
    /// Memory of the pages' tables.
    table_bytes: usize,
    /// Memory of a page that need not grow before it is split.
    page_bytes: usize,
}

impl Default for Index {
    fn default() -> Self {
        Self {
            directory: vec![0],
            depth: 0,
            pages: vec![Page::default()],
            table_bytes: 0,
            page_bytes: HashTable::<Named>::with_capacity(PAGE_KEYS).allocation_size(),
        }
    }
}

impl Index {
    /// The entry with this `hash` that `is_it` accepts.
    pub(super) fn find(&self, hash: u64, is_it: impl FnMut(&Named) -> bool) -> Option<Named> {
        let page = &self.pages[self.page(position(hash))];
        page.table.find(hash, is_it).copied()
    }

    /// Adds an entry that is not there yet; `rehash` gives the hash of any.
    pub(super) fn insert(&mut self, hash: u64, named: Named, rehash: impl Fn(&Named) -> u64) {
        let position = position(hash);
        let mut page = self.page(position);
        while self.pages[page].table.len() >= PAGE_KEYS && self.pages[page].depth < DEPTH_MAX {
            self.split(position, &rehash);
            page = self.page(position);
        }
        let table = &mut self.pages[page].table;
        let before = table.allocation_size();
        if table.len() == table.capacity() && before >= self.page_bytes && table.len() < PAGE_KEYS {
            // Full of marks where others were: it would grow for them.
            let mut anew = HashTable::with_capacity(PAGE_KEYS);
            for named in std::mem::take(table) {
                anew.insert_unique(rehash(&named), named, &rehash);
            }
            *table = anew;
        }
        table.insert_unique(hash, named, &rehash);
        self.table_bytes = self.table_bytes + table.allocation_size() - before;
    }

    /// Takes an entry out.
    pub(super) fn remove(&mut self, hash: u64, is_it: impl FnMut(&Named) -> bool) {
        let page = self.page(position(hash));
        if let Ok(found) = self.pages[page].table.find_entry(hash, is_it) {
            found.remove();
        }
    }

    /// Memory taken.
    pub(super) fn bytes(&self) -> usize {
        self.table_bytes
            + self.directory.capacity() * size_of::<u32>()
            + self.pages.capacity() * size_of::<Page>()
    }

    fn page(&self, position: u32) -> usize {
        self.directory[first_bits(position, self.depth)] as usize
    }

    /// Moves half of what is in the page of `position` to a new one.
    fn split(&mut self, position: u32, rehash: impl Fn(&Named) -> u64) {
        let page = self.page(position);
        let depth = self.pages[page].depth + 1;
        if depth > self.depth {
            let twice = self.directory.iter().flat_map(|page| [*page, *page]);
            self.directory = twice.collect();
            self.depth += 1;
        }
        // Both anew: a table that was emptied by half would be full of marks.
        let mut halves = [(); 2].map(|()| HashTable::with_capacity(PAGE_KEYS));
        let old = std::mem::take(&mut self.pages[page].table);
        self.table_bytes -= old.allocation_size();
        for named in old {
            let hash = rehash(&named);
            let half = first_bits(self::position(hash), depth) & 1;
            halves[half].insert_unique(hash, named, &rehash);
        }
        self.table_bytes += halves
            .each_ref()
            .map(HashTable::allocation_size)
            .iter()
            .sum::<usize>();
        let new = self.pages.len();
        let [low, high] = halves.map(|table| Page { table, depth });
        self.pages[page] = low;
        self.pages.push(high);
        let high = first_bits(position, depth) | 1;
        let beyond = self.depth - depth;
        self.directory[high << beyond..(high + 1) << beyond].fill(new as u32);
    }
}

fn first_bits(position: u32, bits: u32) -> usize {
    // As 64 bits: of a position of 32 none may be wanted.
    (u64::from(position) >> (u32::BITS - bits)) as usize
}

/// Where a key belongs among the pages. Positions are twice as dense at one end as at the other,
/// so that pages are split one after the other: were they all due at the same number of keys, the
/// index would take twice the memory just after it.
fn position(hash: u64) -> u32 {
    // A table itself uses the lowest and the highest bits.
    let x = (hash >> 16) & u64::from(u32::MAX);
    // 2^32 times log2(1 + x / 2^32), or nearly: as many pages are due between n and 1.1 n keys,
    // whatever n is.
    let bend = (x * ((1 << 32) - x)) >> 32;
    (x + ((bend * 11) >> 5)) as u32
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasher, RandomState};

    use super::super::arena::Arena;
    use super::*;

    #[test]
    fn keys_are_found_again_and_memory_grows_evenly() {
        let (mut index, mut arena) = (Index::default(), Arena::default());
        let hasher = RandomState::new();
        let name = |place: u32| place.to_le_bytes();
        let (mut least, mut most) = (f64::MAX, 0.0_f64);
        for place in 0..400_000 {
            let hash = hasher.hash_one(name(place));
            assert!(index.find(hash, |named| named.place == place).is_none());
            let named = Named {
                place,
                name: arena.push(&name(place)).unwrap(),
            };
            index.insert(hash, named, |named| hasher.hash_one(arena.get(named.name)));
            if place >= 100_000 {
                let each = index.bytes() as f64 / f64::from(place);
                (least, most) = (least.min(each), most.max(each));
            }
        }
        for place in 0..400_000 {
            let found = index.find(hasher.hash_one(name(place)), |named| {
                arena.get(named.name) == name(place)
            });
            assert_eq!(found.map(|named| named.place), Some(place));
        }
        assert!(
            most < 17.0 && most / least < 1.25,
            "{least} to {most} B each"
        );
    }

    #[test]
    fn keys_that_come_and_go_take_no_more_memory() {
        let (mut index, mut arena) = (Index::default(), Arena::default());
        let hasher = RandomState::new();
        let mut sizes = Vec::new();
        for round in 0..8_u32 {
            let names: Vec<_> = (0..30_000)
                .map(|place| {
                    (
                        place,
                        arena.push(&(place + round * 30_000).to_le_bytes()).unwrap(),
                    )
                })
                .collect();
            for (place, name) in &names {
                let hash = hasher.hash_one(arena.get(*name));
                let named = Named {
                    place: *place,
                    name: *name,
                };
                index.insert(hash, named, |named| hasher.hash_one(arena.get(named.name)));
            }
            for (place, name) in &names {
                let hash = hasher.hash_one(arena.get(*name));
                assert!(index.find(hash, |named| named.place == *place).is_some());
                index.remove(hash, |named| named.place == *place);
                assert!(index.find(hash, |named| named.place == *place).is_none());
            }
            sizes.push(index.bytes());
        }
        assert!(sizes[7] <= sizes[2] + sizes[2] / 20, "{sizes:?}");
    }

    #[test]
    fn hashes_that_are_all_the_same_are_survived() {
        let (mut index, mut arena) = (Index::default(), Arena::default());
        for place in 0..3000 {
            let name = arena.push(b"a").unwrap();
            index.insert(7, Named { place, name }, |_| 7);
        }
        let found = (0..3000).filter(|place| index.find(7, |n| n.place == *place).is_some());
        assert_eq!(found.count(), 3000);
    }
}
